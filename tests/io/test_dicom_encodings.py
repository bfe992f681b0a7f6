"""How DICOM is written: what makes a file DICOM, how pixels are packed, what lies beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
    MPEG2MPHL,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from stress.samples import enhanced, save, slice_of

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.volume import read_volume
from napari_medsamq.plugin import get_reader

pytestmark = pytest.mark.usefixtures("same_process")

VOXELS = np.random.default_rng(3).integers(-900, 1200, (3, 20, 24)).astype(np.int16)
ROWS, COLUMNS = np.mgrid[:12, :16]
# Smooth enough for JPEG to be off by a few.
RGB = np.stack([COLUMNS * 15, ROWS * 20, ROWS + COLUMNS], -1).astype(np.uint8)
NATIVE = ExplicitVRLittleEndian.encode()
YBR = convert_color_space(RGB, "RGB", "YBR_FULL")
# (COLUMNS * 70 - ROWS * 130) int16, packed by OpenJPH.
HIGH_THROUGHPUT = base64.b64decode(
    "/0//UQApQAAAAAAQAAAADAAAAAAAAAAAAAAAEAAAAAwAAAAAAAAAAAABjwEB/1AACAACAAAACv9SAAwAAgABAAUE"
    "BEAB/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAIAAAf+TwAAl"
    "sQGHdAAAwAATQAATAP78Aod0ALH4Awd0AMAAE8AAEwB+/PwCAnQASOQAIjQAwAAVMAAFWDo6OqBiMYJ2AEceeeSR"
    "wEIBvrYAwAArYAAWmAqFQqFQ/OeKenECdwADBwYGBgYGBv76DGB79jGB7LoA/9k="
)


def picture(array: np.ndarray, photometric: str, data: bytes, **tags: object) -> Dataset:
    """Make a picture of an array's size from packed bytes, one fragment where it is compressed."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    dataset.Modality, dataset.PixelSpacing = "OT", [0.7, 0.5]
    dataset.Rows, dataset.Columns = array.shape[:2]
    dataset.SamplesPerPixel = 3 if array.ndim == 3 else 1
    dataset.PhotometricInterpretation = photometric
    if array.ndim == 3:
        dataset.PlanarConfiguration = 0
    bits = 8 * array.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    dataset.PixelData = data
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def packed(dataset: Dataset, path: Path, syntax: str) -> Path:
    """Write a picture whose bytes are packed already."""
    dataset.PixelData = encapsulate([dataset.PixelData])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def jpeg(array: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", quality=98, **options)
    return out.getvalue()


def jpeg2000(array: np.ndarray, mct: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG2000", no_jp2=True, irreversible=False, mct=mct)
    return out.getvalue()


def halved(ybr: np.ndarray) -> bytes:
    """Pack YBR_FULL_422: two pixels of a row share their colours."""
    pairs = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], -1)
    return pairs.tobytes()


@pytest.mark.parametrize(
    ("photometric", "data", "planar"),
    [
        ("RGB", RGB.tobytes(), 0),
        ("RGB", RGB.transpose(2, 0, 1).tobytes(), 1),
        ("YBR_FULL", YBR.tobytes(), 0),
        ("YBR_FULL", YBR.transpose(2, 0, 1).tobytes(), 1),
        ("YBR_FULL_422", halved(YBR), 0),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_plain_colours_are_what_they_were(
    tmp_path: Path, photometric: str, data: bytes, planar: int, syntax: str
) -> None:
    dataset = picture(RGB, photometric, data, PlanarConfiguration=planar)
    volume = read_volume(save(dataset, tmp_path / "a.dcm", syntax))
    # YBR_FULL rounds, and 422 takes the colour of a pixel's neighbour.
    allowed = 0 if photometric == "RGB" else 3 if photometric == "YBR_FULL" else 25
    assert np.abs(volume.data[0].astype(int) - RGB).max() <= allowed


@pytest.mark.usefixtures("own_process")
@pytest.mark.parametrize(
    ("photometric", "data", "syntax"),
    [
        ("YBR_FULL_422", jpeg(RGB), JPEGBaseline8Bit),
        ("YBR_FULL", jpeg(RGB, subsampling=0), JPEGBaseline8Bit),
        # As many programs write it: what JFIF holds is never RGB.
        ("RGB", jpeg(RGB, subsampling=0), JPEGBaseline8Bit),
        ("RGB", jpeg(RGB, keep_rgb=True), JPEGBaseline8Bit),
        ("YBR_RCT", jpeg2000(RGB, 1), JPEG2000Lossless),
        ("RGB", jpeg2000(RGB, 0), JPEG2000Lossless),
    ],
)
def test_compressed_colours_are_what_they_were(
    tmp_path: Path, photometric: str, data: bytes, syntax: str
) -> None:
    volume = read_volume(packed(picture(RGB, photometric, data), tmp_path / "a.dcm", syntax))
    assert volume.data.shape == (1, *RGB.shape)
    allowed = 0 if syntax == JPEG2000Lossless else 30
    assert np.abs(volume.data[0].astype(int) - RGB).max() <= allowed


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    index = (COLUMNS * 16 + ROWS).astype(np.uint8)
    ramp = np.arange(256, dtype="<u2") << 8
    tables = {"Red": ramp, "Green": ramp[::-1], "Blue": ramp // 2}
    tags: dict[str, object] = {}
    for name, table in tables.items():
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    dataset = picture(index, "PALETTE COLOR", index.tobytes(), **tags)
    expected = np.stack([table[index] >> 8 for table in tables.values()], -1)
    np.testing.assert_array_equal(read_volume(save(dataset, tmp_path / "a.dcm")).data[0], expected)


@pytest.mark.usefixtures("own_process")
@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
def test_packed_slices_have_the_voxels_of_plain_ones(tmp_path: Path, syntax: str) -> None:
    for n in range(len(VOXELS)):
        dataset = slice_of(VOXELS, n)
        if syntax == JPEGLSLossless:
            dataset.compress(JPEGLSLossless)
            dataset.save_as(tmp_path / f"{n}.dcm", enforce_file_format=True)
        else:
            save(dataset, tmp_path / f"{n}.dcm", syntax)
    np.testing.assert_array_equal(read_volume(tmp_path).data, VOXELS)


@pytest.mark.usefixtures("own_process")
def test_high_throughput_jpeg_2000_is_read(tmp_path: Path) -> None:
    expected = (COLUMNS * 70 - ROWS * 130).astype(np.int16)
    dataset = picture(expected, "MONOCHROME2", HIGH_THROUGHPUT)
    volume = read_volume(packed(dataset, tmp_path / "a.dcm", HTJ2KLossless))
    np.testing.assert_array_equal(volume.data[0], expected)


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_bytes_of_the_other_order_are_not_swapped(tmp_path: Path, vr: str) -> None:
    grey = (ROWS * 16 + COLUMNS).astype(np.uint8)
    # In words of two bytes, of which the higher one comes first.
    data = grey.tobytes() if vr == "OB" else grey.reshape(-1, 2)[:, ::-1].tobytes()
    dataset = picture(grey, "MONOCHROME2", data)
    dataset["PixelData"].VR = vr
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").data[0], grey)


@pytest.mark.parametrize(
    ("name", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")]
)
def test_pixels_that_are_fractions_are_read(tmp_path: Path, name: str, kind: str) -> None:
    values = (COLUMNS / 7 - ROWS).astype(kind)
    dataset = picture(values, "MONOCHROME2", b"", **{name: values.tobytes()})
    for absent in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        del dataset[absent]
    np.testing.assert_array_equal(read_volume(save(dataset, tmp_path / "a.dcm")).data[0], values)


@pytest.mark.usefixtures("own_process")
def test_a_large_picture_is_given_the_memory_that_its_decoder_takes(tmp_path: Path) -> None:
    colours = np.zeros((3340, 2670, 3), np.uint8)
    colours[100:2000, 300:900] = (200, 30, 7)
    writer = sitk.ImageFileWriter()
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG2000")
    writer.SetFileName(str(tmp_path / "a.dcm"))
    writer.Execute(sitk.GetImageFromArray(colours, isVector=True))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").data[0], colours)


def _says_native(dataset: Dataset, path: Path) -> None:
    packed(dataset, path, RLELossless)
    path.write_bytes(path.read_bytes().replace(RLELossless.encode(), NATIVE))


def _says_packed(dataset: Dataset, path: Path) -> None:
    save(dataset, path)
    path.write_bytes(path.read_bytes().replace(NATIVE, RLELossless.encode()))


def _says_video(dataset: Dataset, path: Path) -> None:
    packed(dataset, path, MPEG2MPHL)


def _says_two_samples(dataset: Dataset, path: Path) -> None:
    dataset.SamplesPerPixel = 2
    save(dataset, path)


def _says_four_samples(dataset: Dataset, path: Path) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 4, "CMYK"
    save(dataset, path)


def _says_12_bits(dataset: Dataset, path: Path) -> None:
    dataset.BitsAllocated = 12
    save(dataset, path)


@pytest.mark.usefixtures("own_process")
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_says_two_samples, "with 2 values of 8 bits each"),
        (_says_four_samples, "with 4 values of 8 bits each"),
        (_says_12_bits, "with 1 values of 12 bits each"),
        (_says_native, "Explicit VR Little Endian, but its pixels are compressed"),
        (_says_packed, "RLE Lossless, but its pixels are not compressed"),
        (_says_video, "transfer syntax is MPEG2 .*, which this program cannot read: export"),
    ],
)
def test_what_cannot_be_decoded_is_named_by_its_cause(
    tmp_path: Path, write: Callable[[Dataset, Path], None], message: str
) -> None:
    grey = (ROWS * 16 + COLUMNS).astype(np.uint8)
    write(picture(grey, "MONOCHROME2", grey.tobytes()), tmp_path / "a.dcm")
    with pytest.raises(VolumeError, match=rf"a\.dcm: .*{message}"):
        read_volume(tmp_path / "a.dcm")


def _without_preamble(content: bytes, dataset: Dataset) -> bytes:
    return content[132:]


def _implicit(content: bytes, dataset: Dataset) -> bytes:
    return _bare(dataset, implicit=True)


def _explicit(content: bytes, dataset: Dataset) -> bytes:
    return _bare(dataset, implicit=False)


def _big(content: bytes, dataset: Dataset) -> bytes:
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    return _bare(dataset, implicit=False, little=False)


def _mistaken(content: bytes, dataset: Dataset) -> bytes:
    """Say explicit where the data are implicit."""
    end = 144 + int.from_bytes(content[140:144], "little")
    return content[:end] + _bare(dataset, implicit=True)


def _without_syntax(content: bytes, dataset: Dataset) -> bytes:
    at = content.index(b"\x02\x00\x10\x00UI")
    size = 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    length = int.from_bytes(content[140:144], "little") - size
    return content[:140] + length.to_bytes(4, "little") + content[144:at] + content[at + size :]


def _bare(dataset: Dataset, *, implicit: bool, little: bool = True) -> bytes:
    """Return the attributes alone, as DICOM goes through networks."""
    bare, out = Dataset(), io.BytesIO()
    bare.update(dataset)
    dcmwrite(out, bare, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    return out.getvalue()


@pytest.mark.parametrize(
    ("written", "suffix"),
    [
        (_without_preamble, ""),
        (_without_preamble, ".img"),
        (_implicit, ""),
        (_implicit, ".7"),
        (_explicit, ""),
        (_explicit, ".dcm"),
        (_big, ""),
        (_mistaken, ".dcm"),
        (_without_syntax, ""),
    ],
)
def test_a_series_is_known_by_what_it_holds(
    tmp_path: Path, written: Callable[[bytes, Dataset], bytes], suffix: str
) -> None:
    for n in range(len(VOXELS)):
        dataset = slice_of(VOXELS, n)
        path = save(dataset, tmp_path / f"IM{n}{suffix}")
        path.write_bytes(written(path.read_bytes(), dataset))
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, VOXELS)
    assert volume.warnings == ()


def test_a_file_is_dicom_by_what_it_holds_whatever_its_name(tmp_path: Path) -> None:
    for name in ("a.img", "a.hdr", "a.nii", "a.png", "a"):
        path = save(slice_of(VOXELS, 1), tmp_path / name)
        np.testing.assert_array_equal(read_volume(path).data[0], VOXELS[1])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("IM3", b""),
        ("IM3.dcm", b""),
        ("IM3.img", b"no image at all, but as long as a line may be" * 5),
        ("1.2.3.4.44", b"no image"),
    ],
)
def test_a_slice_that_is_no_dicom_any_more_is_told(
    tmp_path: Path, name: str, content: bytes
) -> None:
    own = Path(name).suffix
    for n in range(3):
        save(slice_of(VOXELS, n), tmp_path / f"IM{n}{own if own in ('.dcm', '.img') else ''}")
    (tmp_path / name).write_bytes(content)
    (tmp_path / "notes.txt").write_text("no slice")
    volume = read_volume(tmp_path)
    assert len(volume.data) == 3
    (warning,) = volume.warnings
    assert name in warning
    assert "notes" not in warning


def directory(path: Path) -> Path:
    """Write the table of contents of a disk."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.FileSetID, dataset.DirectoryRecordSequence = "A", []
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("name", ["DICOMDIR", "DIRFILE", "dicomdir.dcm"])
def test_a_table_of_contents_is_no_damaged_slice(tmp_path: Path, name: str) -> None:
    for n in range(3):
        save(slice_of(VOXELS, n), tmp_path / f"IM{n}")
    contents = directory(tmp_path / name)
    assert read_volume(tmp_path).warnings == ()
    with pytest.raises(VolumeError, match=r"table of contents .* Open the folder") as error:
        read_volume(contents)
    assert str(tmp_path) in str(error.value)
    assert "damaged" not in str(error.value)


def test_leftovers_of_other_systems_are_no_slices(tmp_path: Path) -> None:
    for n in range(3):
        save(slice_of(VOXELS, n), tmp_path / f"IM{n}.dcm")
        (tmp_path / f"._IM{n}.dcm").write_bytes(bytes.fromhex("0005160700020000") + bytes(100))
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert read_volume(tmp_path).warnings == ()


def test_a_series_of_links_is_read_and_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    store, series = tmp_path / "store", tmp_path / "series"
    store.mkdir()
    (series / "more").mkdir(parents=True)
    for n in range(3):
        save(slice_of(VOXELS, n), store / f"{n}")
    (series / "IM0.dcm").symlink_to(store / "0")
    (series / "more" / "links").symlink_to(store)
    (series / "more" / "round").symlink_to(series)
    assert read_volume(series).data.shape == VOXELS.shape
    (series / "IM3.dcm").symlink_to(store / "3")
    assert any("IM3.dcm: is a link to what is not there" in w for w in read_volume(series).warnings)
    with pytest.raises(VolumeError, match=r"IM3\.dcm: is a link to .*3, which is not there"):
        read_volume(series / "IM3.dcm")


def test_a_folder_of_folders_is_taken_for_dicom_when_it_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "VIEWER").mkdir()
    for n in range(40):
        (tmp_path / "VIEWER" / f"{n}.dll").write_bytes(b"MZ" + bytes(200))
    assert get_reader(str(tmp_path)) is None
    inside = tmp_path / "DICOM" / "ST0" / "SE0"
    inside.mkdir(parents=True)
    for n in range(3):
        save(slice_of(VOXELS, n), inside / f"IM{n}")
    read = get_reader(str(tmp_path))
    assert read is not None
    assert read(str(tmp_path))[0][0].shape == VOXELS.shape


def shared_alone(voxels: np.ndarray) -> Dataset:
    """Make an enhanced file that says what holds for all frames, and nothing of each."""
    dataset = enhanced(voxels)
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.PixelData = voxels.clip(0, 4095).astype("<u2").tobytes()
    return dataset


@pytest.mark.parametrize("where", ["nowhere", "in the file", "in the shared groups"])
def test_no_frame_is_lost_where_only_what_they_share_is_said(tmp_path: Path, where: str) -> None:
    dataset = shared_alone(VOXELS)
    place = Dataset()
    place.ImagePositionPatient = [-10, 20, 30]
    if where == "in the file":
        dataset.update(place)
    elif where == "in the shared groups":
        dataset.SharedFunctionalGroupsSequence[0].PlanePositionSequence = [place]
    volume = read_volume(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(volume.data, VOXELS.clip(0, 4095))
    assert volume.spacing == pytest.approx([3, 0.7, 0.5])
    assert any("could not be checked" in warning for warning in volume.warnings)
    if where != "nowhere":
        np.testing.assert_allclose(volume.affine[:3, 3], [-10, 20, 30])


def test_frames_that_say_all_but_their_place_lie_one_after_the_other(tmp_path: Path) -> None:
    dataset = enhanced(VOXELS)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        del groups.PlanePositionSequence
    dataset.ImagePositionPatient = [-10, 20, 30]
    volume = read_volume(save(dataset, tmp_path / "a.dcm"))
    assert volume.data.shape == VOXELS.shape
    assert any("could not be checked" in warning for warning in volume.warnings)


@pytest.mark.parametrize("frames", [2, 4])
def test_groups_of_another_number_than_the_frames_are_refused(tmp_path: Path, frames: int) -> None:
    dataset = enhanced(VOXELS)
    dataset.NumberOfFrames = frames
    dataset.PixelData = np.zeros((4, 20, 24), "<u2").tobytes()
    with pytest.raises(VolumeError, match=rf"describes 3 of its {frames} frames"):
        read_volume(save(dataset, tmp_path / "a.dcm"))
