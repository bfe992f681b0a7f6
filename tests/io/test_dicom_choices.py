"""DICOM of every make: which volume is meant, what its values are, and what is not trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from stress.samples import compress, enhanced, save, slice_of
from test_dicom import stack, write_slices

from napari_medsamq.errors import ChoiceError, UnevenSlicesError, VolumeError
from napari_medsamq.io.dicom import process as _decoder
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.volume import read_volume

pytestmark = pytest.mark.usefixtures("same_process")

VOXELS = np.random.default_rng(3).integers(-900, 1200, (5, 20, 24)).astype(np.int16)
GREY = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]


def write_series(folder: Path, voxels: np.ndarray = VOXELS, **tags: object) -> Path:
    """Write a slice per plane of an array; a tag that is a list has a value for each."""
    folder.mkdir(exist_ok=True)
    for n in range(len(voxels)):
        dataset = slice_of(voxels, n)
        for name, value in tags.items():
            setattr(dataset, name, value[n] if isinstance(value, list) else value)
        save(dataset, folder / f"{900 - n}.dcm")
    return folder


@pytest.mark.usefixtures("own_process")
@pytest.mark.parametrize("syntax", GREY)
def test_transfer_syntaxes_give_the_same_voxels(tmp_path: Path, syntax: str) -> None:
    for n in range(len(VOXELS)):
        save(slice_of(VOXELS, n), tmp_path / f"{n}.dcm", syntax)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, VOXELS)
    assert volume.data.dtype == np.int16
    assert volume.spacing == pytest.approx([3, 0.7, 0.5])


@pytest.mark.parametrize("name", ["JPEG2000", "JPEG"])
def test_compressed_slices_are_rescaled_as_plain_ones(tmp_path: Path, name: str) -> None:
    path = save(slice_of(VOXELS, 2), tmp_path / "a.dcm")
    plain = read_volume(path)
    packed = read_volume(compress(path, name))
    np.testing.assert_array_equal(packed.data, plain.data)
    assert packed.modality == "CT"


def test_several_studies_are_told_apart(tmp_path: Path) -> None:
    write_series(tmp_path / "a", StudyDescription="before")
    write_series(
        tmp_path / "b",
        StudyInstanceUID="1.2.9",
        SeriesInstanceUID="1.2.9.1",
        StudyDescription="after",
    )
    with pytest.raises(ChoiceError, match="holds 2 series of 2 studies") as error:
        read_volume(tmp_path)
    assert error.value.option == "series"
    assert error.value.choices == {
        "1.2.3.2": "made up, CT, 5 slices, study before",
        "1.2.9.1": "made up, CT, 5 slices, study after",
    }


def test_a_study_without_a_description_is_told_by_the_end_of_its_uid(tmp_path: Path) -> None:
    write_series(tmp_path / "a", StudyInstanceUID="1.2.840.123456789012")
    write_series(tmp_path / "b", StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1")
    with pytest.raises(ChoiceError) as error:
        read_volume(tmp_path)
    assert error.value.choices == {
        "1.2.3.2": "made up, CT, 5 slices, study ...123456789012",
        "1.2.9.1": "made up, CT, 5 slices, study ...1.2.9",
    }


@pytest.mark.parametrize(
    ("count", "said"), [(1, "(x0.dcm: holds no image)"), (3, "image)"), (4, "image, ...)")]
)
def test_of_files_that_cannot_be_read_three_are_named(
    tmp_path: Path, count: int, said: str
) -> None:
    for n in range(count):
        (write_series(tmp_path) / f"x{n}.dcm").write_bytes(bytes(128) + b"DICM" + bytes(9))
    (warning,) = read_volume(tmp_path).warnings
    assert f"{count} files of the folder are no readable images" in warning
    assert said in warning


def test_a_file_is_of_the_series_that_was_named(tmp_path: Path) -> None:
    write_series(tmp_path)
    assert read_volume(tmp_path / "900.dcm", series="1.2.3.2").data.shape == (1, 20, 24)
    with pytest.raises(VolumeError, match=r"is of series 1\.2\.3\.2, not of 9\.9"):
        read_volume(tmp_path / "900.dcm", series="9.9")


def test_what_is_no_image_is_no_missing_slice(tmp_path: Path) -> None:
    write_series(tmp_path)
    report = Dataset()
    report.file_meta = slice_of(VOXELS, 0).file_meta
    report.SOPClassUID, report.Modality = "1.2.840.10008.5.1.4.1.1.88.11", "SR"
    report.save_as(tmp_path / "report.dcm")
    assert read_volume(tmp_path).warnings == ()


def test_enhanced_files_have_a_place_and_a_scale_for_each_frame(tmp_path: Path) -> None:
    volume = read_volume(save(enhanced(VOXELS), tmp_path / "a.dcm"))
    expected = VOXELS.clip(0, 4095) * 2.0 - 5 * np.arange(5)[:, None, None]
    np.testing.assert_array_equal(volume.data, expected)
    np.testing.assert_allclose(volume.affine[:3, 3], [-10, 20, 0])
    assert volume.spacing == pytest.approx([3, 0.7, 0.5])
    assert (volume.modality, volume.warnings) == ("MR", ())


def test_an_enhanced_file_with_a_gap_is_refused(tmp_path: Path) -> None:
    dataset = enhanced(VOXELS)
    frames = list(dataset.PerFrameFunctionalGroupsSequence)
    frames[0].PlanePositionSequence[0].ImagePositionPatient = [-10, 20, 30]
    save(dataset, tmp_path / "a.dcm")
    with pytest.raises(UnevenSlicesError, match="slices are missing") as error:
        read_volume(tmp_path / "a.dcm")
    assert "between frame 2 of a.dcm and frame 1 of a.dcm" in str(error.value)


def test_an_enhanced_file_of_several_echoes(tmp_path: Path) -> None:
    dataset = enhanced(np.concatenate([VOXELS, VOXELS[::-1]]))
    for n, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        echo = Dataset()
        echo.EffectiveEchoTime = 5.0 if n % 2 else 30.0
        frame.MREchoSequence = Sequence([echo])
        frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 3.0 * (n // 2)]
    save(dataset, tmp_path / "a.dcm")
    with pytest.raises(ChoiceError) as error:
        read_volume(tmp_path / "a.dcm")
    assert error.value.choices["1"] == "EffectiveEchoTime 5.0, 5 slices"
    first, second = (read_volume(tmp_path / "a.dcm", volume=n) for n in (1, 2))
    assert first.data.shape == second.data.shape == (5, 20, 24)
    assert not np.array_equal(first.data, second.data)


def test_frames_without_a_place_are_told(tmp_path: Path) -> None:
    dataset = enhanced(VOXELS)
    del dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence
    volume = read_volume(save(dataset, tmp_path / "a.dcm"))
    assert volume.data.shape == (5, 20, 24)
    assert not volume.orientation_known
    assert any("could not be checked" in warning for warning in volume.warnings)
    assert any("1 mm is assumed" in warning for warning in volume.warnings)


@pytest.mark.parametrize(
    ("offsets", "row", "ends", "told"),
    [
        ([0, 2, 4, 6, 8], (0, 1, 0), (-100, -92), False),
        ([-100, -98, -96, -94, -92], (0, 1, 0), (-100, -92), False),
        ([-100, -102, -104, -106, -108], (0, 1, 0), (-108, -100), False),
        ([-100, -98, -96, -94, -92], (0, -1, 0), (-100, -92), False),
        ([5, 7, 9, 11, 13], (0, 1, 0), (-100, -92), True),
        ([-100, -98, -96, -94, -92], (0, 0.8, 0.6), (-100, -93.6), True),
    ],
)
def test_offsets_of_frames_are_distances_or_heights(
    tmp_path: Path,
    offsets: list[float],
    row: tuple[float, ...],
    ends: tuple[float, float],
    told: bool,
) -> None:
    dataset = slice_of(VOXELS, 0)
    dataset.NumberOfFrames = len(offsets)
    dataset.GridFrameOffsetVector = offsets
    dataset.ImagePositionPatient = [0, 0, -100]
    dataset.ImageOrientationPatient = [1, 0, 0, *row]
    dataset.PixelData = VOXELS.clip(0, 4095).astype("<u2").tobytes()
    volume = read_volume(save(dataset, tmp_path / "a.dcm"))
    corner = volume.source.affine @ [[0, 0], [0, 0], [0, 4], [1, 1]]
    assert sorted(corner[2]) == pytest.approx(ends)
    assert any("could not be checked" in warning for warning in volume.warnings) == told


def test_time_points_are_chosen_by_number(tmp_path: Path) -> None:
    later = (VOXELS + 7).astype(np.int16)
    write_series(tmp_path / "a", TemporalPositionIdentifier=2)
    write_series(
        tmp_path / "b",
        later,
        TemporalPositionIdentifier=10,
        SOPInstanceUID=[f"1.2.3.5.{n}" for n in range(5)],
    )
    with pytest.raises(ChoiceError, match="are 2 volumes at the same places") as error:
        read_volume(tmp_path)
    assert error.value.choices == {
        "1": "TemporalPositionIdentifier 2, 5 slices",
        "2": "TemporalPositionIdentifier 10, 5 slices",
    }
    np.testing.assert_array_equal(read_volume(tmp_path, volume=1).data, VOXELS)
    np.testing.assert_array_equal(read_volume(tmp_path, volume=2).data, later)
    with pytest.raises(ChoiceError, match="no number 3"):
        read_volume(tmp_path, volume=3)


def test_time_points_that_say_nothing_go_by_instance_number(tmp_path: Path) -> None:
    write_slices(tmp_path, [place for place in stack(3) for _ in range(2)])
    volume = read_volume(tmp_path, volume=2)
    np.testing.assert_array_equal(volume.data[:, 0, 0], [-900, -700, -500])


def test_one_volume_has_no_second(tmp_path: Path) -> None:
    write_series(tmp_path)
    assert read_volume(tmp_path, volume=1).data.shape == (5, 20, 24)
    with pytest.raises(VolumeError, match="there is no number 2"):
        read_volume(tmp_path, volume=2)


def test_slices_that_are_there_twice_are_taken_once(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", VOXELS[:2])
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, VOXELS)
    assert any("2 slices are in the folder twice" in warning for warning in volume.warnings)


@pytest.mark.parametrize("modality", ["DX", "CT"])
def test_inverted_grey_values(tmp_path: Path, modality: str) -> None:
    write_series(
        tmp_path,
        PhotometricInterpretation="MONOCHROME1",
        Modality=modality,
        RescaleIntercept=0,
    )
    volume = read_volume(tmp_path)
    stored = (VOXELS + 1024).clip(0, 4095)
    # Hounsfield units mean the same however they are shown.
    np.testing.assert_array_equal(volume.data, stored if modality == "CT" else 4095 - stored)
    assert any("MONOCHROME1" in w for w in volume.warnings) == (modality == "DX")


def test_the_scale_may_be_another_in_each_slice(tmp_path: Path) -> None:
    slopes = [0.5, 1.25, 2, 3, 4]
    write_series(tmp_path, Modality="PT", RescaleSlope=slopes, RescaleIntercept=0)
    volume = read_volume(tmp_path)
    expected = (VOXELS + 1024).clip(0, 4095) * np.array(slopes)[:, None, None]
    np.testing.assert_allclose(volume.data, expected, rtol=1e-6)
    assert volume.data.dtype == np.float32


def test_a_slope_of_0_is_refused_unless_all_is_one_value(tmp_path: Path) -> None:
    voxels, slopes = VOXELS.copy(), [1, 1, 1, 1, 0]
    write_series(tmp_path, voxels, RescaleSlope=slopes, RescaleIntercept=0)
    with pytest.raises(VolumeError, match=r"896\.dcm: its Rescale Slope \(0028,1053\).* is 0"):
        read_volume(tmp_path)
    voxels[4] = 7
    write_series(tmp_path, voxels, RescaleSlope=slopes, RescaleIntercept=0)
    assert not read_volume(tmp_path).data[4].any()


def test_bits_beside_the_pixels_are_left_out(tmp_path: Path) -> None:
    dataset = slice_of(VOXELS, 1)
    stored = np.frombuffer(dataset.PixelData, "<u2") | 0x8000
    dataset.PixelData = stored.tobytes()
    np.testing.assert_array_equal(read_volume(save(dataset, tmp_path / "a.dcm")).data[0], VOXELS[1])


def ramp(positions: list[np.ndarray]) -> np.ndarray:
    """Slices of a plane in space, which any even resampling leaves as it is."""
    rows, columns = np.mgrid[:20, :24]
    return np.array([p[2] * 20 + (p[1] + rows * 0.7) * 10 + columns for p in positions])


def written_ramp(folder: Path, positions: list[np.ndarray]) -> Path:
    values = ramp(positions).round().astype(np.int16)
    return write_series(
        folder, values, ImagePositionPatient=[list(map(float, p)) for p in positions]
    )


@pytest.mark.parametrize(
    ("positions", "shape"),
    [
        ([np.array([0, 0, z]) for z in (0, 3, 6, 12, 15)], (6, 20, 24)),
        ([np.array([0, 0, z]) for z in (0, 3, 6.5, 9, 12)], (5, 20, 24)),
        ([np.array([0, 0.7 * n, 3 * n]) for n in range(5)], (5, 24, 24)),
        ([np.array([0, -0.9 * n, 3 * n]) for n in range(5)], (5, 26, 24)),
    ],
    ids=["gap", "uneven", "tilt", "tilt back"],
)
def test_uneven_slices_are_resampled_when_asked(
    tmp_path: Path, positions: list[np.ndarray], shape: tuple[int, ...]
) -> None:
    folder = written_ramp(tmp_path / "a", positions)
    with pytest.raises(UnevenSlicesError, match="--resample"):
        read_volume(folder)
    volume = read_volume(folder, resample=True)
    assert volume.data.shape == shape
    assert any("resampled" in warning for warning in volume.warnings)
    np.testing.assert_allclose(
        volume.affine[:3, :3].T @ volume.affine[:3, :3] % 1e6, np.diag(volume.spacing**2), atol=1e-6
    )
    inside = 0
    for index in np.ndindex(*shape):
        x, y, z = (volume.affine @ [*index, 1])[:3]
        if volume.data[index] > ramp(positions).min():
            expected = z * 20 + y * 10 + x / 0.5
            inside += abs(volume.data[index] - expected) < 2
    # All but what lies at the edge of the slices, or beyond it.
    assert inside > 0.75 * 5 * 20 * 24
    label = (volume.data > volume.data.mean()).astype(np.uint8)
    assert write_label(tmp_path / "l.nii.gz", label, volume).shape == shape[::-1]


def test_what_is_even_is_not_resampled(tmp_path: Path) -> None:
    volume = read_volume(write_series(tmp_path), resample=True)
    np.testing.assert_array_equal(volume.data, VOXELS)
    assert volume.warnings == ()


def test_slices_much_too_far_apart_are_not_made_up(tmp_path: Path) -> None:
    positions = [np.array([0, 0, z]) for z in (0, 3, 6, 9, 900)]
    with pytest.raises(VolumeError, match="too far apart"):
        read_volume(written_ramp(tmp_path, positions), resample=True)


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    dataset = slice_of(VOXELS, 1)
    dataset.Rows = dataset.Columns = 60000
    save(dataset, tmp_path / "a.dcm")
    with pytest.raises(VolumeError, match=r"a\.dcm: .*announces 7,200,000,000 bytes"):
        read_volume(tmp_path / "a.dcm")


@pytest.mark.usefixtures("own_process")
@pytest.mark.parametrize(
    ("program", "at", "word"),
    [
        ("os.abort()", 896, "crash"),
        ("time.sleep(60)", 896, "hang for 1 s"),
        ("print(json.dumps({'error': 'none'}), flush=True); os.abort()", 897, "crash"),
    ],
    ids=["crash", "hang", "crash at the second"],
)
def test_a_crash_and_a_hang_of_the_reader_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, at: int, word: str
) -> None:
    monkeypatch.setattr(_decoder, "PATIENCE_S", 1.0)
    # Dies or waits once it has been asked for something, as at a damaged file.
    start = "import json, os, sys, time; sys.stdin.readline()"
    monkeypatch.setattr(_decoder, "_PROGRAM", f"{start}; {program}")
    write_series(tmp_path)
    with pytest.raises(VolumeError, match=rf"{at}\.dcm: made the DICOM reader {word}"):
        read_volume(tmp_path)


@pytest.mark.usefixtures("own_process")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits are those of Linux")
def test_a_header_that_unpacks_to_much_more_than_its_file_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "from napari_medsamq.io.dicom import process_main as main"
    monkeypatch.setattr(_decoder, "_PROGRAM", f"{program}; main._SPARE = 8 << 20; main.serve()")
    dataset = slice_of(VOXELS, 1)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.TextValue = " " * (32 << 20)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(VolumeError, match="takes more memory than a file of its size is given"):
        read_volume(tmp_path)


def test_a_reader_that_ends_before_it_is_asked_names_the_first_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_decoder, "_PROGRAM", "")
    # More than a pipe takes unread.
    paths = [tmp_path / f"{n}{'x' * 200}" for n in range(1000)]
    with (
        _decoder.Decoder(tmp_path) as decoder,
        pytest.raises(VolumeError, match=rf"{paths[0]}: made the DICOM reader crash"),
    ):
        next(decoder.headers(paths))
