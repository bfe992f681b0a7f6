from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_slices import SameProcess
from grids import rotation

from napari_medsamq.inference.engine import OpenVINOEngine
from napari_medsamq.inference.model_choice import FLOAT_MODEL, MODELS
from napari_medsamq.io.dicom import reader
from napari_medsamq.io.dicom.process import Decoder
from napari_medsamq.io.volume import Volume, read_volume


@dataclass(frozen=True)
class Phantom:
    """A CT-like volume on a tilted grid with one ellipsoid, whose shape is known exactly."""

    volume: Volume
    reference: np.ndarray  # (z, y, x) bool
    centre: np.ndarray  # (3,) LPS mm
    radii: np.ndarray  # (3,) mm, along the array axes

    @property
    def millilitres(self) -> float:
        return float(4 / 3 * np.pi * np.prod(self.radii) / 1000)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    """Spacing (3, 0.7, 0.5) mm, soft tissue 40 HU in the ellipsoid, fat around it, then air."""
    path: Path = tmp_path_factory.mktemp("phantom") / "phantom.nii.gz"
    shape = np.array([24, 64, 80])
    affine = np.eye(4)
    affine[:3, :3] = rotation((8, -5, 12)) @ np.diag([0.5, 0.7, 3.0])
    affine[:3, 3] = [-31.5, 12.25, -400.0]
    centre_index = (shape - 1) / 2
    radii = np.array([24.0, 14.0, 12.0])
    offsets = np.indices(shape).reshape(3, -1).T - centre_index
    distance = np.linalg.norm(offsets * [3.0, 0.7, 0.5] / radii, axis=1).reshape(shape)
    voxels = np.select([distance <= 1, distance <= 1.4], [40, -100], -1000).astype(np.int16)
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm")
    ras = np.diag([-1.0, -1, 1, 1]) @ affine
    image = nib.Nifti1Image(voxels.transpose(2, 1, 0), ras, header)
    image.set_qform(ras, code=1)
    image.set_sform(ras, code=1)
    nib.save(image, path)
    centre = (affine @ [*centre_index[::-1], 1])[:3]
    return Phantom(read_volume(path), distance <= 1, centre, radii)


@pytest.fixture(scope="session")
def engine() -> OpenVINOEngine:
    """The float model that comes with the program, equal to the published network."""
    return OpenVINOEngine(MODELS / FLOAT_MODEL)


@pytest.fixture
def same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read DICOM in the process of the tests, which is faster than one of its own."""
    monkeypatch.setattr(reader, "Decoder", SameProcess)


@pytest.fixture
def own_process(same_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read DICOM in a process of its own, as users have it, where other tests of a file do not."""
    monkeypatch.setattr(reader, "Decoder", Decoder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that open windows last.

    Others fork worker processes, and a fork of a process with windows inherits what it cannot end.
    """
    items.sort(key=lambda item: "ui" in item.path.parts)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Leave a core to each of the processes that share the tests."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
