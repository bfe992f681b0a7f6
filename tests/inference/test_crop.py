from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medsamq.inference.crop import Crop, CropTransform, Zoom, tight_box
from napari_medsamq.inference.preprocess import BoxRule, ResizeLongestSide, prepare_slice

SQUARE = (1.0, 1.0)


@given(
    height=st.integers(8, 900),
    width=st.integers(8, 900),
    pixel_size=st.sampled_from([(1.0, 1.0), (2.5, 0.8), (0.7, 3.0)]),
    corners=st.lists(st.integers(0, 256), min_size=4, max_size=4),
)
def test_a_box_of_the_frame_comes_back_as_it_was(height, width, pixel_size, corners) -> None:
    for crop in (None, Crop(2, 1, height - 1, width - 2)):
        transform = CropTransform((height, width), pixel_size, crop)
        np.testing.assert_array_equal(transform.apply_box(transform.invert_box(corners)), corners)


def test_the_whole_slice_is_what_it_was_without_views() -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (90, 120)).astype(np.uint8)
    logits = rng.normal(size=(256, 256)).astype(np.float32)
    transform, resize = CropTransform((90, 120), SQUARE), ResizeLongestSide(90, 120)
    np.testing.assert_array_equal(transform.image(array), prepare_slice(array, resize))
    np.testing.assert_array_equal(transform.invert_mask(logits), resize.invert_mask(logits))
    np.testing.assert_array_equal(
        transform.apply_box([3, 4, 50, 60]), resize.apply_box([3, 4, 50, 60])
    )


def test_a_part_is_shown_as_if_it_were_the_slice_and_its_mask_lies_in_the_slice() -> None:
    array = np.random.default_rng(0).integers(0, 256, (200, 300)).astype(np.uint8)
    crop = Crop(50, 100, 130, 180)
    transform = CropTransform((200, 300), SQUARE, crop)
    part = ResizeLongestSide(80, 80)
    np.testing.assert_array_equal(
        transform.image(array), prepare_slice(array[50:130, 100:180].copy(), part)
    )
    np.testing.assert_array_equal(
        transform.apply_box([110, 60, 120, 80]), part.apply_box([10, 10, 20, 30])
    )
    mask = transform.invert_mask(np.ones((256, 256), np.float32))
    assert mask[crop.place].all()
    assert mask.sum() == 80 * 80


def test_small_boxes_are_zoomed_in_on_and_others_are_not() -> None:
    whole = CropTransform((400, 400), SQUARE)
    assert Zoom().transform_around([100, 100, 200, 150], whole) == whole
    transform = Zoom(times=4).transform_around([150, 200, 189, 219], whole)
    top, left, bottom, right = transform.crop
    assert (bottom - top, right - left) == (160, 160), "four times the longer side of 40 pixels"
    assert (left + right) / 2 == 170, "between the columns 169 and 170"
    assert (top + bottom) / 2 == 210


@given(
    left=st.integers(130, 200),
    top=st.integers(130, 200),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
)
def test_a_part_has_its_box_in_the_middle(left: int, top: int, width: int, height: int) -> None:
    box = [left, top, left + width - 1, top + height - 1]
    crop = Zoom(times=4).transform_around(box, CropTransform((400, 400), SQUARE)).crop
    # Where the numbers of pixels are odd and even, it cannot be.
    assert abs((crop.left + crop.right) - (2 * left + width)) <= 1
    assert abs((crop.top + crop.bottom) - (2 * top + height)) <= 1
    assert 0 <= crop.right - crop.left - max(24, 4 * max(width, height)) <= 1


@pytest.mark.parametrize("rule", [BoxRule.far_edge, BoxRule.published])
@pytest.mark.parametrize("crop", [None, Crop(10, 10, 60, 60)])
def test_published_weights_get_boxes_on_whole_slices_as_they_are_used_to(
    rule: BoxRule, crop: Crop | None
) -> None:
    transform = CropTransform((100, 128), SQUARE, crop, rule)
    scale, origin = (2, 0) if crop is None else (256 / 50, 10)
    far, near = int(scale * (31 - origin) - 1), int(scale * (30 - origin))
    found = transform.apply_box([20, 20, 30, 30])
    last = near if crop is None and rule is BoxRule.published else far
    first = int(scale * (20 - origin))
    np.testing.assert_array_equal(found, [first, first, last, last])
    np.testing.assert_array_equal(transform.apply_box(transform.invert_box(found)), found)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("box", [[0, 0, 20, 10], [479, 289, 499, 299], [0, 280, 15, 299]])
def test_at_the_edge_the_part_is_as_large_and_lies_within(box, turned: bool) -> None:
    height, width = (500, 300) if turned else (300, 500)
    box = np.reshape(box, (2, 2))[:, ::-1].ravel().tolist() if turned else box
    crop = Zoom(times=4).transform_around(box, CropTransform((height, width), SQUARE)).crop
    assert 0 <= crop.top < crop.bottom <= height
    assert 0 <= crop.left < crop.right <= width
    assert (
        crop.bottom - crop.top
        == crop.right - crop.left
        == 4 * max(box[2] + 1 - box[0], box[3] + 1 - box[1])
    )
    assert crop.left <= box[0] <= box[2] <= crop.right


def test_a_part_is_square_in_mm() -> None:
    # Rows of 4 mm, columns of 1 mm, as in a coronal slice.
    whole = CropTransform((100, 400), (4.0, 1.0))
    crop = Zoom(times=4).transform_around([100, 50, 139, 54], whole).crop
    assert crop.right - crop.left == pytest.approx(4 * (crop.bottom - crop.top), abs=4)


def test_a_tiny_box_still_shows_what_is_around_it() -> None:
    crop = (
        Zoom(times=4).transform_around([100, 100, 101, 102], CropTransform((400, 400), SQUARE)).crop
    )
    assert crop.bottom - crop.top == crop.right - crop.left == 24


@pytest.mark.parametrize(("place", "side"), [(0, 400), (399, 400), (7, 10), (0, 10), (9, 10)])
def test_a_point_is_the_middle_of_its_pixel(place: int, side: int) -> None:
    """Not its upper left corner; the nearest frame pixel where none shows it."""
    for crop in (None, Crop(0, 0, side - 1, side - 1)):
        transform = CropTransform((side, side), SQUARE, crop)
        scale = 256 / (side if crop is None else side - 1)
        expected = min(int((place + 0.5) * scale), 255)
        assert transform.apply_point(place, 0) == (expected, int(0.5 * scale))
        assert transform.apply_point(0, place) == (int(0.5 * scale), expected)


@pytest.mark.parametrize("crop", [Crop(20, 30, 60, 70), None])
def test_a_point_beside_what_is_shown_is_at_its_edge(crop: Crop | None) -> None:
    transform = CropTransform((100, 100), SQUARE, crop)
    assert transform.apply_point(-9, -9) == (0, 0)
    assert transform.apply_point(109, 109) == (255, 255)


def test_the_box_of_nothing_is_none() -> None:
    mask = np.zeros((5, 6), bool)
    assert tight_box(mask) is None
    mask[2, 3:5] = True
    assert tight_box(mask).tolist() == [3, 2, 4, 2]
