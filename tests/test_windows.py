"""Windows by name, and from what is in view."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medsamq.errors import VolumeError
from napari_medsamq.preprocess import SOFT_TISSUE, WindowLevel
from napari_medsamq.volume_io import Volume, volume_from_array
from napari_medsamq.windows import AUTO, CT_WINDOWS, DEFAULT, named_window, window_names


def volume(modality: str) -> Volume:
    array = np.zeros((4, 20, 20), np.int16)
    array[:, 2:] = np.arange(360).reshape(18, 20) + 1
    return volume_from_array(array, (1, 1, 1), "ramp").with_modality(modality)  # type: ignore[arg-type]


def named(modality: str, name: str) -> WindowLevel:
    own = volume(modality)
    return named_window(own, name, own.slice(0, 1))


def test_ct_has_the_windows_of_radiologists() -> None:
    assert window_names(volume("CT")) == [DEFAULT, AUTO, *CT_WINDOWS]
    assert named("CT", "Lung") == WindowLevel(-600, 1500)
    assert named("CT", "Brain").limits == (0, 80)
    assert named("CT", DEFAULT) == SOFT_TISSUE


def test_mr_windows_are_percentiles_of_what_is_not_zero() -> None:
    low, high = named("MR", "2 to 98 %").limits
    assert low == pytest.approx(0.02 * 360, abs=1)
    assert high == pytest.approx(0.98 * 360, abs=1)
    wide = named("MR", "0.5 to 99.5 %")
    assert wide.width > high - low
    assert wide == named("MR", DEFAULT)


def test_auto_looks_at_the_slice_alone() -> None:
    own = volume("CT")
    dark = named_window(own, AUTO, own.slice(0, 1)[:4])
    bright = named_window(own, AUTO, own.slice(0, 1)[16:])
    assert dark.level < bright.level
    with pytest.raises(VolumeError, match="nearly everywhere"):
        named_window(own, AUTO, np.zeros((5, 5)))


def test_a_window_of_another_modality_is_refused_by_name() -> None:
    with pytest.raises(VolumeError, match=r"no window 'Lung' for this MR volume.*LEVEL,WIDTH"):
        named("MR", "Lung")
