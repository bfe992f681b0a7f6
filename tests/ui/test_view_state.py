"""Plane and slice in view are what the viewer's dims say, whoever changes them."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_medsamq.errors import PromptError
from napari_medsamq.ui.canvas.planes import PLANES, turn_viewer
from napari_medsamq.ui.view_state import ViewState

SHAPE, SPACING = (8, 16, 14), (3.0, 1.0, 2.0)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def layer(viewer):
    return viewer.add_layer(Labels(np.zeros(SHAPE, np.uint16), scale=SPACING, translate=(5, 0, 0)))


@pytest.fixture
def view(viewer, layer):
    return ViewState(viewer, layer)


def told(signal):
    heard = []
    signal.connect(lambda: heard.append(None))
    return heard


def test_the_slice_in_view_follows_the_slider(viewer, view):
    changed, turned = told(view.changed), told(view.plane_changed)
    viewer.dims.set_point(0, 5 + 6 * 3.0)
    assert (view.axis, view.index, view.plane.name) == (0, 6, "Axial")
    viewer.dims.set_point(0, 1000)
    assert view.index == SHAPE[0] - 1
    assert changed
    assert not turned


@pytest.mark.parametrize("plane", PLANES[1:])
def test_the_plane_in_view_follows_every_turn(viewer, layer, view, plane):
    turned = told(view.plane_changed)
    turn_viewer(viewer, plane, layer)
    assert (view.axis, view.plane) == (plane.axis, plane)
    assert len(turned) == 1
    view.show(plane.axis, 4)
    assert view.index == 4


def test_napari_may_roll_the_axes(viewer, view):
    viewer.dims.roll()
    assert view.axis == viewer.dims.order[0] != 0


def test_solids_are_seen_across_the_plane_that_was_in_view(viewer, layer, view):
    turn_viewer(viewer, PLANES[2], layer)
    viewer.dims.ndisplay = 3
    viewer.dims.order = (0, 1, 2)
    assert view.solid
    assert view.axis == 2
    with pytest.raises(PromptError, match="Show slices first"):
        view.require_slices()


def test_the_axes_of_a_time_series_come_before_those_of_the_volume(viewer, view):
    viewer.add_layer(Image(np.zeros((5, *SHAPE)), scale=(1, *SPACING)))
    assert viewer.dims.ndim == 4
    view.show(0, 2)
    assert (view.axis, view.index) == (0, 2)
    before = view.axis
    viewer.dims.order = (1, 0, 2, 3)
    assert view.axis == before


def test_without_layers_the_view_stays_what_it_was(viewer, view):
    view.show(0, 3)
    viewer.layers.clear()
    assert view.point == ()
    assert (view.axis, view.index) == (0, 3)


def test_a_closed_one_follows_nothing(viewer, view):
    view.close()
    viewer.dims.set_point(0, 5 + 2 * 3.0)
    assert view.index != 2
