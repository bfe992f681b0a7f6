"""Planes, boxes and strokes on the canvas, without a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medsamq.errors import PromptError
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.ui.canvas.label_strokes import stroke_edit
from napari_medsamq.ui.canvas.planes import PLANES, finest_plane, range_without
from napari_medsamq.ui.canvas.prompt_layers import drawn_box, rectangle

SHAPE = (6, 20, 30)


@pytest.mark.parametrize(("plane", "left", "top"), list(zip(PLANES, "RRA", "ASS", strict=True)))
def test_planes_are_shown_in_radiological_convention(plane: Any, left: str, top: str) -> None:
    # Array axes run towards S, P and L.
    ends = (("I", "S"), ("A", "P"), ("R", "L"))
    cut, rows, columns = plane.order
    vertical, horizontal = plane.orientation
    assert cut == plane.axis
    assert ends[rows][vertical == "up"] == top
    assert ends[columns][horizontal == "left"] == left


@pytest.mark.parametrize(
    ("spacing", "plane"),
    [
        ((1, 1, 1), "Axial"),
        ((3, 0.7, 0.5), "Axial"),
        ((0.5, 0.7, 0.7), "Axial"),
        ((1.02, 1.0, 1.0), "Axial"),
        ((1.0, 1.02, 1.0), "Axial"),
        ((1.2, 3.3, 1.2), "Coronal"),
        ((0.8, 6.5, 1.0), "Coronal"),
        ((1.2, 1.2, 3.3), "Sagittal"),
        ((0.94, 0.94, 1.2), "Sagittal"),
    ],
)
def test_a_volume_opens_on_the_plane_with_the_finest_pixels(spacing, plane):
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    assert finest_plane(volume_from_slices(array, spacing, "grid")).name == plane


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_shown_in_its_own_plane(axis):
    array = np.expand_dims(np.arange(30, dtype=np.int16).reshape(5, 6), axis)
    assert finest_plane(volume_from_slices(array, (1, 1, 1), "slice")).axis == axis


def test_the_range_of_some_layers_has_all_of_their_slices():
    viewer = pytest.importorskip("napari.components").ViewerModel()
    # 24 steps of this size are 23.99 to napari.
    spacing = np.nextafter(6.5, 0, dtype=float) - 1e-15
    own = viewer.add_image(np.zeros((25, 8, 9)), scale=(spacing, 1, 1))
    other = viewer.add_image(np.zeros((2, 60, 20, 20)), scale=(1, 2, 0.5, 0.5))
    viewer.dims.range = range_without(viewer, [other], own)
    assert viewer.dims.nsteps == (2, 25, 8, 9)
    viewer.dims.range = range_without(viewer, [own], other)
    assert viewer.dims.nsteps == (2, 60, 20, 20)


# -- boxes ----------------------------------------------------------------------------------------


@st.composite
def boxes(draw: st.DrawFn) -> BoxPrompt:
    axis = draw(st.integers(0, 2))
    height, width = np.delete(SHAPE, axis).tolist()
    x0, y0 = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
    x1, y1 = draw(st.integers(x0 + 1, width - 1)), draw(st.integers(y0 + 1, height - 1))
    return BoxPrompt(axis, draw(st.integers(0, SHAPE[axis] - 1)), x0, y0, x1, y1)


@settings(deadline=None)
@given(boxes(), st.permutations(range(4)))
def test_a_box_shown_and_read_back_is_the_same(box: BoxPrompt, order: list[int]) -> None:
    assert drawn_box(rectangle(box)[order], box.axis, SHAPE) == box


def test_a_drag_from_right_to_left_is_the_same_box() -> None:
    # Pressed at row 12.6, column 20.2, released at row 3.7, column 8.4 of slice 2.
    corners = np.array([[2, 12.6, 20.2], [2, 12.6, 8.4], [2, 3.7, 8.4], [2, 3.7, 20.2]])
    assert drawn_box(corners, 0, SHAPE) == BoxPrompt(0, 2, 8, 4, 20, 13)


def test_a_box_that_sticks_out_is_cut_to_the_slice() -> None:
    corners = np.array([[5.4, -9, -4], [5.4, 99, -4], [5.4, 99, 40], [5.4, -9, 40]])
    assert drawn_box(corners, 0, SHAPE) == BoxPrompt(0, 5, 0, 0, 29, 19)


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        ([[2, 5.1, 7.2]] * 4, "covers 1 x 1 pixels"),
        ([[2, 5, 7], [2, 5, 15], [2, 5, 15], [2, 5, 7]], "covers 1 x 9 pixels"),
        ([[2, 50, 7], [2, 50, 15], [2, 60, 15], [2, 60, 7]], "outside the image"),
        ([[99, 5, 7], [99, 5, 15], [99, 9, 15], [99, 9, 7]], "slice in view lies outside"),
        ([[-0.6, 5, 7], [-0.6, 5, 15], [-0.6, 9, 15], [-0.6, 9, 7]], "slice in view"),
    ],
    ids=["click", "line", "beside the image", "above the volume", "below the volume"],
)
def test_what_is_no_box_is_refused(corners: list[list[float]], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        drawn_box(np.array(corners, float), 0, SHAPE)


# -- brush strokes --------------------------------------------------------------------------------


def flat(*index: int) -> int:
    return int(np.ravel_multi_index(index, SHAPE))


def test_strokes_of_indices_are_read() -> None:
    atoms = [
        ((np.array([1, 1]), np.array([2, 3]), np.array([4, 4])), np.array([0, 7]), 5),
        ((np.array([1, 2]), np.array([3, 0]), np.array([4, 0])), np.array([5, 1]), 0),
    ]
    voxels, before = stroke_edit(atoms, SHAPE)
    found = dict(zip(voxels.tolist(), before.tolist(), strict=True))
    assert found == {flat(1, 2, 4): 0, flat(1, 3, 4): 7, flat(2, 0, 0): 1}


def test_strokes_of_masked_boxes_are_read() -> None:
    slices = (slice(2, 3), slice(4, 6), slice(10, 12))
    mask = np.array([[[True, False], [False, True]]])
    atoms = [
        (slices, mask, np.array([3, 8], np.uint16), 5),
        (slices, None, np.array([[[5, 1], [2, 5]]], np.uint16), 6),
    ]
    voxels, before = stroke_edit(atoms, SHAPE)
    found = dict(zip(voxels.tolist(), before.tolist(), strict=True))
    assert found == {flat(2, 4, 10): 3, flat(2, 4, 11): 1, flat(2, 5, 10): 2, flat(2, 5, 11): 8}


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_strokes_of_a_real_labels_layer_are_read(order: tuple[int, int, int]) -> None:
    viewer = pytest.importorskip("napari.components").ViewerModel()
    layer = viewer.add_labels(np.zeros(SHAPE, np.uint16), scale=(3, 0.7, 0.5))
    viewer.dims.order = order
    viewer.dims.set_current_step(order[0], 3)
    layer.brush_size = 5
    layer.data[3, 8:14, 10:20] = 9
    strokes: list[Any] = []
    layer.events.paint.connect(lambda event: strokes.append(event.value))

    def brush(*centres: tuple[int, int, int], label_id: int) -> None:
        original = layer.data.copy()
        with layer.block_history():
            for centre in centres:
                layer.paint(centre, label_id)
        voxels, before = stroke_edit(strokes.pop(), SHAPE)
        np.testing.assert_array_equal(voxels, np.flatnonzero(layer.data != original))
        np.testing.assert_array_equal(before, original.reshape(-1)[voxels])
        assert voxels.size >= 5
        assert not strokes

    brush((3, 7, 9), (3, 8, 10), (3, 9, 11), label_id=2)
    assert np.ptp(np.argwhere(layer.data == 2)[:, order[0]]) == (0, 2, 2)[order[0]]
    brush((3, 8, 10), label_id=0)
    brush((0, 0, 0), (5, 19, 29), label_id=65535)
    layer.data_setitem((np.array([1] * 6), np.arange(6), np.arange(6)), 4)
    voxels, before = stroke_edit(strokes.pop(), SHAPE)
    assert voxels.tolist() == [flat(1, n, n) for n in range(6)]
    assert not before.any()
