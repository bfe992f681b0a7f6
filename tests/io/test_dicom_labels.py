"""DICOM labels of the series that people really have: anonymised, of several volumes, of X-rays."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_series import FRAME_OF_REFERENCE, write_series
from grids import grid_affine
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from sources import names_in
from stress.samples import enhanced, save

from napari_medsamq.errors import SaveError, VolumeError
from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.labels import read_label
from napari_medsamq.io.volume import Volume, read_volume

pytestmark = pytest.mark.usefixtures("same_process")

SHAPE = (12, 10, 6)
AFFINE = grid_affine((0, 1, 2), (1, 1, 1), (8, -5, 12), (0.8, 0.9, 2.5))
NAMES = ("a.dcm", "a.rtstruct.dcm")


def write_ct(folder: Path, affine: np.ndarray = AFFINE) -> Path:
    return write_series(folder, np.arange(720).reshape(SHAPE).astype(np.int16), affine)


def drawn(volume: Volume) -> np.ndarray:
    label = np.zeros(volume.data.shape, np.uint16)
    label[1:4, 2:8, 1:7], label[2:4, 3:5, 8:10] = 1, 5
    return label


def change(folder: Path, **values: str | None) -> None:
    """Write texts into the headers of a folder as they are, valid or not; None leaves out."""
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        with pydicom.config.disable_value_validation():
            for keyword, text in values.items():
                tag = Tag(keyword)
                if text is None:
                    image.pop(tag, None)
                    continue
                packed = text.encode() + b" " * (len(text) % 2)
                vr = pydicom.datadict.dictionary_VR(tag)
                image._dict[tag] = RawDataElement(tag, vr, len(packed), packed, 0, False, True)
            image.save_as(path)


@contextmanager
def nothing_said(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    ours = ("pydicom", "highdicom")
    assert [str(w.message) for w in said if any(name in w.filename for name in ours)] == []
    assert capfd.readouterr() == ("", "")


ANONYMISED = [
    {"StudyDate": "ANONYMIZED", "PatientName": "ANON", "StudyTime": "none"},
    {"PatientBirthDate": "REMOVED", "PatientAge": "old", "PatientSex": "X", "PatientWeight": "n/a"},
    {"StudyDate": "20249999", "StudyTime": "99", "PatientSize": "tall", "StudyID": None},
    {"StudyDate": None, "StudyTime": None, "PatientName": None, "PatientID": None},
    {"StudyDate": "", "StudyTime": "", "PatientName": "", "PatientID": "", "PatientSex": ""},
    {"AccessionNumber": "longer than 16 characters", "PatientID": "x" * 70, "PatientSex": "male"},
    {"SliceThickness": "", "SpacingBetweenSlices": "", "Laterality": "LEFT SIDE", "Modality": "ct"},
    {"SpacingBetweenSlices": "n/a", "KVP": "hidden", "DateOfSecondaryCapture": "one"},
    {"AcquisitionDate": "a day", "ContentTime": "late", "EthnicGroup": "x" * 40},
]


@pytest.mark.parametrize("values", ANONYMISED, ids=range(len(ANONYMISED)))
def test_what_an_anonymiser_leaves_is_no_hindrance(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], values: dict[str, str | None]
) -> None:
    folder = write_ct(tmp_path / "series")
    change(folder, **values)
    volume = read_volume(folder)
    label, segments = drawn(volume), {1: Segment("Liver", "#102030")}
    for name in NAMES:
        with nothing_said(capfd):
            write_label(tmp_path / name, label, volume, segments)
            found = read_label(tmp_path / name, volume)
        np.testing.assert_array_equal(found.label, label)
        assert found.segments[1].name == "Liver"
        back = pydicom.dcmread(tmp_path / name)
        image = pydicom.dcmread(volume.source.files[0])
        assert (back.StudyInstanceUID, back.get("PatientID", "")) == (
            image.StudyInstanceUID,
            image.get("PatientID", ""),
        )
        # What is no date is none; what is one stays.
        kept = {"ANONYMIZED": "", "20249999": "", None: "", "": ""}
        wanted = kept.get(values.get("StudyDate", "20260102"), "20260102")
        assert str(back.StudyDate or "") == wanted
        assert str(back.PatientSex or "") in ("M", "")
    highdicom.seg.segread(tmp_path / "a.dcm").get_volume(combine_segments=True)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"])
def test_what_a_reference_needs_is_named(tmp_path: Path, keyword: str) -> None:
    folder = write_ct(tmp_path / "series")
    for value in (None, ""):
        change(folder, **{keyword: value})
        volume = read_volume(folder)
        for name in NAMES:
            with pytest.raises(SaveError, match=f"has no {keyword}, which a reference"):
                write_label(tmp_path / name, drawn(volume), volume)
    assert names_in(tmp_path) == ["series"]


def echoes(path: Path) -> Path:
    """A file of two echoes, whose frames take turns."""
    voxels = np.arange(12 * 10 * 9).reshape(12, 10, 9).astype(np.int16)
    dataset = enhanced(voxels)
    dataset.FrameOfReferenceUID, dataset.PatientName = FRAME_OF_REFERENCE, "Test^Case"
    dataset.PatientID = dataset.StudyDate = dataset.StudyTime = ""
    for n, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        echo = Dataset()
        echo.EffectiveEchoTime = 5.0 if n % 2 else 30.0
        frame.MREchoSequence = [echo]
        frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 3.0 * (n // 2)]
    return save(dataset, path)


@pytest.mark.parametrize("number", [1, 2])
def test_one_volume_of_a_file_is_referred_to_by_its_own_frames(tmp_path: Path, number: int) -> None:
    volume = read_volume(echoes(tmp_path / "image.dcm"), volume=number)
    label = drawn(volume)[..., :9]
    own = {2 * k + (2 if number == 1 else 1) for k in range(6)}
    for name in NAMES:
        write_label(tmp_path / name, label, volume)
        found = read_label(tmp_path / name, volume)
        np.testing.assert_array_equal(found.label, label)
        assert found.notes == ()
    seg = pydicom.dcmread(tmp_path / "a.dcm")
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        z = frame.PlanePositionSequence[0].ImagePositionPatient[2]
        assert int(source.ReferencedFrameNumber) == 2 * round(z / 3) + (2 if number == 1 else 1)
    rt = pydicom.dcmread(tmp_path / "a.rtstruct.dcm")
    for contour in rt.ROIContourSequence[0].ContourSequence:
        assert contour.ContourImageSequence[0].ReferencedFrameNumber in own
    # Two more series of the study, which viewers list by number.
    assert (seg.SeriesNumber, rt.SeriesNumber) == (100, 101)


def test_one_volume_of_a_series_is_referred_to_by_its_own_files(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "series")
    for n, path in enumerate(list(folder.iterdir())):
        image = pydicom.dcmread(path)
        image.EchoTime = 5
        image.save_as(path)
        image.EchoTime, image.SOPInstanceUID = 30, pydicom.uid.generate_uid()
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.InstanceNumber = 100 + n
        image.save_as(folder / f"other {n}.dcm")
    volume = read_volume(folder, volume=2)
    uids = {str(pydicom.dcmread(path).SOPInstanceUID) for path in folder.glob("other*")}
    for name in NAMES:
        write_label(tmp_path / name, drawn(volume), volume)
        np.testing.assert_array_equal(read_label(tmp_path / name, volume).label, drawn(volume))
    seg = pydicom.dcmread(tmp_path / "a.dcm")
    (referenced,) = seg.ReferencedSeriesSequence
    assert {str(i.ReferencedSOPInstanceUID) for i in referenced.ReferencedInstanceSequence} <= uids


def test_resampled_slices_are_none_of_the_series(tmp_path: Path) -> None:
    folder = write_ct(tmp_path / "series")
    (folder / "996.dcm").unlink()
    volume = read_volume(folder, resample=True)
    for name in NAMES:
        with pytest.raises(SaveError, match="its slices were resampled"):
            write_label(tmp_path / name, drawn(volume), volume)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_without_a_place_have_no_dicom_labels(tmp_path: Path, name: str) -> None:
    folder = write_ct(tmp_path / "series")
    path = folder / "999.dcm"
    for missing in ("ImagePositionPatient", "ImageOrientationPatient"):
        image = pydicom.dcmread(path)
        del image[missing]
        image.Modality = "DX"
        image.save_as(path)
        volume = read_volume(path)
        with pytest.raises(SaveError, match="does not say where its slices lie in the patient"):
            write_label(tmp_path / name, np.ones(volume.data.shape, np.uint8), volume)
    # Frames of an angiography.
    dataset = enhanced(np.arange(4 * 10 * 9).reshape(4, 10, 9).astype(np.int16))
    dataset.FrameOfReferenceUID = FRAME_OF_REFERENCE
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    volume = read_volume(save(dataset, tmp_path / "frames.dcm"))
    with pytest.raises(SaveError, match="does not say where its slices lie in the patient"):
        write_label(tmp_path / name, np.ones(volume.data.shape, np.uint8), volume)
    assert names_in(tmp_path) == ["frames.dcm", "series"]


@pytest.mark.parametrize("shape", [(1, 10, 6), (12, 1, 6), (1, 8, 1), (3, 3, 2), (9, 7, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_series_of_any_width(tmp_path: Path, shape: tuple[int, ...], name: str) -> None:
    voxels = np.arange(np.prod(shape)).reshape(shape).astype(np.int16)
    volume = read_volume(write_series(tmp_path / "series", voxels, AFFINE))
    label = (volume.data % 3 == 0).astype(np.uint8)
    write_label(tmp_path / name, label, volume)
    found = read_label(tmp_path / name, volume)
    np.testing.assert_array_equal(found.label, label)
    assert found.notes == ()


def test_slices_of_a_few_pixels_are_refused(tmp_path: Path) -> None:
    voxels = np.arange(1 * 5 * 3).reshape(1, 5, 3).astype(np.int16)
    volume = read_volume(write_series(tmp_path / "series", voxels, AFFINE))
    label = np.ones(volume.data.shape, np.uint8)
    with pytest.raises(SaveError, match="fewer than 8 pixels"):
        write_label(tmp_path / "a.dcm", label, volume)
    write_label(tmp_path / "a.rtstruct.dcm", label, volume)
    np.testing.assert_array_equal(read_label(tmp_path / "a.rtstruct.dcm", volume).label, label)


def changed(path: Path, change: str) -> None:
    seg = pydicom.dcmread(path)
    frames = seg.PerFrameFunctionalGroupsSequence
    if change == "no place":
        for frame in frames:
            del frame.PlanePositionSequence
    elif change == "no frame of reference":
        del seg.FrameOfReferenceUID
    elif change == "far":
        frames[-1].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 1e8]
    elif change == "sideways":
        frames[-1].PlanePositionSequence[0].ImagePositionPatient = [20, 0, 0]
    elif change == "large":
        seg.Rows = seg.Columns = 65535
    elif change == "undescribed":
        frames[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9
    else:
        seg.SegmentSequence = []
    seg.save_as(path)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no place", "an image without a place in the patient"),
        ("no frame of reference", "an image without a place in the patient"),
        ("far", "spread over|no even stack"),
        ("sideways", "cannot be read as one label"),
        ("undescribed", "does not describe|cannot be read as one label"),
        ("nothing", "cannot be read as one label"),
        ("large", "more than a file of its size holds"),
    ],
)
def test_segmentations_that_lie_nowhere_are_refused(
    tmp_path: Path, what: str, message: str
) -> None:
    volume = read_volume(write_ct(tmp_path / "series"))
    write_label(tmp_path / "a.dcm", drawn(volume), volume)
    changed(tmp_path / "a.dcm", what)
    with pytest.raises(VolumeError, match=message):
        read_label(tmp_path / "a.dcm", volume)


@pytest.mark.parametrize(
    ("lab", "color"),
    [
        ([0, 32768, 32768], "#000000"),  # black by dcmqi
        ([65535, 65535, 0], None),
        ([1, 2], "#E69F00"),
        ([], "#E69F00"),
    ],
)
def test_no_label_is_lost_for_its_colour(tmp_path: Path, lab: list[int], color: str | None) -> None:
    volume = read_volume(write_ct(tmp_path / "series"))
    write_label(tmp_path / "a.dcm", drawn(volume), volume)
    seg = pydicom.dcmread(tmp_path / "a.dcm")
    seg.SegmentSequence[0].RecommendedDisplayCIELabValue = lab
    seg.save_as(tmp_path / "a.dcm")
    found = read_label(tmp_path / "a.dcm", volume)
    np.testing.assert_array_equal(found.label, drawn(volume))
    assert color is None or found.segments[1].color[:3] == color[:3]


def test_positions_in_tenths_of_a_millimetre(tmp_path: Path) -> None:
    """A label of slices whose places are rounded goes out and comes back."""
    affine = np.diag([0.8, 0.9, 0.625, 1])
    folder = write_ct(tmp_path / "series", affine)
    volume = read_volume(folder)
    write_label(tmp_path / "a.dcm", drawn(volume), volume)
    seg = pydicom.dcmread(tmp_path / "a.dcm")
    for frame in seg.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0]
        place.ImagePositionPatient = [round(float(v), 1) for v in place.ImagePositionPatient]
    seg.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_label(tmp_path / "a.dcm", volume).label, drawn(volume))
