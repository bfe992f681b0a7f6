from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from napari_medsamq.statistics import label_statistics


@pytest.fixture(scope="module")
def label(phantom: Any) -> np.ndarray:
    """Slabs that each cross all three tissues, one under the highest id there is."""
    label = np.zeros(phantom.volume.data.shape, np.uint16)
    label[2:9, 5:50] = 7
    label[9:14, :, 30:] = 2
    label[14:20, 20:40, 3:77] = 65535
    return label


def test_voxels_mean_and_sd_are_simpleitks(phantom: Any, label: np.ndarray) -> None:
    volume = phantom.volume
    itk = sitk.LabelStatisticsImageFilter()
    itk.Execute(sitk.GetImageFromArray(volume.data), sitk.GetImageFromArray(label))
    measured = label_statistics(volume, label)
    assert list(measured) == [2, 7, 65535]
    for label_id, found in measured.items():
        count = itk.GetCount(label_id)
        assert found.voxels == count
        assert found.mean == pytest.approx(itk.GetMean(label_id))
        # ITK divides by n - 1.
        assert found.sd == pytest.approx(itk.GetSigma(label_id) * np.sqrt((count - 1) / count))
        assert found.sd > 100


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
