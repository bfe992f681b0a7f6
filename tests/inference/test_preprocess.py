from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import CASES, DATA, dsc, stored

from napari_medsamq.errors import VolumeError
from napari_medsamq.inference.preprocess import (
    FRAME,
    IDENTITY,
    SOFT_TISSUE,
    ResizeLongestSide,
    WindowLevel,
    default_window,
    prepare_slice,
)
from napari_medsamq.inference.window_presets import presets, slice_window
from napari_medsamq.io.volume import Volume, read_volume, volume_from_slices

sides = st.integers(1, 3000)
sizes = st.floats(0.1, 10)


def bilinear(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize by weights of the pixel centres' distances: independent of OpenCV."""

    def weights(new: int, old: int) -> np.ndarray:
        position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        return np.clip(1 - np.abs(position[:, None] - np.arange(old)), 0, 1)

    return weights(shape[0], array.shape[0]) @ array @ weights(shape[1], array.shape[1]).T


@pytest.mark.parametrize("case", CASES)
def test_image_frame_and_boxes_are_those_of_the_published_code(case: str) -> None:
    reference = stored(f"{case}_slice")
    # The slices are smaller than the frame, where the published code loses a box's last pixel.
    transform = ResizeLongestSide(*reference["slice"].shape, far_edge=False)
    image = prepare_slice(IDENTITY.apply(reference["slice"]), transform)
    assert (image.shape, image.dtype) == ((1, 3, 256, 256), np.float32)
    for channel in image[0]:
        np.testing.assert_array_equal(channel, reference["image"])
    assert transform.frame == tuple(reference["frame"])
    boxes = [transform.apply_box(box) for box in reference["boxes"]]
    np.testing.assert_array_equal(boxes, reference["boxes256"])


@pytest.mark.parametrize("case", CASES)
def test_masks_from_published_logits_are_the_published_masks(case: str) -> None:
    reference = stored(f"{case}_slice")
    transform = ResizeLongestSide(*reference["slice"].shape)
    for logits, mask in zip(reference["logits"], reference["masks"], strict=True):
        assert np.count_nonzero(transform.invert_mask(logits) != mask) <= 1


def test_the_identity_window_keeps_every_grey_value() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(IDENTITY.apply(grey), grey)


def test_the_soft_tissue_window_spans_minus_160_to_240_hu() -> None:
    assert SOFT_TISSUE.limits == (-160, 240)
    hu = np.array([-1024, -160, -158, 40, 239, 240, 3071], np.int16)
    # 255 / 400 of the distance from -160, fractions dropped.
    assert SOFT_TISSUE.apply(hu).tolist() == [0, 0, 1, 127, 254, 255, 255]
    assert WindowLevel.from_limits(-160, 240) == SOFT_TISSUE


@pytest.mark.parametrize(
    ("level", "width"),
    [
        (0, 0),
        (0, -1),
        (float("nan"), 1),
        (0, float("inf")),
        (40, 1e-300),
        (1e30, 1e-30),
        (1e300, 1),
    ],
)
def test_a_window_without_extent_is_refused(level: float, width: float) -> None:
    with pytest.raises(ValueError, match="positive width"):
        WindowLevel(level, width)


def test_ct_gets_the_soft_tissue_window(phantom: Any) -> None:
    assert default_window(phantom.volume) == SOFT_TISSUE


def test_a_case_keeps_its_grey_values() -> None:
    assert default_window(read_volume(DATA / "mr_sarcoma_volume.npz")) == IDENTITY


def test_mr_gets_the_percentiles_of_its_non_zero_voxels() -> None:
    values = np.concatenate([np.zeros(3000), np.arange(1, 1002)]).astype(np.float32)
    volume = _mr(np.random.default_rng(0).permutation(values).reshape(1, 1, -1))
    # Of 1, 2, ... 1001, 0.5 % are 5 steps from either end.
    assert default_window(volume).limits == pytest.approx((6, 996))


def test_mr_of_two_values_shows_both() -> None:
    assert default_window(_mr(np.array([[[0, 0, 7, 7]]]))).limits == (0, 7)


def _mr(array: np.ndarray) -> Volume:
    return volume_from_slices(array, (1, 1, 1), "mr").with_modality("MR")


@pytest.mark.parametrize(
    ("start", "step", "kind"),
    [
        (2**63, 100, np.uint64),
        (2**62, 100, np.int64),
        (1e39, 1e37, np.float64),
        (-1e300, 1e300, np.float64),
        (1e-200, 1e-200, np.float64),
        (1e10, 0.1, np.float64),
    ],
)
def test_values_that_single_precision_cannot_show_are_told(
    start: float, step: float, kind: type
) -> None:
    data = np.array([start + step * number for number in range(24)], kind).reshape(2, 3, 4)
    volume = volume_from_slices(data, (1, 1, 1), "scan").with_modality("MR")
    with pytest.raises(VolumeError, match=r"scan: its values from .* single precision"):
        default_window(volume)
    with pytest.raises(VolumeError, match="scan"):
        slice_window(volume, 0, 1)
    assert not presets(volume, SOFT_TISSUE)[1:]


def test_colours_keep_their_channels() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0] = (200, 100, 0)
    image = prepare_slice(picture, ResizeLongestSide(2, 2))
    np.testing.assert_allclose(image[0, :, 0, 0], [1, 0.5, 0])
    assert not image[0, :, 128:, 128:].any()


def test_a_slice_of_one_value_gives_a_black_image() -> None:
    image = prepare_slice(np.full((9, 9), 77, np.uint8), ResizeLongestSide(9, 9))
    assert not image.any()


def test_what_lies_outside_the_frame_is_zero() -> None:
    transform = ResizeLongestSide(50, 100)
    image = prepare_slice(
        np.full((50, 100), 9, np.uint8) + np.eye(50, 100, dtype=np.uint8), transform
    )
    assert transform.frame == (128, 256)
    assert not image[0, :, 128:].any()
    assert image.max() == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (2, 3), (1, 5000)])
def test_the_thinnest_slices_go_there_and_back(shape: tuple[int, int]) -> None:
    transform = ResizeLongestSide(*shape)
    array = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    image = prepare_slice(array, transform)
    assert 0 <= image.min() <= image.max() <= 1
    assert transform.invert_logits(image[0, 0]).shape == shape
    assert transform.invert_mask(np.ones((256, 256), np.float32)).all()


@settings(deadline=None)
@given(height=sides, width=sides, row=sizes, column=sizes)
def test_the_longest_side_fills_the_frame(
    height: int, width: int, row: float, column: float
) -> None:
    transform = ResizeLongestSide(height, width, (row, column))
    assert max(transform.frame) == FRAME
    assert min(transform.frame) >= 1
    box = transform.apply_box([0, 0, width - 1, height - 1])
    assert np.array_equal(box, np.trunc(box))
    assert np.all(box[2:] <= transform.frame[::-1])


@settings(deadline=None)
@given(
    height=st.integers(2, 700),
    width=st.integers(2, 700),
    pixel_size=st.sampled_from([(1.0, 1.0), (2.5, 0.8), (0.7, 3.0)]),
    places=st.lists(st.floats(0, 0.999), min_size=4, max_size=4),
)
def test_a_box_holds_its_last_pixels_as_they_are_shown(
    height: int, width: int, pixel_size: tuple[float, float], places: list[float]
) -> None:
    """Where a slice is enlarged, to their far edge; elsewhere by LiteMedSAM's rule."""
    transform = ResizeLongestSide(height, width, pixel_size)
    x0, x1 = sorted(int(place * width) for place in places[:2])
    y0, y1 = sorted(int(place * height) for place in places[2:])
    found = transform.apply_box([x0, y0, x1, y1])
    near = ResizeLongestSide(height, width, pixel_size, far_edge=False).apply_box([x0, y0, x1, y1])
    spans = ((y0, y1), (x0, x1))
    for axis, ((first, last), scale) in enumerate(zip(spans, transform.scale, strict=True)):
        low, high = float(found[1 - axis]), float(found[3 - axis])
        assert low == near[1 - axis] == int(first * scale)
        assert near[3 - axis] == int(last * scale)
        if scale > 1:
            mask = np.zeros((height, width), bool)
            np.moveaxis(mask, axis, 0)[first : last + 1] = True
            shown = np.nonzero(transform.apply_mask(mask).any(1 - axis))[0]
            # The shorter side is shown a bit longer or shorter, in whole frame pixels.
            whole = transform.frame[axis] == pytest.approx(mask.shape[axis] * scale)
            if shown.size:  # not half a frame pixel, where one lies between two
                assert low == pytest.approx(shown.min(), abs=1 if whole else 2)
                assert high == pytest.approx(shown.max(), abs=1 if whole else 2)
            end = (last + 1) * scale - 1
            assert end - 1 - 1e-9 < high < end + 1e-9, "up to rounding, to the last whole pixel"
        else:
            assert high == near[3 - axis]


def test_a_frame_pixel_is_of_a_mask_that_has_half_of_it() -> None:
    """Of each four pixels that make one of the frame."""
    mask = np.zeros((512, 512), bool)
    mask[::2, 0] = mask[::2, 2:4] = mask[:, 4:6] = True
    mask[1::2, 4] = False
    shown = ResizeLongestSide(512, 512).apply_mask(mask)
    assert shown[:, :4].all(0).tolist() == shown[:, :4].any(0).tolist()
    assert shown[0, :4].tolist() == [False, True, True, False]


@pytest.mark.parametrize("shape", [(90, 120), (400, 320), (256, 256), (31, 7)])
def test_masks_are_bilinear_logits_above_zero(shape: tuple[int, int]) -> None:
    transform = ResizeLongestSide(*shape)
    logits = np.random.default_rng(1).normal(size=(256, 256)).astype(np.float32)
    height, width = transform.frame
    expected = bilinear(logits[:height, :width].astype(np.float64), shape)
    np.testing.assert_allclose(transform.invert_logits(logits), expected, atol=1e-4)
    certain = np.abs(expected) > 1e-4
    np.testing.assert_array_equal(transform.invert_mask(logits)[certain], expected[certain] > 0)


@pytest.mark.parametrize("shape", [(24, 80), (80, 24)])
@pytest.mark.parametrize("pixel_size", [(3.0, 0.5), (0.7, 3.0), (0.7, 0.705)])
def test_a_shape_on_pixels_that_are_not_square_comes_back(
    shape: tuple[int, int], pixel_size: tuple[float, float]
) -> None:
    transform = ResizeLongestSide(*shape, pixel_size)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    # Off the centre, so that a mirrored or shifted way back would show.
    inside = ((rows / shape[0] - 0.4) / 0.3) ** 2 + ((columns / shape[1] - 0.6) / 0.25) ** 2 <= 1
    small = transform.apply_image(inside.astype(np.uint8) * 255)
    assert small.shape == transform.frame
    logits = np.full((256, 256), -127.5, np.float32)
    logits[: small.shape[0], : small.shape[1]] += small
    assert dsc(transform.invert_mask(logits), inside) >= 0.95
    ys, xs = np.nonzero(small > 127)
    y, x = np.nonzero(inside)
    box = transform.apply_box([x.min(), y.min(), x.max(), y.max()])
    np.testing.assert_allclose([xs.min(), ys.min(), xs.max(), ys.max()], box, atol=2)


def test_pixels_that_are_nearly_square_count_as_square() -> None:
    assert ResizeLongestSide(256, 256, (0.7, 0.705)).frame == (256, 256)
    assert ResizeLongestSide(256, 256, (0.7, 0.72)).frame == (249, 256)


def test_what_is_round_in_the_patient_is_round_in_the_frame() -> None:
    pixel_size = (3.0, 0.5)
    transform = ResizeLongestSide(40, 200, pixel_size)
    rows, columns = np.mgrid[:40, :200]
    disc = np.hypot((rows - 20) * 3.0, (columns - 100) * 0.5) <= 30
    ys, xs = np.nonzero(transform.apply_image(disc.astype(np.uint8) * 255) > 127)
    height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
    assert height == pytest.approx(width, rel=0.06)
    assert width == pytest.approx(60 * 256 / 120, rel=0.06)
