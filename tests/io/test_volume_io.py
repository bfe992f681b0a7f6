"""Reading NIfTI: where voxels lie, what they are, and what the user is told."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import nifti_oracle
import numpy as np
import pytest
import SimpleITK as sitk
from grids import ALL_48, grid_affine
from sources import COUNTING, RAS, index_of, world, write_nifti

from napari_medsamq.errors import ChoiceError, PromptError, VolumeError
from napari_medsamq.geometry import axis_codes
from napari_medsamq.io import nifti as _nifti
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.volume import Volume, read_volume


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 2)], ids=["both", "qform", "sform"])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (20, -15, 25), (-30, 10, 5)])
@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_every_voxel_stays_where_the_file_puts_it(
    tmp_path: Path,
    axes: tuple[int, ...],
    signs: tuple[int, ...],
    degrees: tuple[float, float, float],
    codes: tuple[int, int],
) -> None:
    affine = grid_affine(axes, signs, degrees)
    path = write_nifti(tmp_path / "a.nii", affine_lps=affine, codes=codes)
    volume = read_volume(path)
    told = nifti_oracle.parse(path)
    assert axis_codes(volume.affine) == ("S", "P", "L")
    itk = sitk.ReadImage(str(path))
    for value in (0, 37, COUNTING.max()):
        here = world(volume.affine, index_of(volume.data, value))
        ijk = index_of(told.data, value)
        np.testing.assert_allclose(here, world(told.lps, ijk), atol=1e-4)
        np.testing.assert_allclose(here, itk.TransformIndexToPhysicalPoint(ijk.tolist()), atol=1e-4)
    np.testing.assert_array_equal(volume.to_source(volume.data), COUNTING)
    np.testing.assert_array_equal(volume.from_source(COUNTING), volume.data)
    assert sorted(volume.spacing) == pytest.approx([0.5, 0.7, 3.0])


@pytest.mark.parametrize(("axes", "signs"), ALL_48[::5])
def test_boxes_go_to_the_files_voxels_and_back(
    tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    volume = read_volume(write_nifti(tmp_path / "a.nii", affine_lps=grid_affine(axes, signs)))
    lower, upper = (1, 0, 2), (2, 2, 3)
    inside = np.zeros(volume.data.shape, bool)
    inside[1:3, 0:3, 2:4] = True
    ijk = np.argwhere(volume.to_source(inside))
    expected = tuple(ijk.min(axis=0).tolist()), tuple(ijk.max(axis=0).tolist())
    assert volume.box_to_source(lower, upper) == expected
    assert volume.box_from_source(*expected) == (lower, upper)
    assert volume.box_from_source(*expected[::-1]) == (lower, upper)


@pytest.mark.parametrize("corner", [(4, 0, 0), (0, 0, -1)])
def test_a_box_outside_the_file_is_refused(tmp_path: Path, corner: tuple[int, int, int]) -> None:
    volume = read_volume(write_nifti(tmp_path / "a.nii"))
    with pytest.raises(PromptError, match=r"run from \(0, 0, 0\) to \(3, 4, 5\)"):
        volume.box_from_source((0, 0, 0), corner)


def test_the_phantom_is_the_ellipsoid_it_was_made_as(phantom: Any) -> None:
    volume = phantom.volume
    assert volume.spacing == pytest.approx([3, 0.7, 0.5])
    inside = volume.data == 40
    np.testing.assert_array_equal(inside, phantom.reference)
    millilitres = inside.sum() * np.prod(volume.spacing) / 1000
    assert millilitres == pytest.approx(phantom.millilitres, rel=0.01)
    centre = world(volume.affine, np.argwhere(inside).mean(axis=0))
    np.testing.assert_allclose(centre, phantom.centre, atol=0.01)
    assert (volume.modality, volume.modality_source) == ("CT", "assumed")
    assert any("tilted by 1" in warning for warning in volume.warnings)


def test_slices_their_pixels_and_their_number(phantom: Any) -> None:
    volume: Volume = phantom.volume
    for axis, pixels in enumerate([(0.7, 0.5), (3, 0.5), (3, 0.7)]):
        np.testing.assert_array_equal(volume.slice(axis, 5), volume.data.take(5, axis))
        assert np.shares_memory(volume.slice(axis, 5), volume.data)
        assert volume.pixel_size(axis) == pytest.approx(pixels)
        assert volume.slice_count(axis) == volume.data.shape[axis]
    with pytest.raises(ValueError, match="read-only"):
        volume.data[0, 0, 0] = 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, ">i2"])
def test_unscaled_voxels_keep_their_number_type(tmp_path: Path, dtype: Any) -> None:
    header = nib.Nifti1Header(endianness=">" if dtype == ">i2" else "<")
    image = nib.Nifti1Image(COUNTING.astype(dtype), np.eye(4), header, dtype=dtype)
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.data.dtype == np.dtype(dtype).newbyteorder("=")
    assert volume.data.dtype.isnative


def test_scaled_voxels_are_rescaled(tmp_path: Path) -> None:
    image = nib.Nifti1Image(COUNTING, np.eye(4))
    image.header.set_slope_inter(0.5, -1024)
    image.header.set_data_dtype(np.int16)
    with (tmp_path / "a.nii").open("wb") as file:
        header = image.header
        header["vox_offset"] = 352
        file.write(header.binaryblock + bytes(4) + COUNTING.tobytes(order="F"))
    volume = read_volume(tmp_path / "a.nii")
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.to_source(volume.data), COUNTING * 0.5 - 1024)


def test_nan_and_infinity_are_read_as_the_lowest_value_and_told(tmp_path: Path) -> None:
    data = COUNTING.astype(np.float32) - 7
    data[0, 0, :3] = [np.nan, np.inf, -np.inf]
    volume = read_volume(write_nifti(tmp_path / "a.nii", data))
    expected = np.where(np.isfinite(data), data, -4)
    np.testing.assert_array_equal(volume.to_source(volume.data), expected)
    assert any(warning.startswith("3 voxels were NaN or Inf") for warning in volume.warnings)


def test_no_orientation_codes_mean_unknown_sides(tmp_path: Path) -> None:
    volume = read_volume(write_nifti(tmp_path / "a.nii", codes=(0, 0)))
    assert any("left and right are unknown" in warning for warning in volume.warnings)
    expected = RAS @ nib.load(tmp_path / "a.nii").affine
    here = world(volume.affine, index_of(volume.data, 37))
    np.testing.assert_allclose(here, world(expected, index_of(COUNTING, 37)))
    assert read_volume(write_nifti(tmp_path / "b.nii")).warnings == ()


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("micron", 0.001), ("mm", 1)])
def test_the_files_unit_is_turned_into_millimetres(
    tmp_path: Path, unit: str, factor: float
) -> None:
    image = nib.Nifti1Image(COUNTING, np.diag([2.0, 2, 4, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    spacing = read_volume(tmp_path / "a.nii").spacing
    np.testing.assert_allclose(spacing, np.array([4, 2, 2]) * factor, rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 6, 1), (4, 5, 6, 1, 1)])
def test_flat_images_and_trailing_axes_of_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    volume = read_volume(write_nifti(tmp_path / "a.nii", data))
    assert volume.data.shape == (1 if len(shape) == 2 else shape[2], 5, 4)
    np.testing.assert_array_equal(volume.to_source(volume.data), data)


def test_colour_nifti(tmp_path: Path) -> None:
    rgb = np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3)
    packed = rgb.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    volume = read_volume(write_nifti(tmp_path / "a.nii", packed))
    assert volume.data.dtype == np.uint8
    np.testing.assert_array_equal(volume.to_source(volume.data), rgb)
    assert (volume.modality, volume.windowed) == ("other", True)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("scaled", [False, True])
def test_one_volume_of_a_time_series(tmp_path: Path, suffix: str, scaled: bool) -> None:
    series = np.stack([COUNTING + 100 * n for n in range(6)], -1).reshape(*COUNTING.shape, 3, 2)
    image = nib.Nifti1Image(series, grid_affine((2, 0, 1), (1, -1, 1)))
    if scaled:
        image.header.set_slope_inter(2, 1)
    nib.save(image, tmp_path / f"a{suffix}")
    with pytest.raises(ChoiceError, match="holds 6 volumes") as error:
        read_volume(tmp_path / f"a{suffix}")
    assert list(error.value.choices) == ["1", "2", "3", "4", "5", "6"]
    for number in (1, 2, 6):
        volume = read_volume(tmp_path / f"a{suffix}", volume=number)
        # The first of the further axes runs fastest, as in the file.
        expected = series[..., (number - 1) % 3, (number - 1) // 3]
        expected = expected * 2 + 1 if scaled else expected
        np.testing.assert_array_equal(volume.to_source(volume.data), expected)
        assert volume.name == f"a [{number} of 6]"
    label = (volume.data > volume.data.mean()).astype(np.uint8)
    write_label(tmp_path / "label.nii.gz", label, volume)
    saved = nib.load(tmp_path / "label.nii.gz")
    assert saved.shape == COUNTING.shape
    np.testing.assert_allclose(saved.affine, image.affine, atol=1e-4)
    with pytest.raises(VolumeError, match="no number 7"):
        read_volume(tmp_path / f"a{suffix}", volume=7)


def test_two_places_that_differ_are_told(tmp_path: Path) -> None:
    image = nib.Nifti1Image(COUNTING, np.diag([2.0, 2, 4, 1]))
    image.set_sform(np.diag([2.0, 2, 4, 1]), 1)
    moved = np.diag([2.0, 2, 4, 1])
    moved[:3, 3] = [0, 0, 5]
    image.set_qform(moved, 1)
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    (warning,) = volume.warnings
    assert "up to 5 of its units apart" in warning
    assert "mirror" not in warning
    # The sform counts.
    np.testing.assert_allclose(volume.affine[:3, 3] * [1, 1, 0], volume.affine[:3, 3])
    image.set_qform(np.diag([-2.0, 2, 4, 1]), 1)
    nib.save(image, tmp_path / "b.nii")
    assert any("check left and right" in w for w in read_volume(tmp_path / "b.nii").warnings)


def test_a_sheared_sform_is_refused_though_the_qform_is_not(tmp_path: Path) -> None:
    image = nib.Nifti1Image(COUNTING, np.eye(4))
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    image.set_qform(np.eye(4), 1)
    image.set_sform(sheared, 1)
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(VolumeError, match="not at right angles"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("kind", [nib.AnalyzeImage, nib.Nifti1Pair])
def test_a_pair_of_files_is_opened_by_either_and_never_cut(tmp_path: Path, kind: Any) -> None:
    nib.save(kind(COUNTING, np.diag([2.0, 2, 4, 1])), tmp_path / "a.img")
    for name in ("a.img", "a.hdr"):
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.to_source(volume.data), COUNTING)
        assert sorted(volume.spacing) == pytest.approx([2, 2, 4])
        assert volume.orientation_known == (kind is nib.Nifti1Pair)
    (tmp_path / "a.img").write_bytes((tmp_path / "a.img").read_bytes()[:-8])
    with pytest.raises(VolumeError, match=r"a\.hdr: .*announces"):
        read_volume(tmp_path / "a.hdr")


def test_a_file_packed_in_parts_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the file says the length of its last part alone."""
    monkeypatch.setattr(_nifti, "_UNPACKED_UNCHECKED", 0)
    content = nib.Nifti1Image(COUNTING, np.eye(4)).to_bytes()
    parts = (gzip.compress(part) for part in (content[:400], content[400:]))
    (tmp_path / "a.nii.gz").write_bytes(b"".join(parts))
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.to_source(volume.data), COUNTING)


def test_a_packed_header_that_claims_too_much_takes_no_memory(tmp_path: Path) -> None:
    content = bytearray(nib.Nifti1Image(COUNTING, np.eye(4)).to_bytes())
    content[42:48] = np.array([600, 600, 600], "<i2").tobytes()
    noise = np.random.default_rng(0).integers(0, 256, 600_000, np.uint8).tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(content) + noise))
    with pytest.raises(VolumeError, match="announces 432,000,352 bytes"):
        read_volume(tmp_path / "a.nii.gz")
