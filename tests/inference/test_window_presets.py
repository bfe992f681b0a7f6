from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napari_medsamq.errors import VolumeError
from napari_medsamq.inference.preprocess import IDENTITY, WindowLevel, default_window
from napari_medsamq.inference.window_presets import (
    dragged_window,
    named_window,
    presets,
    slice_window,
)
from napari_medsamq.io.samples import SAMPLES
from napari_medsamq.io.volume import Volume, read_volume, volume_from_slices

RANGE = (-1024.0, 3071.0)


def volume(data: np.ndarray, modality: str = "MR") -> Volume:
    return volume_from_slices(data, (1, 1, 1), "made-up").with_modality(modality)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def mr() -> Volume:
    return read_volume(SAMPLES / "mr.nrrd")


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("abdomen", (-160, 240)),
        ("lung", (-1350, 150)),
        ("bone", (-500, 1300)),
        ("brain", (0, 80)),
        ("Mediastinum", (-125, 225)),
        (" LIVER ", (-20, 140)),
    ],
)
def test_ct_has_presets_by_name(name: str, limits: tuple[float, float]) -> None:
    ct = volume(np.arange(-4.0, 4).reshape(2, 2, 2), "CT")
    assert named_window(name, ct).limits == limits


def test_a_ct_opens_with_its_first_preset() -> None:
    ct = volume(np.arange(-4.0, 4).reshape(2, 2, 2), "CT")
    assert presets(ct, default_window(ct))[0].window == default_window(ct)


def test_mr_has_percentiles_of_what_is_not_zero(mr: Volume) -> None:
    standard, contrast = presets(mr, default_window(mr))
    assert standard.window == default_window(mr)
    assert contrast.window == named_window("contrast", mr)
    values = mr.data[mr.data != 0]
    expected = np.percentile(values, (2, 98))
    # A sample of the voxels is asked.
    np.testing.assert_allclose(contrast.window.limits, expected, atol=0.01 * np.ptp(expected))


def test_a_name_of_another_modality_is_refused_with_those_there_are(mr: Volume) -> None:
    with pytest.raises(VolumeError, match=r"'lung' is no window for MR.*standard, contrast"):
        named_window("lung", mr)


def test_colours_have_no_window_and_what_is_windowed_keeps_its_own() -> None:
    colours = np.random.default_rng(0).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    assert presets(volume_from_slices(colours, (1, 1), "skin"), IDENTITY) == ()
    grey = replace(volume(np.arange(8).reshape(2, 2, 2)), windowed=True)
    (only,) = presets(grey, default_window(grey))
    assert only.window == IDENTITY


def test_few_voxels_that_differ_give_one_preset() -> None:
    data = np.zeros((3, 40, 40), np.int16)
    data[1, 5:30, 5:30] = 7
    sparse = volume(data)
    assert [preset.name for preset in presets(sparse, default_window(sparse))] == ["Standard"]


def test_a_slice_gets_the_window_of_what_it_shows(mr: Volume) -> None:
    index = 16
    window = slice_window(mr, 0, index)
    inside = mr.slice(0, index)[mr.slice(0, index) > mr.slice(0, index).min()]
    np.testing.assert_allclose(window.limits, np.percentile(inside, (2, 98)))


def test_the_air_around_a_ct_does_not_count() -> None:
    data = np.full((1, 100, 100), -1000, np.int16)
    data[0, 40:60, 40:60] = np.linspace(-100, 200, 400).reshape(20, 20)
    low, high = slice_window(volume(data, "CT"), 0, 0).limits
    assert -100 <= low < -80
    assert 180 < high <= 200
    # A slice of air alone shows what there is.
    air = np.random.default_rng(0).integers(-1020, -980, (1, 20, 20)).astype(np.int16)
    low, high = slice_window(volume(air, "CT"), 0, 0).limits
    assert -1020 <= low < high < -980


def test_a_slice_of_one_value_has_no_window() -> None:
    data = np.zeros((2, 4, 4), np.int16)
    data[1, 0, 0] = 5
    with pytest.raises(VolumeError, match="nothing to fit"):
        slice_window(volume(data), 0, 0)


def test_a_slice_with_one_speck_gets_the_window_up_to_it() -> None:
    data = np.zeros((1, 20, 20), np.int16)
    data[0, 2:18, 2:18] = 5
    data[0, 4, 4] = 9
    assert slice_window(volume(data), 0, 0).limits == (5, 9)


def test_a_drag_to_the_right_widens_and_down_raises_the_level() -> None:
    start = WindowLevel(40, 400)
    assert dragged_window(start, 150, 0, RANGE) == WindowLevel(40, 800)
    assert dragged_window(start, -150, 0, RANGE) == WindowLevel(40, 200)
    assert dragged_window(start, 0, 150, RANGE) == WindowLevel(240, 400)
    assert dragged_window(start, 0, 0, RANGE) == start


@given(
    level=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    right=st.floats(-5000, 5000),
    down=st.floats(-5000, 5000),
)
@example(level=65536.73786108498, width=0.001, right=0.0, down=-24.0)
def test_no_drag_gets_lost(level: float, width: float, right: float, down: float) -> None:
    try:
        start = WindowLevel(level, width)
    except ValueError:
        return  # single precision tells no such window
    dragged = dragged_window(start, right, down, RANGE)
    low, high = min(RANGE[0], start.limits[0]), max(RANGE[1], start.limits[1])
    assert low <= dragged.level <= high
    assert 0 < dragged.width <= (high - low) * 1.001
