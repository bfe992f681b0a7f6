"""Numbers of DICOM headers as people's files have them: read as written, or refused by name."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, config, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.pixels import apply_modality_lut
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from stress.samples import compress, enhanced, save, slice_of

from napari_medsamq.errors import VolumeError
from napari_medsamq.inference.preprocess import SOFT_TISSUE, default_window
from napari_medsamq.inference.window_presets import CT_PRESETS, presets
from napari_medsamq.io.dicom.header import read_header
from napari_medsamq.io.dicom.header_numbers import with_points
from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.labels import read_label
from napari_medsamq.io.volume import read_volume

pytestmark = pytest.mark.usefixtures("same_process")

# Air around soft tissue, in Hounsfield units.
VOXELS = np.random.default_rng(3).integers(-50, 200, (5, 20, 24)).astype(np.int16)
VOXELS[:, :6] = -1000


@pytest.fixture(autouse=True)
def _as_in_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)


def write(dataset: Dataset, name: str, value: bytes, kind: str = "DS") -> None:
    """Put bytes into a data set as they are."""
    tag = Tag(tag_for_keyword(name))
    pad = b" " if kind in ("DS", "IS", "LO") and len(value) % 2 else b""
    value += pad
    dataset._dict[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True)


def write_series(
    folder: Path, change: Callable[[Dataset, int], None], voxels: np.ndarray = VOXELS
) -> Path:
    folder.mkdir(exist_ok=True)
    for n in range(len(voxels)):
        dataset = slice_of(voxels, n)
        change(dataset, n)
        save(dataset, folder / f"{n}.dcm")
    return folder


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DS", b"-1024,5"),
        ("DS", b" -1024.5\0"),
        ("DS", b"-1024.5\0\0 \0"),
        ("DS", b"-1.0245E+03 "),
        ("LO", b"-1024,5"),
        ("UN", b"-1024.5 "),
        ("FD", struct.pack("<d", -1024.5)),
        ("FL", struct.pack("<f", -1024.5)),
    ],
)
def test_a_number_is_read_however_it_is_written(tmp_path: Path, kind: str, value: bytes) -> None:
    dataset = slice_of(VOXELS, 0)
    write(dataset, "RescaleIntercept", value, kind)
    assert read_header(save(dataset, tmp_path / "a.dcm"))["frames"][0]["intercept"] == -1024.5


@pytest.mark.parametrize(
    ("name", "value", "entry", "expected"),
    [
        ("PixelSpacing", b"0,7\\0,5", "spacing", [0.7, 0.5]),
        ("ImagePositionPatient", b"-10,5\\20\\3,0", "position", [-10.5, 20, 3]),
        ("SliceThickness", b"2,5\0", "thickness", 2.5),
        ("SpacingBetweenSlices", b"-2,5", "between", 2.5),
        ("RescaleSlope", b"\0\0", "slope", 1),
        ("RescaleSlope", b"  ", "slope", 1),
    ],
)
def test_each_number_may_have_a_decimal_comma_or_be_empty(
    tmp_path: Path, name: str, value: bytes, entry: str, expected: object
) -> None:
    dataset = slice_of(VOXELS, 0)
    write(dataset, name, value)
    assert read_header(save(dataset, tmp_path / "a.dcm"))["frames"][0][entry] == expected


def test_a_series_with_commas_is_that_with_points(tmp_path: Path) -> None:
    def commas(dataset: Dataset, n: int) -> None:
        dataset.FrameOfReferenceUID = "1.2.3.9"
        write(dataset, "RescaleIntercept", b"-1024,0")
        write(dataset, "RescaleSlope", b"1,0")
        write(dataset, "PixelSpacing", b"0,7\\0,5")
        write(dataset, "ImagePositionPatient", f"-10,0\\20,0\\{3 * n},0".encode())
        write(dataset, "ImageOrientationPatient", b"1,0\\0,0\\0,0\\0,0\\1,0\\0,0")
        write(dataset, "Rows", b"20", "IS")

    volume = read_volume(write_series(tmp_path / "a", commas))
    plain = read_volume(write_series(tmp_path / "b", lambda *_: None))
    np.testing.assert_array_equal(volume.data, plain.data)
    np.testing.assert_array_equal(volume.affine, plain.affine)
    assert volume.warnings == plain.warnings == ()
    label = (volume.data > 0).astype(np.uint8)
    # Refers to the series by what its headers say.
    for name in ("a.dcm", "a.rtstruct.dcm"):
        write_label(tmp_path / name, label, volume, {1: Segment("Body", "#FF0000")})
    assert read_label(tmp_path / "a.dcm", volume).label.sum() == label.sum()


def test_commas_within_sequences_are_points_too() -> None:
    measures, outer = Dataset(), Dataset()
    # As text: pydicom would refuse it as a number.
    measures.add_new("SliceThickness", "LO", "2,5")
    outer.PixelMeasuresSequence = [measures]
    outer.ReferencedImageSequence = None
    with_points(outer)
    assert float(measures.SliceThickness) == 2.5


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RescaleIntercept", b"N/A", r"Rescale Intercept \(0028,1052\) is 'N/A'"),
        ("RescaleIntercept", b"-1024\\-1024", "one number"),
        ("RescaleIntercept", b"-1024 HU", "-1024 HU"),
        ("RescaleIntercept", b"-1.024,0", "0028,1052"),
        ("RescaleIntercept", b"-1_024", "0028,1052"),
        ("RescaleSlope", b"nan", r"Rescale Slope \(0028,1053\) is 'nan'"),
        ("RescaleSlope", b"1e999", "1e999"),
        ("PixelSpacing", b"0.7", r"Pixel Spacing \(0028,0030\) is '0.7', where 2 numbers"),
        ("PixelSpacing", b"0.7mm\\0.5mm", "0.7mm"),
        ("PixelSpacing", b"-0.7\\0.5", "sizes above 0"),
        ("ImagePositionPatient", b"-10\\20\\?", r"\(0020,0032\)"),
        ("ImagePositionPatient", b"-10\\20", "3 numbers"),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\1", "6 numbers"),
        ("ImageOrientationPatient", b"1\\0\\0\\1\\0\\0", "at right angles"),
        ("Rows", b"20 px", r"Rows \(0028,0010\) is '20 px'"),
        ("NumberOfFrames", b"one", r"Number of Frames \(0028,0008\)"),
    ],
)
def test_what_is_no_number_is_refused_by_name(
    tmp_path: Path, name: str, value: bytes, said: str
) -> None:
    def spoil(dataset: Dataset, n: int) -> None:
        if n == 2:
            write(dataset, name, value, "IS" if name == "NumberOfFrames" else "DS")

    with pytest.raises(VolumeError, match=rf"2\.dcm(?s:.*){said}"):
        read_volume(write_series(tmp_path, spoil))


def test_a_number_that_nobody_needs_may_say_anything(tmp_path: Path) -> None:
    def spoil(dataset: Dataset, n: int) -> None:
        for name in ("SliceThickness", "SpacingBetweenSlices", "EchoTime", "WindowCenter"):
            write(dataset, name, b"N/A")
        write(dataset, "ImagerPixelSpacing", b"?")
        write(dataset, "InstanceNumber", b"?", "IS")

    volume = read_volume(write_series(tmp_path, spoil))
    np.testing.assert_array_equal(volume.data, VOXELS)
    assert (volume.spacing[0], volume.warnings) == (3, ())
    # A single slice has no other thickness.
    with pytest.raises(VolumeError, match=r"0\.dcm: its Slice Thickness \(0018,0050\) is 'N/A'"):
        read_volume(tmp_path / "0.dcm")


def test_an_order_by_numbers_needs_all_of_them(tmp_path: Path) -> None:
    def spoil(dataset: Dataset, n: int) -> None:
        dataset.ImagePositionPatient = [-10, 20, 3.0 * (n // 2)]
        write(dataset, "InstanceNumber", b"?" if n == 3 else str(n).encode(), "IS")

    warnings = read_volume(write_series(tmp_path, spoil, VOXELS[:4]), volume=1).warnings
    assert any("SOP Instance UID" in warning for warning in warnings)
    assert not any("Instance Number" in warning for warning in warnings)


@pytest.mark.parametrize("name", ["RescaleIntercept", "PixelSpacing"])
def test_numbers_of_a_frame_are_never_those_of_all_frames(tmp_path: Path, name: str) -> None:
    dataset = enhanced(VOXELS)
    frame = dataset.PerFrameFunctionalGroupsSequence[2]
    if name == "PixelSpacing":
        frame.PixelMeasuresSequence = Sequence([Dataset()])
    sequence = "PixelMeasures" if name == "PixelSpacing" else "PixelValueTransformation"
    write(frame[f"{sequence}Sequence"].value[0], name, b"none")
    setattr(dataset, name, [0.7, 0.5] if name == "PixelSpacing" else 0)
    with pytest.raises(VolumeError, match=r"a\.dcm: its .* is 'none'"):
        read_volume(save(dataset, tmp_path / "a.dcm"))


def test_frames_that_only_the_first_says_the_place_of_need_their_distance(tmp_path: Path) -> None:
    dataset = slice_of(VOXELS, 0)
    dataset.NumberOfFrames, dataset.PixelData = 5, (VOXELS + 1024).astype("<u2").tobytes()
    for name, value in [("GridFrameOffsetVector", b"0\\3\\6"), ("SliceThickness", b"thin")]:
        write(dataset, name, value)
        with pytest.raises(VolumeError, match=r"a\.dcm.*\((3004,000C|0018,0050)\)"):
            read_volume(save(dataset, tmp_path / "a.dcm"))
        write(dataset, name, b"")


def test_compressed_files_may_write_counts_as_text(tmp_path: Path) -> None:
    plain = read_volume(save(slice_of(VOXELS, 2), tmp_path / "a.dcm"))
    compress(tmp_path / "a.dcm", "JPEG2000")
    dataset = dcmread(tmp_path / "a.dcm")
    for name in ("Rows", "Columns", "BitsStored"):
        write(dataset, name, str(dataset[name].value).encode(), "IS")
    dataset.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").data, plain.data)


def add_table(dataset: Dataset, values: list[int], first: int = 0, bits: int = 16) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(values), first, bits])
    table.ModalityLUTType = "US"
    table.add_new("LUTData", "US", values)
    dataset.ModalityLUTSequence = Sequence([table])
    del dataset.RescaleSlope, dataset.RescaleIntercept


@pytest.mark.parametrize(
    ("first", "signed", "written"),
    [
        (0, False, 0),
        (900, False, 900),
        (40000, False, 40000),
        (-400, True, -400),
        (-400, True, 65136),
    ],
    ids=["all", "some", "high", "signed", "signed but not written so"],
)
def test_a_modality_table_is_applied(
    tmp_path: Path, first: int, signed: bool, written: int
) -> None:
    dataset = slice_of(VOXELS, 2)
    dataset.Modality = "MR"
    if signed:
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
        dataset.PixelData = VOXELS[2].astype("<i2").tobytes()
    if first == 40000:
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.PixelData = (VOXELS[2].astype(int) + 41000).astype("<u2").tobytes()
    add_table(dataset, np.arange(2000)[::-1].tolist(), first)
    expected = apply_modality_lut(dataset.pixel_array, dataset)
    dataset.ModalityLUTSequence[0].add_new(
        "LUTDescriptor", "SS" if written < 0 else "US", [2000, written, 16]
    )
    volume = read_volume(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(volume.data[0], expected)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    inverted = read_volume(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(inverted.data, 65535 - volume.data)
    dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME2", "XA"
    as_stored = read_volume(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(as_stored.data[0], dataset.pixel_array)


def test_a_modality_table_that_is_too_short_is_refused(tmp_path: Path) -> None:
    dataset = slice_of(VOXELS, 2)
    add_table(dataset, [1, 2, 3])
    dataset.ModalityLUTSequence[0].LUTDescriptor = [4096, 0, 16]
    with pytest.raises(VolumeError, match=r"Modality LUT Sequence \(0028,3000\) has 3 values"):
        read_volume(save(dataset, tmp_path / "a.dcm"))


def test_a_modality_table_of_an_odd_number_of_bytes_is_padded(tmp_path: Path) -> None:
    dataset = slice_of(VOXELS % 5 - 1024, 2)
    dataset.Modality = "MR"
    values = [200, 3, 90, 17, 5]
    add_table(dataset, values, bits=8)
    write(dataset.ModalityLUTSequence[0], "LUTData", bytes([*values, 0]), "OW")
    volume = read_volume(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(volume.data[0], np.array(values)[dataset.pixel_array])


@pytest.mark.parametrize(
    ("bits", "signed", "slope", "intercept", "kind"),
    [
        # Each value, and none beyond, is one of int16.
        (15, False, "1", "-1", np.int16),
        (16, True, "-1", "-1", np.int16),
        (15, False, "1", "1", np.uint16),
        (16, True, "1", "-1", np.int32),
        (16, True, "0.5", "0", np.float32),
    ],
)
def test_values_have_the_smallest_type_that_holds_all_that_there_may_be(
    tmp_path: Path, bits: int, signed: bool, slope: str, intercept: str, kind: type
) -> None:
    dataset = slice_of(VOXELS, 2)
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    assert read_volume(save(dataset, tmp_path / "a.dcm")).data.dtype == kind


def test_doses_are_scaled(tmp_path: Path) -> None:
    dataset = slice_of(VOXELS, 2)
    dataset.Modality, dataset.DoseGridScaling = "RTDOSE", "0.25"
    del dataset.RescaleSlope, dataset.RescaleIntercept
    volume = read_volume(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(volume.data[0], (VOXELS[2] + 1024) * 0.25)
    for value, said in [(b"0.25 Gy", "is '0.25 Gy'"), (b"", "it has no Dose Grid Scaling")]:
        write(dataset, "DoseGridScaling", value)
        with pytest.raises(VolumeError, match=said):
            read_volume(save(dataset, tmp_path / "a.dcm"))


def no_intercept(dataset: Dataset) -> None:
    del dataset.RescaleIntercept, dataset.RescaleSlope


def empty_intercept(dataset: Dataset) -> None:
    dataset.RescaleIntercept = None


def unspecified(dataset: Dataset) -> None:
    dataset.RescaleIntercept, dataset.RescaleType = 0, "US"


def atomic_numbers(dataset: Dataset) -> None:
    dataset.RescaleType = "Z_EFF"


def never_negative(dataset: Dataset) -> None:
    dataset.RescaleIntercept, dataset.RescaleType = 0, "HU"


def padded(dataset: Dataset) -> None:
    """Stored with an offset, but for what was not scanned."""
    stored = np.frombuffer(dataset.PixelData, "<u2").astype("<i2")
    stored[:30] = -2000
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
    dataset.RescaleIntercept, dataset.PixelData = 0, stored.tobytes()


def eight_bits(dataset: Dataset) -> None:
    stored = np.frombuffer(dataset.PixelData, "<u2") // 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = stored.astype(np.uint8).tobytes()


def by_table(dataset: Dataset) -> None:
    add_table(dataset, np.arange(2000).tolist())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (no_intercept, "the file has no Rescale Intercept"),
        (empty_intercept, "the file has no Rescale Intercept"),
        (unspecified, "Rescale Type (0028,1054) is US"),
        (atomic_numbers, "is Z_EFF"),
        (never_negative, "none of them is below 0"),
        (padded, "none of them is below 0"),
        (eight_bits, "8 bits"),
        (by_table, "Modality LUT Type"),
    ],
)
def test_a_ct_that_is_not_in_hounsfield_units_is_told(
    tmp_path: Path, change: Callable[[Dataset], None], why: str
) -> None:
    volume = read_volume(write_series(tmp_path, lambda dataset, _: change(dataset)))
    assert (volume.modality, volume.modality_source) == ("CT", "dicom")
    assert len(volume.warnings) == 1
    assert volume.warnings[0].startswith("The values are not Hounsfield units")
    assert why in volume.warnings[0]
    window = default_window(volume)
    assert window != SOFT_TISSUE
    low, high = window.limits
    inside = np.count_nonzero((volume.data >= low) & (volume.data <= high))
    assert inside > 0.9 * volume.data.size
    assert presets(volume, window) != CT_PRESETS
    # For MR nothing has to be told.
    assert volume.with_modality("MR").warnings == ()
    assert volume.with_modality("MR").with_modality("CT").warnings == volume.warnings


def signed(dataset: Dataset) -> None:
    """Write the values themselves, as programs do that know of no scale."""
    stored = np.frombuffer(dataset.PixelData, "<u2").astype("<i2") - 1024
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
    dataset.PixelData = stored.astype("<i2").tobytes()
    del dataset.RescaleIntercept, dataset.RescaleSlope


def unspecified_scale(dataset: Dataset) -> None:
    dataset.RescaleType = "US"


def named_scale(dataset: Dataset) -> None:
    dataset.RescaleType = "HU"


@pytest.mark.parametrize("change", [signed, unspecified_scale, named_scale])
def test_hounsfield_units_are_known_by_the_file_or_by_air(
    tmp_path: Path, change: Callable[[Dataset], None]
) -> None:
    volume = read_volume(write_series(tmp_path, lambda dataset, _: change(dataset)))
    np.testing.assert_array_equal(volume.data, VOXELS)
    assert (volume.warnings, default_window(volume)) == ((), SOFT_TISSUE)


def test_an_enhanced_ct_has_its_unit_in_the_frames(tmp_path: Path) -> None:
    dataset = enhanced(VOXELS + 1024)
    dataset.Modality = "CT"
    for n, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        values = frame.PixelValueTransformationSequence[0]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
        if n == 3:
            values.RescaleType = "EDW"
    volume = read_volume(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(volume.data, VOXELS)
    assert "Rescale Type (0028,1054) is EDW" in " ".join(volume.warnings)
