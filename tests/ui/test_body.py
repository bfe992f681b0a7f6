"""The picture is fitted to the patient, not to the table or to the air around."""

import numpy as np
import pytest

from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.ui.canvas.planes import body_box
from napari_medsamq.ui.canvas.slice_bar import BAR_HEIGHT


def test_the_body_is_found_without_air_and_table():
    data = np.full((30, 300, 400), -1000, np.int16)
    data[5:25, 100:200, 120:260] = 40
    data[:, 260:263, 50:350] = 200
    volume = volume_from_slices(data, (2.0, 1.0, 1.0), "phantom").with_modality("CT")
    (first, last) = body_box(volume).tolist()
    for found, wanted in zip((first, last), ((5, 100, 120), (24, 199, 259)), strict=True):
        np.testing.assert_allclose(found, wanted, atol=8)


def test_where_there_is_nothing_the_whole_volume_is_shown():
    data = np.full((3, 40, 50), -1000, np.int16)
    data[0, 0, 0] = -990
    volume = volume_from_slices(data, (1.0, 1.0, 1.0), "air").with_modality("CT")
    assert body_box(volume).tolist() == [[0, 0, 0], [2, 39, 49]]


@pytest.mark.shown
@pytest.mark.parametrize("plane", range(3))
def test_the_patient_fills_the_picture(dock, plane):
    dock.dock.controller.show_plane(plane)
    corners = np.array([dock.pixel(corner) for corner in dock.workspace.body])
    room = np.array([dock.native.width(), dock.native.height() - BAR_HEIGHT])
    low, high = corners.min(axis=0), corners.max(axis=0)
    assert (low > 0).all()
    assert (high < room).all()
    assert ((high - low) / room).max() > 0.85
    # As much is free on either side.
    np.testing.assert_allclose(low, room - high, atol=12)
