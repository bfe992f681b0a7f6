"""Labels as 3D Slicer and DICOM keep them: where they lie and what they are called."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import FRAME_OF_REFERENCE, write_series
from grids import ALL_48, grid_affine
from skimage.draw import polygon2mask
from sources import names_in, volume_of, write_nifti

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.errors import SaveError
from napari_medsamq.io import seg_nrrd as _seg_nrrd
from napari_medsamq.io.dicom import rtstruct as _rtstruct
from napari_medsamq.io.dicom import seg as _dicom_seg
from napari_medsamq.io.dicom.contours import outlines
from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.label_writer import label_formats, write_label
from napari_medsamq.io.labels import read_label
from napari_medsamq.io.terminology import ORGANS, concept
from napari_medsamq.io.volume import Volume, read_volume
from napari_medsamq.records.provenance import LabelSnapshot, save_with_provenance
from napari_medsamq.records.report import make_report, report_path, write_report

pytestmark = pytest.mark.usefixtures("same_process")

RIGHT_HANDED = [
    (axes, signs) for axes, signs in ALL_48 if np.linalg.det(grid_affine(axes, signs)[:3, :3]) > 0
]
TILT = (20, -15, 25)
SEGMENTS = {3: Segment("Left kidney", "#E69F00"), 7: Segment("Größe \\neu", "#0072b2")}
ENDINGS = (".seg.nrrd", ".dcm", ".rtstruct.dcm")


def structures(volume: Volume) -> np.ndarray:
    """Label a tube (3), which every axial slice shows with a hole, and a ball beside it (7)."""
    z, y, x = np.indices(volume.data.shape)
    spacing = volume.spacing / volume.spacing.min()
    middle = (np.array(volume.data.shape) - 1) / 2
    across = np.hypot((y - middle[1]) * spacing[1], (x - middle[2]) * spacing[2])
    size = min(volume.data.shape[1] * spacing[1], volume.data.shape[2] * spacing[2])
    label = np.zeros(volume.data.shape, np.uint16)
    label[(across < size * 0.42) & (across > size * 0.2) & (z > 0)] = 3
    label[(across < size * 0.12) & (z > 1)] = 7
    return label


@pytest.fixture
def series(tmp_path: Path) -> Volume:
    """A tilted CT of 12 slices."""
    voxels = np.arange(40 * 36 * 12).reshape(40, 36, 12).astype(np.int16)
    affine = grid_affine((0, 1, 2), (1, 1, 1), (8, -5, 12), (0.8, 0.9, 2.5))
    return read_volume(write_series(tmp_path / "series", voxels, affine))


def worlds(affine: np.ndarray, ijk: np.ndarray) -> np.ndarray:
    return ijk @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize("degrees", [(0, 0, 0), TILT])
@pytest.mark.parametrize(("axes", "signs"), ALL_48)
def test_slicer_finds_a_label_where_it_was_drawn(
    tmp_path: Path,
    axes: tuple[int, ...],
    signs: tuple[int, ...],
    degrees: tuple[float, float, float],
) -> None:
    affine = grid_affine(axes, signs, degrees)
    volume = read_volume(write_nifti(tmp_path / "a.nii", affine_lps=affine))
    label = (volume.data > 60).astype(np.uint16) * 300
    path = tmp_path / "a.seg.nrrd"
    write_label(path, label, volume)
    voxels, header = nrrd.read(str(path))
    np.testing.assert_array_equal(voxels, volume.to_source(label))
    assert header["space"] == "left-posterior-superior"
    itk = sitk.ReadImage(str(path))
    for ijk in np.argwhere(voxels):
        expected = worlds(affine, ijk)
        by_nrrd = header["space origin"] + ijk @ header["space directions"]
        np.testing.assert_allclose(by_nrrd, expected, atol=1e-3)
        by_itk = itk.TransformIndexToPhysicalPoint(ijk.tolist())
        np.testing.assert_allclose(by_itk, expected, atol=1e-3)
    back = read_label(path, volume)
    np.testing.assert_array_equal(back.label, label)
    assert (back.notes, back.segments) == ((), {300: Segment.default(300)})


def test_slicer_finds_names_colours_extents_and_terms(tmp_path: Path) -> None:
    volume = volume_of(tmp_path / "a.nii")
    label = np.zeros(volume.data.shape, np.uint8)
    label[1:3, 2, 3:5], label[5, 4, 0] = 3, 7
    write_label(tmp_path / "a.seg.nrrd", label, volume, SEGMENTS)
    _, header = nrrd.read(str(tmp_path / "a.seg.nrrd"))
    assert header["type"] == "unsigned char"
    assert [header[f"Segment{n}_LabelValue"] for n in (0, 1)] == ["3", "7"]
    assert [header[f"Segment{n}_Layer"] for n in (0, 1)] == ["0", "0"]
    assert header["Segment0_Name"] == "Left kidney"
    color = [float(part) for part in header["Segment0_Color"].split()]
    np.testing.assert_allclose(color, np.array([0xE6, 0x9F, 0]) / 255, atol=1e-9)
    low, high = np.argwhere(volume.to_source(label) == 3)[[0, -1]]
    assert [int(part) for part in header["Segment0_Extent"].split()] == [
        int(end) for ends in zip(low, high, strict=True) for end in ends
    ]
    assert "SCT^64033007^Kidney~SCT^7771000^Left~" in header["Segment0_Tags"]
    assert header["Segmentation_SourceRepresentation"] == "Binary labelmap"
    assert header["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    assert header["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    back = read_label(tmp_path / "a.seg.nrrd", volume)
    assert back.segments == {3: SEGMENTS[3], 7: Segment("Größe \\neu", "#0072B2")}


def test_a_name_of_several_lines_breaks_no_header(tmp_path: Path) -> None:
    volume = volume_of(tmp_path / "a.nii")
    label = np.ones(volume.data.shape, np.uint8)
    path = tmp_path / "a.seg.nrrd"
    write_label(path, label, volume, {1: Segment("a\nSegment0_Color:=0 0 0\n\n", "#ffffff")})
    assert read_label(path, volume).segments[1] == Segment("a Segment0_Color:=0 0 0", "#FFFFFF")
    write_label(path, label, volume, {1: Segment(" ", "#ffffff")})
    assert read_label(path, volume).segments[1].name == "Label 1"


@pytest.mark.parametrize("ending", [".nii.gz", *ENDINGS])
def test_names_of_any_characters_are_saved(series: Volume, ending: str) -> None:
    """NUL and other controls, line ends of all kinds, halves of characters: none can be kept."""
    assert series.path is not None
    label, path = structures(series), series.path.parent / f"a{ending}"
    odd = "A\0B\x1b[31m\x85C\u2028D\ud800\r\n\tE\x7f"
    styles = {3: LabelStyle(odd, "#102030"), 7: LabelStyle("\0\n", "#405060")}
    saved = save_with_provenance(path, LabelSnapshot(series, label, (), (), styles))
    assert saved.provenance is not None
    found = read_label(path, series)
    np.testing.assert_array_equal(found.label, label)
    if ending != ".nii.gz":
        saved.provenance.unlink()
        found = read_label(path, series)
    assert found.segments[3].name == "A B [31m C D E"
    assert ending == ".nii.gz" or found.segments[7].name == "Label 7"


@pytest.mark.parametrize("ending", [".nii.gz", *ENDINGS])
@pytest.mark.parametrize("letter", ["x", "肝"])
def test_file_names_may_be_as_long_as_the_disk_allows(
    series: Volume, ending: str, letter: str
) -> None:
    assert series.path is not None
    styles = {3: LabelStyle("Liver", "#102030")}
    for length in (234, 241, 255):
        start = letter * ((length - len(ending)) // len(letter.encode()))
        path = series.path.parent / f"{start}{ending}"
        saved = save_with_provenance(
            path, LabelSnapshot(series, structures(series), (), (), styles)
        )
        assert not saved.problem
        assert read_label(path, series).segments[3].name == "Liver"
        write_report(report_path(path), make_report(path))
    # Not taken for each other's, though their names begin alike.
    assert len(list(series.path.parent.glob("*.provenance.json"))) == 3
    assert not list(series.path.parent.glob(".*"))


def test_an_empty_label_can_be_saved_where_the_format_has_it(series: Volume) -> None:
    assert series.path is not None
    nothing, folder = np.zeros(series.data.shape, np.uint8), series.path.parent
    assert write_label(folder / "a.seg.nrrd", nothing, series).counts == {}
    for name in ("a.dcm", "a.rtstruct.dcm"):
        with pytest.raises(SaveError, match="it has no voxels"):
            write_label(folder / name, nothing, series)


@pytest.mark.parametrize("degrees", [(0, 0, 0), TILT])
@pytest.mark.parametrize(("axes", "signs"), RIGHT_HANDED[::9])
def test_a_dicom_segmentation_lies_where_its_series_does(
    tmp_path: Path,
    axes: tuple[int, ...],
    signs: tuple[int, ...],
    degrees: tuple[float, float, float],
) -> None:
    affine = grid_affine(axes, signs, degrees)
    voxels = np.arange(6 * 5 * 4).reshape(6, 5, 4).astype(np.int16)
    volume = read_volume(write_series(tmp_path / "series", voxels, affine))
    label = (volume.data > 10).astype(np.uint8)
    write_label(tmp_path / "a.dcm", label, volume)
    found = highdicom.seg.segread(tmp_path / "a.dcm").get_volume(combine_segments=True)
    here = worlds(np.asarray(found.affine), np.argwhere(found.array))
    ijk = np.rint(worlds(np.linalg.inv(affine), here)).astype(int)
    np.testing.assert_allclose(here, worlds(affine, ijk), atol=1e-3)
    reached = np.zeros(volume.source.grid, bool)
    reached[tuple(ijk.T)] = True
    np.testing.assert_array_equal(reached, volume.to_source(label > 0))
    back = read_label(tmp_path / "a.dcm", volume)
    np.testing.assert_array_equal(back.label, label)
    assert back.notes == ()


def test_a_dicom_segmentation_says_what_it_is_and_of_whom(tmp_path: Path, series: Volume) -> None:
    label = structures(series)
    write_label(tmp_path / "a.dcm", label, series, SEGMENTS)
    seg = highdicom.seg.segread(tmp_path / "a.dcm")
    images = [pydicom.dcmread(path) for path in series.source.files]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID"):
        assert getattr(seg, keyword) == getattr(images[0], keyword)
    assert seg.SeriesInstanceUID != images[0].SeriesInstanceUID
    uids = [image.SOPInstanceUID for image in images]
    by_source = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    expected = np.select([label == 3, label == 7], [1, 2])
    np.testing.assert_array_equal(by_source, series.to_source(expected).transpose(2, 1, 0))
    kidney, other = (seg.get_segment_description(n) for n in (1, 2))
    assert (kidney.segment_label, other.segment_label) == ("Left kidney", "Größe /neu")
    assert kidney.segmented_property_category.value == "91723000"
    assert kidney.segmented_property_type.value == "64033007"
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert other.segmented_property_type.value == "85756007"
    back = read_label(tmp_path / "a.dcm", series)
    np.testing.assert_array_equal(back.label, label)  # the numbers too
    assert back.segments[3].name == "Left kidney"
    np.testing.assert_allclose(back.segments[3].rgb, SEGMENTS[3].rgb, atol=2)


@pytest.mark.parametrize("organ", ORGANS)
def test_codes_are_those_of_the_standard(organ: str) -> None:
    from pydicom.sr._concepts_dict import concepts

    known = {(code, entry[0]) for by in concepts["SCT"].values() for code, entry in by.items()}
    found = concept(organ.upper())
    assert {found.category, found.kind, found.side or found.kind} <= known
    assert found.category[0] != "85756007", "an organ of the list has a code of its own"
    assert (found.side is not None) == organ.startswith(("Left", "Right"))


def filled(path: Path, volume: Volume, roi: int) -> np.ndarray:
    """Fill a structure's contours (i, j, k) by the even-odd rule, with scikit-image."""
    rt = pydicom.dcmread(path)
    found = np.zeros(volume.source.grid, bool)
    (contours,) = [c for c in rt.ROIContourSequence if c.ReferencedROINumber == roi]
    uids = [str(pydicom.dcmread(file).SOPInstanceUID) for file in volume.source.files]
    for contour in contours.ContourSequence:
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
        assert len(points) == contour.NumberOfContourPoints
        ijk = (points - volume.source.affine[:3, 3]) @ np.linalg.inv(volume.source.affine[:3, :3]).T
        k = uids.index(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
        np.testing.assert_allclose(ijk[:, 2], k, atol=1e-3)
        found[..., k] ^= polygon2mask(found.shape[:2], ijk[:, :2])
    return found


def test_a_structure_set_encloses_what_was_drawn(tmp_path: Path, series: Volume) -> None:
    label = structures(series)
    assert min(np.count_nonzero(label == n) for n in SEGMENTS) > 500
    path = tmp_path / "a.rtstruct.dcm"
    write_label(path, label, series, SEGMENTS)
    for roi in SEGMENTS:
        wanted = series.to_source(label == roi)
        found = filled(path, series, roi)
        dsc = 2 * np.count_nonzero(wanted & found) / (wanted.sum() + found.sum())
        assert dsc >= 0.98
    rt = pydicom.dcmread(path)
    assert [str(roi.ROIName) for roi in rt.StructureSetROISequence] == ["Left kidney", "Größe /neu"]
    assert [list(roi.ROIDisplayColor) for roi in rt.ROIContourSequence] == [
        [0xE6, 0x9F, 0],
        [0, 0x72, 0xB2],
    ]
    frame = rt.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == FRAME_OF_REFERENCE
    referenced = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    image = pydicom.dcmread(series.source.files[0])
    assert referenced.SeriesInstanceUID == image.SeriesInstanceUID
    assert len(referenced.ContourImageSequence) == 12
    assert (rt.PatientName, rt.PatientID) == (image.PatientName, "17")


def test_a_contour_may_be_of_more_than_64_kilobytes(tmp_path: Path) -> None:
    comb = np.zeros((30, 1600, 2), np.int16)
    comb[2:-2, 2:-2:2] = comb[2:4, 2:-2] = 100
    volume = read_volume(write_series(tmp_path / "series", comb, np.diag([0.7, 0.7, 3, 1])))
    path = tmp_path / "a.rtstruct.dcm"
    write_label(path, (volume.data > 50).astype(np.uint8), volume)
    (contour, _) = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    assert sum(len(str(value)) + 1 for value in contour.ContourData) > 2**16
    np.testing.assert_array_equal(filled(path, volume, 1), comb > 50)


def test_one_slice_and_frames_of_one_file_are_referred_to(tmp_path: Path, series: Volume) -> None:
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    images = [pydicom.dcmread(path) for path in series.source.files]
    for image in images:
        image.ImageType, image.SeriesNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1
        image.Manufacturer = image.Laterality = image.PositionReferenceIndicator = ""
        image.AcquisitionDate = image.ContentDate = "20260102"
        image.AcquisitionTime = image.ContentTime = "101112"
    frames = LegacyConvertedEnhancedCTImage(
        images[::-1], pydicom.uid.generate_uid(), 1, pydicom.uid.generate_uid(), 1
    )
    frames.save_as(tmp_path / "frames.dcm")
    for image in (tmp_path / "frames.dcm", series.source.files[4]):
        volume = read_volume(image)
        label = structures(series) if volume.data.shape[0] > 1 else structures(series)[4:5]
        write_label(tmp_path / "a.dcm", label, volume)
        write_label(tmp_path / "a.rtstruct.dcm", label, volume)
        back = read_label(tmp_path / "a.dcm", volume)
        np.testing.assert_array_equal(back.label, label)
        assert back.notes == ()
        contour = pydicom.dcmread(tmp_path / "a.rtstruct.dcm").ROIContourSequence[0]
        referenced = contour.ContourSequence[0].ContourImageSequence[0]
        assert ("ReferencedFrameNumber" in referenced) == (volume.data.shape[0] > 1)
    # A segmentation of one slice is one of the whole series too.
    assert read_label(tmp_path / "a.dcm", series).label[4].any()


def test_dicom_needs_a_series(tmp_path: Path, series: Volume) -> None:
    volume = volume_of(tmp_path / "a.nii")
    assert [known.suffixes[0] for known in label_formats(volume)] == [".nii.gz", ".seg.nrrd"]
    assert len(label_formats(series)) == 4
    for name in ("a.dcm", "a.rtstruct.dcm"):
        with pytest.raises(SaveError, match=r"was not read from DICOM\. Choose a name that ends"):
            write_label(tmp_path / name, np.ones(volume.data.shape, np.uint8), volume)
    shutil.rmtree(series.source.files[0].parent)
    with pytest.raises(SaveError, match="cannot be read any more"):
        write_label(tmp_path / "a.dcm", structures(series), series)
    assert names_in(tmp_path) == ["a.nii"]


def test_a_series_that_lacks_a_reference_or_was_changed(tmp_path: Path, series: Volume) -> None:
    before = series.source.files[2].read_bytes()
    for change, message in (
        (lambda image: setattr(image, "Rows", 35), "not those that were opened"),
        (lambda image: image.__delattr__("FrameOfReferenceUID"), "has no FrameOfReferenceUID"),
        (lambda image: image.__delattr__("ImagePositionPatient"), "does not say where"),
    ):
        image = pydicom.dcmread(BytesIO(before))
        change(image)
        image.save_as(series.source.files[2])
        for name in ("a.dcm", "a.rtstruct.dcm"):
            with pytest.raises(SaveError, match=message):
                write_label(tmp_path / name, structures(series), series)
    assert names_in(tmp_path) == ["series"]


def test_a_series_without_preambles_is_referred_to(tmp_path: Path, series: Volume) -> None:
    for path in series.source.files:
        image = pydicom.dcmread(path)
        image.preamble = None
        del image.file_meta
        pydicom.dcmwrite(path, image, implicit_vr=True, little_endian=True, overwrite=True)
        assert path.read_bytes()[128:132] != b"DICM"
    assert series.path is not None
    bare = read_volume(series.path)
    np.testing.assert_array_equal(bare.data, series.data)
    label = structures(bare)
    for name in ("a.dcm", "a.rtstruct.dcm"):
        write_label(tmp_path / name, label, bare, SEGMENTS)
    np.testing.assert_array_equal(read_label(tmp_path / "a.dcm", bare).label, label)
    bare.source.files[2].write_bytes(b"no image")
    with pytest.raises(SaveError, match="cannot be read any more"):
        write_label(tmp_path / "b.dcm", label, bare)


def test_no_slice_of_the_series_is_replaced(series: Volume) -> None:
    before = series.source.files[3].read_bytes()
    with pytest.raises(SaveError, match="is the image that was segmented"):
        write_label(series.source.files[3], structures(series), series)
    assert series.source.files[3].read_bytes() == before


def test_what_lies_beside_a_series_does_not_hide_it(series: Volume) -> None:
    assert series.path is not None
    for name in ("a.dcm", "a.rtstruct.dcm"):
        write_label(series.path / name, structures(series), series)
    again = read_volume(series.path)
    np.testing.assert_array_equal(again.data, series.data)
    assert again.warnings == series.warnings


def failing(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("target", ["files.os.fsync", "label_writer.Path.replace"])
def test_a_failed_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, series: Volume, ending: str, target: str
) -> None:
    path, label = tmp_path / f"a{ending}", structures(series)
    write_label(path, label, series)
    before = path.read_bytes()
    monkeypatch.setattr(f"napari_medsamq.io.{target}", failing)
    with pytest.raises(SaveError, match="the disk is full"):
        write_label(path, label * 2, series)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert names_in(tmp_path) == [path.name, "series"]


@pytest.mark.parametrize(
    ("ending", "module", "name", "wrong"),
    [
        (".seg.nrrd", _seg_nrrd, "_vector", lambda v: "(0.5,0.5,0.5)"),
        (".dcm", _dicom_seg, "long_string", None),
        (".rtstruct.dcm", _rtstruct, "outlines", lambda mask: [np.zeros((3, 2))]),
        (".rtstruct.dcm", _rtstruct, "outlines", lambda mask: outlines(np.roll(mask, 1))),
    ],
)
def test_what_does_not_read_back_as_drawn_is_not_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    series: Volume,
    ending: str,
    module: Any,
    name: str,
    wrong: Callable[..., Any] | None,
) -> None:
    calls: list[str] = []

    def another_each_time(text: str) -> str:
        calls.append(text)
        return f"{text} {len(calls)}"

    monkeypatch.setattr(module, name, wrong or another_each_time)
    with pytest.raises(SaveError, match="what was written"):
        write_label(tmp_path / f"a{ending}", structures(series), series)
    assert names_in(tmp_path) == ["series"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX resource limits")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_disk_that_takes_only_part_of_it(tmp_path: Path, series: Volume, ending: str) -> None:
    import resource

    noise = np.random.default_rng(0).integers(0, 3, series.data.shape).astype(np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(SaveError, match="was not saved: File too large"):
            write_label(tmp_path / f"a{ending}", noise, series)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names_in(tmp_path) == ["series"]


SAVING = """
import os, sys, time
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.volume import read_volume
volume = read_volume(sys.argv[1])
def fsync(descriptor):
    print("now", flush=True)
    time.sleep(60)
os.fsync = fsync
write_label(sys.argv[2], (volume.data > 0).astype("uint8") * 2, volume)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_killed_save_leaves_the_old_file(tmp_path: Path, series: Volume, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    write_label(path, structures(series), series)
    before = path.read_bytes()
    command = [sys.executable, "-c", SAVING, str(series.path), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"now\n"
        child.send_signal(signal.SIGKILL)
    assert path.read_bytes() == before
