"""Saving: labels land where they were drawn, and headers survive."""

from __future__ import annotations

import gzip
import struct
import time
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import nifti_oracle
import numpy as np
import pytest
import SimpleITK as sitk
from grids import ALL_48, grid_affine
from sources import COUNTING, RAS, label_at, names_in, volume_of, world, write_nifti

from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.volume import read_volume, volume_from_slices

CODES = pytest.mark.parametrize(
    "codes", [(1, 1), (2, 0), (0, 2), (0, 0)], ids=["both", "qform", "sform", "none"]
)


@CODES
@pytest.mark.parametrize("degrees", [(0, 0, 0), (20, -15, 25)])
@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_a_drawn_voxel_lands_at_its_place_in_the_patient(
    tmp_path: Path,
    axes: tuple[int, ...],
    signs: tuple[int, ...],
    degrees: tuple[float, float, float],
    codes: tuple[int, int],
) -> None:
    source = write_nifti(
        tmp_path / "a.nii", affine_lps=grid_affine(axes, signs, degrees), codes=codes
    )
    volume = read_volume(source)
    places = [(0, 0, 0), tuple(size - 1 for size in volume.data.shape), (1, 2, 3)]
    receipt = write_label(tmp_path / "label.nii", label_at(volume, *places), volume)
    saved, image = nifti_oracle.parse(tmp_path / "label.nii"), nifti_oracle.parse(source)
    assert receipt.counts == {1: 1, 2: 1, 3: 1}
    for label_id, place in enumerate(places, start=1):
        (ijk,) = np.argwhere(saved.data == label_id)
        assert image.data[tuple(ijk)] == volume.data[place]
        if codes != (0, 0):
            here = world(volume.affine, place)
            np.testing.assert_allclose(world(saved.lps, ijk), here, atol=1e-4)
            itk = sitk.ReadImage(str(tmp_path / "label.nii"))
            there = itk.TransformIndexToPhysicalPoint(ijk.tolist())
            np.testing.assert_allclose(there, here, atol=1e-4)
    for field in ("sform", "qform", "sform_code", "qform_code", "pixdim", "units", "shape"):
        np.testing.assert_array_equal(getattr(saved, field), getattr(image, field))


@pytest.mark.parametrize("units", [0, 2, 10])
def test_the_header_is_the_images_but_for_its_intensities(tmp_path: Path, units: int) -> None:
    source = write_nifti(
        tmp_path / "a.nii", affine_lps=grid_affine((2, 0, 1), (1, -1, 1)), codes=(0, 2)
    )
    image = nib.load(source)
    numbers = ("cal_min", "cal_max", "intent_code", "intent_p1", "intent_p2", "intent_p3")
    for number, field in enumerate(numbers, start=3):
        image.header[field] = number
    image.header["intent_name"] = b"someone's name"
    nib.save(nib.Nifti1Image(np.array(image.dataobj), None, image.header), source)
    content = bytearray(source.read_bytes())
    content[123] = units
    source.write_bytes(content)
    volume = read_volume(source)
    write_label(tmp_path / "label.nii", label_at(volume, (1, 2, 3)), volume)
    assert [nib.load(tmp_path / "label.nii").header[field] for field in numbers] == [0] * 6
    saved = nifti_oracle.parse(tmp_path / "label.nii")
    assert (saved.units, saved.sform_code, saved.qform_code) == (units, 2, 0)
    assert (saved.scaling, saved.cal, saved.descrip) == ((1, 0), (0, 0), "MedSAMQ label")
    assert b"someone's name" not in (tmp_path / "label.nii").read_bytes()


@pytest.mark.parametrize(("top", "datatype"), [(1, 2), (255, 2), (256, 512), (65535, 512)], ids=str)
def test_the_smallest_number_type_that_holds_the_ids(
    tmp_path: Path, top: int, datatype: int
) -> None:
    volume = volume_of(tmp_path / "a.nii")
    label = label_at(volume, (1, 2, 3)).astype(np.int64) * top
    receipt = write_label(tmp_path / "label.nii.gz", label, volume)
    saved = nifti_oracle.parse(tmp_path / "label.nii.gz")
    assert (saved.datatype, saved.data.max()) == (datatype, top)
    assert receipt.counts == {top: 1}
    assert receipt.sha256 == sha256((tmp_path / "label.nii.gz").read_bytes()).hexdigest()


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 6, 1), (4, 5, 6, 1, 1)])
def test_the_label_has_the_files_full_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    volume = volume_of(tmp_path / "a.nii", data=data)
    label = (volume.data % 7).astype(np.uint8)
    receipt = write_label(tmp_path / "label.nii.gz", label, volume)
    saved = nifti_oracle.parse(tmp_path / "label.nii.gz")
    assert saved.shape == receipt.shape == shape
    np.testing.assert_array_equal(saved.data, data % 7)


@pytest.mark.parametrize("name", ["a.nrrd", "a.png", "a.npz", None])
def test_labels_of_other_files_are_plain_nifti(tmp_path: Path, name: str | None) -> None:
    grey = (COUNTING % 100).astype(np.uint8)
    image = sitk.GetImageFromArray(grey[0] if name == "a.png" else grey)
    if name is None:
        volume = volume_from_slices(grey, (3, 0.7, 0.5), "layer")
    elif name == "a.npz":
        np.savez(tmp_path / name, imgs=grey, spacing=np.array([0.5, 0.7, 3]))
        volume = read_volume(tmp_path / name)
    else:
        if name == "a.nrrd":
            affine = grid_affine((1, 2, 0), (-1, 1, -1), (12, -7, 30))
            image.SetDirection((affine[:3, :3] / [0.5, 0.7, 3.0]).ravel().tolist())
            image.SetOrigin(affine[:3, 3].tolist())
        sitk.WriteImage(image, str(tmp_path / name))
        volume = read_volume(tmp_path / name)
    place = tuple(size // 2 for size in volume.data.shape)
    write_label(tmp_path / "label.nii.gz", label_at(volume, place), volume)
    saved = nifti_oracle.parse(tmp_path / "label.nii.gz")
    code = 1 if name == "a.nrrd" else 0  # the others do not say how the patient lies in them
    assert (saved.sform_code, saved.qform_code, saved.units) == (code, code, 2)
    (ijk,) = np.argwhere(saved.data == 1)
    sizes = np.sort(saved.pixdim[1 : saved.data.ndim + 1])
    np.testing.assert_allclose(sizes, np.sort(volume.spacing)[-len(sizes) :])
    if code:
        np.testing.assert_allclose(saved.sform, saved.qform, atol=1e-4)
        here = world(volume.affine, place)
        np.testing.assert_allclose(world(saved.lps, ijk), here, atol=1e-4)


def test_one_label_always_gives_the_same_bytes(tmp_path: Path) -> None:
    volume = volume_of(tmp_path / "a.nii")
    label = label_at(volume, (1, 2, 3))
    first = write_label(tmp_path / "one.nii.gz", label, volume)
    time.sleep(1.1)  # gzip stores whole seconds
    assert write_label(tmp_path / "two.nii.gz", label, volume).sha256 == first.sha256


def test_nothing_but_the_label_is_left_in_the_folder(tmp_path: Path) -> None:
    volume = volume_of(tmp_path / "a.nii")
    (tmp_path / "out").mkdir()
    write_label(tmp_path / "out" / "label.nii.gz", label_at(volume, (0, 0, 0)), volume)
    assert names_in(tmp_path / "out") == ["label.nii.gz"]


@pytest.mark.parametrize("kind", [nib.Nifti2Image, nib.Nifti1Pair, nib.AnalyzeImage])
def test_the_other_nifti_kinds(tmp_path: Path, kind: type) -> None:
    name = "a.nii.gz" if kind is nib.Nifti2Image else "a.img"
    nib.save(kind(COUNTING, np.diag([-2.0, 2, 3, 1])), tmp_path / name)
    volume = read_volume(tmp_path / name)
    write_label(tmp_path / "label.nii.gz", label_at(volume, (1, 2, 3)), volume)
    saved = nib.load(tmp_path / "label.nii.gz")
    assert type(saved) is (kind if kind is nib.Nifti2Image else nib.Nifti1Image)
    np.testing.assert_allclose(saved.affine, nib.load(tmp_path / name).affine, atol=1e-4)
    assert COUNTING[np.asarray(saved.dataobj) == 1] == volume.data[1, 2, 3]
    if kind is not nib.Nifti2Image:
        assert gzip.decompress((tmp_path / "label.nii.gz").read_bytes())[344:348] == b"n+1\0"
    told = any("left and right are unknown" in warning for warning in volume.warnings)
    assert told == (kind is nib.AnalyzeImage)


def test_a_flat_image_whose_header_leaves_out_the_third_axis(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", COUNTING[..., 0], codes=(0, 1))
    content = bytearray(path.read_bytes())
    for row in (280, 296, 312):
        struct.pack_into("<f", content, row + 8, 0.0)
    path.write_bytes(content)
    volume = read_volume(path)
    assert volume.spacing == pytest.approx([1, 1, 1])
    write_label(tmp_path / "label.nii", label_at(volume, (0, 2, 3)), volume)
    saved = nifti_oracle.parse(tmp_path / "label.nii")
    np.testing.assert_array_equal(saved.sform, nifti_oracle.parse(path).sform)
    assert saved.shape == (4, 5)


def test_a_big_endian_image(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(COUNTING, np.diag([2, 3, 4, 1]), header), tmp_path / "a.nii")
    assert nifti_oracle.parse(tmp_path / "a.nii").data.dtype.byteorder == ">"
    volume = read_volume(tmp_path / "a.nii")
    write_label(tmp_path / "label.nii", label_at(volume, (1, 2, 3)) * 300, volume)
    saved = nifti_oracle.parse(tmp_path / "label.nii")
    assert COUNTING[saved.data == 300] == volume.data[1, 2, 3]
    np.testing.assert_array_equal(saved.sform, np.diag([2, 3, 4, 1]))


def test_nan_in_a_form_that_is_not_in_use_does_not_matter(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", codes=(1, 0))
    content = bytearray(path.read_bytes())
    struct.pack_into("<12f", content, 280, *[np.nan] * 12)
    path.write_bytes(content)
    volume = read_volume(path)
    write_label(tmp_path / "label.nii", label_at(volume, (1, 2, 3)), volume)
    np.testing.assert_allclose(nifti_oracle.parse(tmp_path / "label.nii").qform, RAS, atol=1e-6)
