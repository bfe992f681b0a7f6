from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from napari_medsamq.analysis.statistics import label_statistics, measure, measure_label
from napari_medsamq.io.volume import volume_from_slices


@pytest.fixture(scope="module")
def label(phantom: Any) -> np.ndarray:
    """Slabs that each cross all three tissues, one under the highest id there is."""
    label = np.zeros(phantom.volume.data.shape, np.uint16)
    label[2:9, 5:50] = 7
    label[9:14, :, 30:] = 2
    label[14:20, 20:40, 3:77] = 65535
    return label


def itk_image(array: np.ndarray, spacing: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1].tolist())
    return image


def test_all_numbers_are_simpleitks(phantom: Any, label: np.ndarray) -> None:
    volume = phantom.volume
    image, labels = (itk_image(array, volume.spacing) for array in (volume.data, label))
    itk, shape = sitk.LabelStatisticsImageFilter(), sitk.LabelShapeStatisticsImageFilter()
    itk.Execute(image, labels)
    shape.ComputeFeretDiameterOn()
    shape.Execute(labels)
    measured = label_statistics(volume, label)
    assert list(measured) == [2, 7, 65535]
    for label_id, found in measured.items():
        assert found.voxels == itk.GetCount(label_id)
        close = partial(pytest.approx, rel=1e-6)
        assert found.mean == close(itk.GetMean(label_id))
        assert found.sd == close(itk.GetSigma(label_id))
        assert found.sd > 100
        assert found.millilitres == close(shape.GetPhysicalSize(label_id) / 1000)
        assert found.longest_mm == close(shape.GetFeretDiameter(label_id))
        assert found.percentiles[50] == np.median(volume.data[label == label_id])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_diameters_of_odd_shapes_are_simpleitks(phantom: Any, axis: int) -> None:
    rng = np.random.default_rng(axis)
    spacing = phantom.volume.spacing
    for share in (0.002, 0.02, 0.3):
        mask = rng.random(phantom.volume.data.shape) < share
        mask[:, 40:] = False
        shape = sitk.LabelShapeStatisticsImageFilter()
        shape.ComputeFeretDiameterOn()
        shape.Execute(itk_image(mask.astype(np.uint8), spacing))
        found = measure(phantom.volume, mask, axis)
        assert found.longest_mm == pytest.approx(shape.GetFeretDiameter(1), rel=1e-6)
        planes, longest = np.moveaxis(mask, axis, 0), 0.0
        for plane in planes[planes.any((1, 2))]:
            shape.Execute(itk_image(plane.astype(np.uint8), np.delete(spacing, axis)))
            longest = max(longest, shape.GetFeretDiameter(1))
        assert found.plane_mm == pytest.approx(longest, rel=1e-6)
        assert found.slices == planes.any((1, 2)).sum()


def random_mask(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Make a mask that is thin, one voxel thick, touches the border, is noise or a few specks."""
    if kind in ("noise", "specks"):
        return rng.random(shape) < (0.5 if kind == "noise" else 0.02)
    starts = [int(rng.integers(0, size)) for size in shape]
    place = [slice(low, int(rng.integers(low, size)) + 1) for low, size in zip(starts, shape)]  # noqa: B905
    axis = int(rng.integers(len(shape)))
    if kind == "sheet":
        place[axis] = slice(starts[axis], starts[axis] + 1)
    if kind == "line":
        place = [slice(low, low + 1) for low in starts]
        place[axis] = slice(starts[axis], shape[axis])
    if kind == "border":
        place[axis] = slice(0, shape[axis])
    mask = np.zeros(shape, bool)
    mask[tuple(place)] = True
    return mask


@pytest.mark.parametrize("kind", ["noise", "specks", "block", "sheet", "line", "border"])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((7, 11, 13), (1.0, 1.0, 1.0)),
        ((6, 20, 9), (5.0, 0.4, 0.9)),
        ((2, 3, 40), (0.3, 2.0, 0.7)),
        ((1, 15, 18), (8.0, 0.6, 1.1)),
        ((12, 14, 1), (0.8, 3.0, 2.0)),
    ],
)
def test_random_masks_measure_what_simpleitk_says(
    kind: str, shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    rng = np.random.default_rng([len(kind), *shape])
    close = partial(pytest.approx, rel=1e-6, abs=1e-9)
    for values in (
        rng.integers(-1000, 3000, shape).astype(np.int16),
        rng.normal(5, 1000, shape).astype(np.float32),
    ):
        label = np.zeros(shape, np.uint16)
        for label_id in (3, 700):
            label[random_mask(rng, kind, shape)] = label_id
        volume, size = volume_from_slices(values, spacing, "image"), np.array(spacing)
        shapes, itk = (
            sitk.LabelShapeStatisticsImageFilter(),
            sitk.LabelIntensityStatisticsImageFilter(),
        )
        shapes.ComputeFeretDiameterOn()
        shapes.Execute(itk_image(label, size))
        itk.Execute(itk_image(label, size), itk_image(values, size))
        for axis in range(3):
            measured = label_statistics(volume, label, axis)
            assert list(measured) == list(shapes.GetLabels())
            flat = shape.index(1) if 1 in shape else axis
            for label_id, found in measured.items():
                mask = label == label_id
                assert found.voxels == shapes.GetNumberOfPixels(label_id)
                assert found.millilitres == close(shapes.GetPhysicalSize(label_id) / 1000)
                assert found.longest_mm == close(shapes.GetFeretDiameter(label_id))
                assert found.mean == pytest.approx(itk.GetMean(label_id), rel=1e-5, abs=1e-3)
                if found.voxels > 1:  # of one voxel SimpleITK says nan
                    sd = itk.GetStandardDeviation(label_id)
                    assert found.sd == pytest.approx(sd, rel=1e-5, abs=1e-3)
                shares = list(found.percentiles)
                assert list(found.percentiles.values()) == close(
                    np.percentile(values[mask], shares)
                )
                planes = np.moveaxis(mask, flat, 0)
                used = planes[planes.any((1, 2))]
                assert found.slices == len(used)
                longest = 0.0
                for plane in used:
                    shapes_2d = sitk.LabelShapeStatisticsImageFilter()
                    shapes_2d.ComputeFeretDiameterOn()
                    shapes_2d.Execute(itk_image(plane.astype(np.uint8), np.delete(size, flat)))
                    longest = max(longest, shapes_2d.GetFeretDiameter(1))
                assert found.plane_mm == close(longest)


def test_what_lies_farthest_from_the_middle_may_be_no_end_of_the_longest_diameter() -> None:
    """The tip of a triangle, opposite its longest side, which is rounded."""
    rows, columns = np.mgrid[-1:1:41j, :37]
    plane = (columns >= 4 * rows**2) & (columns <= 4 + 32 * (1 - np.abs(rows)))
    mask = np.stack([plane] * 80)
    volume = volume_from_slices(mask.astype(np.int16), (0.1, 1, 1), "triangle")
    found = measure(volume, mask)
    assert found.plane_mm == 40
    assert found.longest_mm == pytest.approx(np.hypot(40, 7.9))


def test_flat_masks_and_single_voxels_are_measured(phantom: Any) -> None:
    volume = phantom.volume
    mask = np.zeros(volume.data.shape, bool)
    mask[5, 10, 20] = True
    one = measure(volume, mask)
    assert (one.voxels, one.sd, one.plane_mm, one.longest_mm, one.slices) == (1, 0, 0, 0, 1)
    mask[5, 10, 30] = True
    line = measure(volume, mask)
    assert line.longest_mm == line.plane_mm == pytest.approx(10 * volume.spacing[2])
    mask[5, 20:30, 20:30] = True
    flat = measure(volume, mask)
    assert flat.longest_mm == pytest.approx(flat.plane_mm)
    for axis in range(3):
        large = np.zeros(volume.data.shape, bool)
        np.moveaxis(large, axis, 0)[7] = True
        sides = np.delete((np.array(large.shape) - 1) * volume.spacing, axis)
        assert measure(volume, large).longest_mm == pytest.approx(np.hypot(*sides))
    mask[8, 10, 20] = True
    thick = measure(volume, mask)
    assert thick.longest_mm > flat.longest_mm == pytest.approx(thick.plane_mm)


def test_millilitres_are_those_of_the_voxels_parallelepipeds(
    phantom: Any, label: np.ndarray
) -> None:
    voxel_ml = abs(np.linalg.det(phantom.volume.affine[:3, :3])) / 1000
    for found in label_statistics(phantom.volume, label).values():
        assert found.millilitres == pytest.approx(found.voxels * voxel_ml)


def test_the_phantoms_ellipsoid_has_its_volume_and_hu(phantom: Any) -> None:
    found = label_statistics(phantom.volume, phantom.reference.astype(np.uint16))[1]
    assert found.millilitres == pytest.approx(phantom.millilitres, rel=0.01)
    assert (found.mean, found.sd) == (40, 0)


def test_an_empty_label_measures_nothing(phantom: Any) -> None:
    assert label_statistics(phantom.volume, np.zeros(phantom.reference.shape, np.uint16)) == {}


@pytest.mark.parametrize(
    ("kind", "start", "step"),
    [
        (np.uint64, 2**63 + 2**20, 4096),
        (np.uint64, 2**64 - 2**20, 1),
        (np.uint64, 0, 2**58),
        (np.int64, -(2**63), 1),
        (np.int64, 2**62, 4096),
        (np.int8, -128, 5),
        (np.float64, -1e300, 3e298),
        (np.float64, 1e15, 0.25),
    ],
)
def test_values_at_the_ends_of_their_type_are_measured(
    kind: type, start: float, step: float
) -> None:
    values = [start + step * number for number in range(50)]
    data = np.array(values, kind).reshape(2, 5, 5)
    volume = volume_from_slices(data, (1, 1, 1), "image")
    found = measure_label(volume, np.ones(data.shape, np.uint16), 1)
    assert found is not None
    statistics, intensities = found
    assert statistics.mean == pytest.approx(start + 24.5 * step, rel=1e-12)
    assert statistics.sd == pytest.approx(step * np.std(range(50), ddof=1), rel=1e-2, abs=1e3)
    assert statistics.percentiles[50] == pytest.approx(statistics.mean, rel=1e-12)
    counts, low, high = intensities.histogram(8)
    assert counts.sum() == 50
    assert (low, high) == pytest.approx((values[0], values[-1]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_image_has_one_slice_from_wherever_it_is_seen(axis: int) -> None:
    image = np.arange(600.0).reshape(20, 30)
    mask = np.zeros((20, 30), np.uint16)
    mask[3:13, 4:24] = 1
    sides = np.insert([2.0, 0.5], axis, 7.0)
    volume = volume_from_slices(np.expand_dims(image, axis), sides, "image")
    for seen in range(3):
        found = label_statistics(volume, np.expand_dims(mask, axis), seen)[1]
        assert found.slices == 1
        assert found.plane_mm == found.longest_mm == pytest.approx(np.hypot(9 * 2, 19 * 0.5))
        assert found.millilitres == pytest.approx(200 * 7 / 1000)
