"""What an image leaves open, or says wrongly, of where it lies; and that its label says no more."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import nifti_oracle
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from grids import grid_affine
from sources import COUNTING, RAS, index_of, label_at, world, write_nifti

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.labels import bring_onto, read_label, read_label_file
from napari_medsamq.io.volume import Volume, read_volume, volume_from_slices

UNKNOWN = "left and right are unknown"
PLACED = "space directions: (0.5,0,0) (0,0.7,0) (0,0,3)\nspace origin: (10,20,30)\n"
TILTED = grid_affine((0, 1, 2), (1, 1, 1), (12, -7, 30))
GOOD = grid_affine((0, 1, 2), (-1, 1, 1), sizes=(0.5, 0.75, 3.0))


def nrrd_file(path: Path, fields: str) -> Path:
    """Write an NRRD of COUNTING (z, y, x), with what its header says of the place."""
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nencoding: raw\nendian: little\n"
    path.write_bytes(f"{head}{fields}\n".encode() + COUNTING.astype("<i2").tobytes())
    return path


def meta_file(path: Path, fields: str) -> Path:
    head = f"NDims = 3\nDimSize = 6 5 4\n{fields}ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    path.write_bytes(head.encode() + COUNTING.astype("<i2").tobytes())
    return path


def nifti_file(
    path: Path, *patches: tuple[int, str, tuple[float, ...]], codes: tuple = (1, 1)
) -> Path:
    """Write a NIfTI at GOOD, and change numbers of its header: offset, layout, values."""
    write_nifti(path, affine_lps=GOOD, codes=codes)
    content = bytearray(path.read_bytes())
    for offset, layout, values in patches:
        struct.pack_into(layout, content, offset, *values)
    path.write_bytes(content)
    return path


def sides_are_unknown(volume: Volume) -> bool:
    told = any(UNKNOWN in warning for warning in volume.warnings)
    assert told == (not volume.orientation_known)
    return told


# -- spaces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "known"),
    [
        *((name, True) for name in ("LPS", "RAST", "left-anterior-superior-time", "las")),
        *((name, False) for name in ("3D-right-handed", "3D-left-handed-time", "scanner-xyz")),
        *((name, False) for name in ("scanner-xyz-time", "left-posterior", "nonsense")),
    ],
)
def test_only_spaces_of_the_patient_tell_left_from_right(
    tmp_path: Path, space: str, known: bool
) -> None:
    volume = read_volume(nrrd_file(tmp_path / "a.nrrd", f"space: {space}\n{PLACED}"))
    assert sides_are_unknown(volume) is not known
    assert volume.spacing == pytest.approx([3, 0.7, 0.5])


@pytest.mark.parametrize("fields", ["", "spacings: 0.5 0.7 3\n", f"space dimension: 3\n{PLACED}"])
def test_nor_do_files_without_a_space(tmp_path: Path, fields: str) -> None:
    assert sides_are_unknown(read_volume(nrrd_file(tmp_path / "a.nrrd", fields)))
    assert sides_are_unknown(
        read_volume(meta_file(tmp_path / "a.mha", "ElementSpacing = 0.5 0.7 3\n"))
    )


MATRIX = "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"


@pytest.mark.parametrize(
    ("make", "fields", "spacing"),
    [
        (nrrd_file, 'space: LPS\nspace units: "m" "m" "m"\n' + PLACED, (3000, 700, 500)),
        (nrrd_file, 'space: LPS\nspace units: "cm" "cm" "cm"\n' + PLACED, (30, 7, 5)),
        (nrrd_file, 'space: RAS\nspace units: "um" "um" "um"\n' + PLACED, (3e-3, 7e-4, 5e-4)),
        (nrrd_file, 'space: RAS\nspace units: "µm" "µm" "µm"\n' + PLACED, (3e-3, 7e-4, 5e-4)),
        (nrrd_file, 'space: RAS\nspace units: "mm" "mm" "mm"\n' + PLACED, (3, 0.7, 0.5)),
        (nrrd_file, 'spacings: 0.5 0.7 3\nunits: "cm" "cm" "cm"\n', (30, 7, 5)),
        (
            meta_file,
            MATRIX + "ElementSpacing = 0.5 0.7 3\nDistanceUnits = um\n",
            (3e-3, 7e-4, 5e-4),
        ),
        (meta_file, MATRIX + "ElementSpacing = 0.5 0.7 3\nDistanceUnits = cm\n", (30, 7, 5)),
        (meta_file, MATRIX + "ElementSpacing = 0.5 0.7 3\nDistanceUnits = ?\n", (3, 0.7, 0.5)),
    ],
)
def test_the_unit_of_a_header_is_turned_into_millimetres_and_told(
    tmp_path: Path, make: Callable[[Path, str], Path], fields: str, spacing: tuple[float, ...]
) -> None:
    volume = read_volume(make(tmp_path / ("a.mha" if make is meta_file else "a.nrrd"), fields))
    np.testing.assert_allclose(volume.spacing, spacing)
    told = any("The header measures in" in warning for warning in volume.warnings)
    assert told == (spacing != (3, 0.7, 0.5))


def test_a_unit_that_nobody_knows_is_told(tmp_path: Path) -> None:
    fields = f'space: LPS\nspace units: "furlong" "furlong" "furlong"\n{PLACED}'
    volume = read_volume(nrrd_file(tmp_path / "a.nrrd", fields))
    assert any("'furlong': mm are assumed" in warning for warning in volume.warnings)
    assert volume.spacing == pytest.approx([3, 0.7, 0.5])


# -- sizes of voxels ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "fields", "spacing"),
    [
        (nrrd_file, "", (1, 1, 1)),
        (nrrd_file, "spacings: 0.5 0.7 nan\n", (1, 0.7, 0.5)),
        (meta_file, MATRIX, (1, 1, 1)),
        (meta_file, MATRIX + "ElementSpacing = 0.5 0 3\n", (3, 1, 0.5)),
    ],
)
def test_a_size_that_is_not_said_is_told(
    tmp_path: Path, make: Callable[[Path, str], Path], fields: str, spacing: tuple[float, ...]
) -> None:
    volume = read_volume(make(tmp_path / ("a.mha" if make is meta_file else "a.nrrd"), fields))
    assert volume.spacing == pytest.approx(spacing)
    assert any("1 mm is assumed" in warning for warning in volume.warnings)


@pytest.mark.parametrize(
    ("value", "size", "words"), [(0.0, 1.0, "1 mm is assumed"), (-0.75, 0.75, "without the sign")]
)
@pytest.mark.parametrize("codes", [(1, 0), (0, 0)])
def test_a_nifti_size_that_cannot_be(
    tmp_path: Path, value: float, size: float, words: str, codes: tuple[int, int]
) -> None:
    volume = read_volume(nifti_file(tmp_path / "a.nii", (84, "<f", (value,)), codes=codes))
    assert sorted(volume.spacing) == pytest.approx(sorted([0.5, size, 3.0]))
    assert any(words in warning for warning in volume.warnings)


@pytest.mark.parametrize(
    ("offset", "value", "codes"),
    [(84, 0, (0, 1)), (92, -2, (1, 0))],
    ids=["sform", "no fourth axis"],
)
def test_a_size_that_is_not_used_is_not_told(
    tmp_path: Path, offset: int, value: float, codes: tuple[int, int]
) -> None:
    volume = read_volume(nifti_file(tmp_path / "a.nii", (offset, "<f", (value,)), codes=codes))
    assert volume.spacing == pytest.approx([3, 0.75, 0.5])
    assert volume.warnings == ()


@pytest.mark.parametrize("factor", [-1.0, -0.8])
def test_only_the_sign_of_the_handedness_counts(tmp_path: Path, factor: float) -> None:
    path = nifti_file(tmp_path / "a.nii", (76, "<f", (factor,)), codes=(1, 0))
    volume, itk = read_volume(path), sitk.ReadImage(str(path))
    here = world(volume.affine, index_of(volume.data, 37))
    there = itk.TransformIndexToPhysicalPoint(index_of(COUNTING, 37).tolist())
    np.testing.assert_allclose(here, there, atol=1e-4)


# -- two places, one of which cannot be -----------------------------------------------------------

NAN = float("nan")
IN_ONE_PLANE = (1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0)


@pytest.mark.parametrize("rows", [(0,) * 12, (NAN,) * 12, IN_ONE_PLANE, (1, 0, 0, 0) + (0,) * 8])
def test_rows_that_place_nothing_give_way_to_the_quaternion(
    tmp_path: Path, rows: tuple[float, ...]
) -> None:
    path = nifti_file(tmp_path / "a.nii", (280, "<12f", rows))
    volume = read_volume(path)
    assert volume.orientation_known
    assert any("its qform is used" in warning for warning in volume.warnings)
    here = world(volume.affine, index_of(volume.data, 37))
    np.testing.assert_allclose(here, world(GOOD, index_of(COUNTING, 37)), atol=1e-4)
    write_label(tmp_path / "label.nii", label_at(volume, (1, 2, 3)), volume)
    saved = nifti_oracle.parse(tmp_path / "label.nii")
    assert (saved.qform_code, saved.sform_code) == (1, 0)
    np.testing.assert_allclose(saved.lps, GOOD, atol=1e-4)


def test_rows_of_a_flat_image_need_no_third_axis(tmp_path: Path) -> None:
    """They go before a quaternion that says something else, if they place its pixels."""
    path = write_nifti(tmp_path / "a.nii", COUNTING[..., 0], GOOD, codes=(1, 1))
    content, rows = bytearray(path.read_bytes()), np.diag([-2.0, 3, 0, 0])[:3]
    struct.pack_into("<12f", content, 280, *rows.ravel())
    path.write_bytes(content)
    assert read_volume(path).spacing[1:] == pytest.approx([3, 2])
    struct.pack_into("<12f", content, 280, *rows[[0, 0, 2]].ravel())
    path.write_bytes(content)
    volume = read_volume(path)
    assert volume.spacing[1:] == pytest.approx([0.75, 0.5])
    assert any("its qform is used" in warning for warning in volume.warnings)


@pytest.mark.parametrize("code", [0, 1])
def test_rows_that_place_nothing_are_refused_where_nothing_else_does(
    tmp_path: Path, code: int
) -> None:
    broken = ((280, "<12f", (0,) * 12), (256, "<f", (NAN,)))
    with pytest.raises(VolumeError, match="does not place the voxels"):
        read_volume(nifti_file(tmp_path / "a.nii", *broken, codes=(code, 1)))


@pytest.mark.parametrize(("value", "told"), [(1.0002, False), (1.5, True)])
def test_a_quaternion_that_is_too_long_is_brought_to_length_1(
    tmp_path: Path, value: float, told: bool
) -> None:
    path = nifti_file(tmp_path / "a.nii", (256, "<3f", (0, 0, value)), codes=(1, 0))
    volume, itk = read_volume(path), sitk.ReadImage(str(path))
    here = world(volume.affine, index_of(volume.data, 37))
    there = itk.TransformIndexToPhysicalPoint(index_of(COUNTING, 37).tolist())
    np.testing.assert_allclose(here, there, atol=1e-3)
    assert (
        any("no rotation" in warning or "is none" in warning for warning in volume.warnings) == told
    )


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_quaternion_of_no_numbers_gives_way_to_the_rows(tmp_path: Path, value: float) -> None:
    volume = read_volume(nifti_file(tmp_path / "a.nii", (260, "<f", (value,))))
    assert any("only its sform is used" in warning for warning in volume.warnings)
    np.testing.assert_allclose(np.sort(volume.spacing), [0.5, 0.75, 3])
    write_label(tmp_path / "label.nii", label_at(volume, (1, 2, 3)), volume)
    assert nifti_oracle.parse(tmp_path / "label.nii").qform_code == 0


@pytest.mark.parametrize("count", [4, 5])
def test_axes_of_no_length_beyond_the_third_are_of_length_1(tmp_path: Path, count: int) -> None:
    path = nifti_file(tmp_path / "a.nii", (40, "<h", (count,)), (48, "<4h", (0, 0, 0, 0)))
    volume = read_volume(path)
    write_label(tmp_path / "label.nii", label_at(volume, (1, 2, 3)), volume)
    assert nifti_oracle.parse(tmp_path / "label.nii").data.squeeze().shape == COUNTING.shape


# -- labels say no more than their images ---------------------------------------------------------


def code_less(folder: Path) -> Path:
    return write_nifti(folder / "a.nii", affine_lps=GOOD, codes=(0, 0))


def analyze(folder: Path) -> Path:
    nib.save(nib.AnalyzeImage(COUNTING, np.diag([0.5, 0.7, 3, 1])), folder / "a.img")
    return folder / "a.img"


def spaceless(folder: Path) -> Path:
    return nrrd_file(folder / "a.nrrd", "spacings: 0.5 0.7 3\n")


def scanner(folder: Path) -> Path:
    vectors = " ".join(f"({x},{y},{z})" for x, y, z in TILTED[:3, :3].T)
    return nrrd_file(folder / "a.nrrd", f"space: scanner-xyz\nspace directions: {vectors}\n")


def no_matrix(folder: Path) -> Path:
    return meta_file(folder / "a.mha", "ElementSpacing = 0.5 0.7 3\nOffset = 1 2 3\n")


def picture(folder: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(COUNTING[0].astype(np.uint8)), str(folder / "a.png"))
    return folder / "a.png"


def case(folder: Path) -> Path:
    spacing = np.array([0.5, 0.7, 3.0])
    np.savez(folder / "a.npz", imgs=COUNTING.astype(np.uint8), spacing=spacing)
    return folder / "a.npz"


LEFT_OPEN = [code_less, analyze, spaceless, scanner, no_matrix, picture, case]


@pytest.mark.parametrize("make", LEFT_OPEN)
@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd"])
def test_the_label_of_an_image_without_sides_has_none(
    tmp_path: Path, make: Callable[[Path], Path], ending: str
) -> None:
    volume = read_volume(make(tmp_path))
    assert not volume.orientation_known
    place = tuple(size - 1 for size in volume.data.shape)
    drawn = label_at(volume, (0, 1, 2), place)
    path = tmp_path / f"label{ending}"
    write_label(path, drawn, volume)
    if ending == ".nii.gz":
        header = nib.load(path).header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
    else:
        assert "space" not in nrrd.read_header(str(path))
    assert not read_volume(path).orientation_known
    found = read_label(path, volume)
    np.testing.assert_array_equal(found.label, drawn)
    assert found.notes == ()
    np.testing.assert_array_equal(bring_onto(read_label_file(path), volume).label, drawn)


@pytest.mark.parametrize("make", LEFT_OPEN[:6])
def test_slicer_finds_a_label_where_it_finds_such_an_image(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    volume = read_volume(path)
    write_label(tmp_path / "label.seg.nrrd", (volume.data > 7).astype(np.uint8), volume)
    image, label = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "label.seg.nrrd"))
    last = [size - 1 for size in image.GetSize()]
    for index in ([0] * len(last), last):
        there = label.TransformIndexToPhysicalPoint([*index, 0][:3])
        here = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(there[: len(last)], here, atol=1e-4)


def test_labels_without_sides_of_one_image_are_compared_voxel_by_voxel(tmp_path: Path) -> None:
    volume = volume_from_slices(COUNTING, (3, 0.7, 0.5), "layer")
    drawn = label_at(volume, (0, 1, 2), (3, 4, 5))
    for ending in (".nii.gz", ".seg.nrrd"):
        write_label(tmp_path / f"label{ending}", drawn, volume)
    one, two = (read_label_file(tmp_path / f"label{end}") for end in (".nii.gz", ".seg.nrrd"))
    moved = bring_onto(two, one.volume)
    np.testing.assert_array_equal(moved.label, one.label)
    assert moved.said == ""


def test_but_not_where_their_voxels_differ(tmp_path: Path) -> None:
    volume = volume_from_slices(COUNTING, (3, 0.7, 0.5), "layer")
    finer = volume_from_slices(COUNTING, (3, 0.7, 0.4), "layer")
    write_label(tmp_path / "label.nii.gz", label_at(volume, (0, 1, 2)), volume)
    with pytest.raises(VolumeError, match="does not say how the patient lies"):
        read_label(tmp_path / "label.nii.gz", finer)
    known = read_volume(write_nifti(tmp_path / "a.nii", affine_lps=GOOD))
    with pytest.raises(VolumeError, match="does not say how the patient lies"):
        read_label(tmp_path / "label.nii.gz", known)


# -- FreeSurfer, pairs and other programs' formats ------------------------------------------------


@pytest.mark.parametrize("suffix", [".mgz", ".mgh", ".mgh.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_images_of_freesurfer(tmp_path: Path, suffix: str, dtype: type) -> None:
    affine = RAS @ grid_affine((0, 2, 1), (-1, 1, -1), (5, -3, 8))
    image = nib.MGHImage(COUNTING.astype(dtype), affine)
    nib.save(image, tmp_path / "whole.mgh")
    content = (tmp_path / "whole.mgh").read_bytes()
    packed = suffix != ".mgh"
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(content) if packed else content)
    volume = read_volume(path)
    assert volume.data.dtype == dtype
    assert volume.orientation_known
    here = world(volume.affine, index_of(volume.data, 37))
    np.testing.assert_allclose(here, world(RAS @ image.affine, index_of(COUNTING, 37)), atol=1e-3)
    write_label(tmp_path / "label.nii.gz", label_at(volume, (1, 2, 3)), volume)
    saved = nib.load(tmp_path / "label.nii.gz")
    np.testing.assert_allclose(saved.affine, image.affine, atol=1e-3)
    assert COUNTING[np.asarray(saved.dataobj) == 1] == volume.data[1, 2, 3]
    back = read_label(tmp_path / "label.nii.gz", volume)
    np.testing.assert_array_equal(back.label, label_at(volume, (1, 2, 3)))


def test_a_label_of_freesurfer_comes_onto_its_image(tmp_path: Path) -> None:
    volume = read_volume(write_nifti(tmp_path / "a.nii", affine_lps=GOOD))
    nib.save(nib.MGHImage((COUNTING % 3).astype(np.int32), RAS @ GOOD), tmp_path / "aseg.mgz")
    found = read_label(tmp_path / "aseg.mgz", volume)
    np.testing.assert_array_equal(volume.to_source(found.label), COUNTING % 3)


def test_freesurfer_may_leave_the_sides_open(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(COUNTING, np.eye(4)), tmp_path / "a.mgh")
    content = bytearray((tmp_path / "a.mgh").read_bytes())
    content[28:30] = bytes(2)
    (tmp_path / "a.mgh").write_bytes(content)
    assert sides_are_unknown(read_volume(tmp_path / "a.mgh"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-400], "announces|cannot be read as MGH"),
        (lambda b: b[:60], "cannot be read as MGH"),
        (lambda b: b[:4] + struct.pack(">3i", 30000, 30000, 30000) + b[16:], "announces"),
        (lambda b: b[:4] + struct.pack(">i", -4) + b[8:], "no voxels|cannot be read as MGH"),
        (lambda b: b[:20] + struct.pack(">i", 7) + b[24:], "cannot be read as MGH"),
        (lambda b: b"hello " * 100, "cannot be read as MGH"),
    ],
)
def test_a_damaged_file_of_freesurfer(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    nib.save(nib.MGHImage(COUNTING.astype(np.int32), np.eye(4)), tmp_path / "a.mgh")
    content = change((tmp_path / "a.mgh").read_bytes())
    for name, packed in (("a.mgh", content), ("a.mgz", gzip.compress(content))):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(VolumeError, match=message) as error:
            read_volume(tmp_path / name)
        assert name in str(error.value)


@pytest.mark.parametrize("ends", [(".hdr.gz", ".img.gz"), (".hdr", ".img.gz"), (".hdr.gz", ".img")])
def test_pairs_packed_by_gzip(tmp_path: Path, ends: tuple[str, str]) -> None:
    nib.save(nib.Nifti1Pair(COUNTING, RAS @ GOOD), tmp_path / "whole.img")
    for end in ends:
        content = (tmp_path / f"whole{end[:4]}").read_bytes()
        packed = gzip.compress(content) if end.endswith(".gz") else content
        (tmp_path / f"a{end}").write_bytes(packed)
    for end in ends:
        volume = read_volume(tmp_path / f"a{end}")
        assert volume.name == "a"
        np.testing.assert_array_equal(volume.to_source(volume.data), COUNTING)
        np.testing.assert_allclose(volume.source.affine, GOOD, atol=1e-5)
    write_label(tmp_path / "label.nii.gz", label_at(volume, (1, 2, 3)), volume)
    np.testing.assert_allclose(RAS @ nib.load(tmp_path / "label.nii.gz").affine, GOOD, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        *(("a.mnc", "mnc2nii"), ("a.PAR", "dcm2niix"), ("a.rec", "dcm2niix")),
        *(("a.BRIK.gz", "3dAFNItoNIFTI"), ("a.mif", "mrconvert"), ("a.cor", "mri_convert")),
        *(("a.nii.zst", "Unpack"), ("scans.zip", "Unpack")),
    ],
)
def test_other_formats_are_named_with_what_converts_them(
    tmp_path: Path, name: str, cure: str
) -> None:
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    with pytest.raises(VolumeError, match=f"(?s)is not one of NIfTI.*{cure}"):
        read_volume(tmp_path / name)
