"""Files that cannot be trusted are refused, by name and with a cure; nothing else ever escapes."""

from __future__ import annotations

import bz2
import gzip
import re
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.volume import read_volume

COUNTING = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def nifti_bytes(data: np.ndarray = COUNTING, affine: np.ndarray | None = None) -> bytearray:
    image = nib.Nifti1Image(data, np.eye(4) if affine is None else affine)
    return bytearray(image.to_bytes())


def patched(layout: str, offset: int, *values: float) -> bytes:
    content = nifti_bytes()
    struct.pack_into(layout, content, offset, *values)
    return bytes(content)


def sheared() -> bytes:
    affine = np.eye(4)
    affine[0, 1] = 0.3
    return bytes(nifti_bytes(affine=affine))


def broken_gzip() -> bytes:
    content = bytearray(gzip.compress(bytes(nifti_bytes())))
    content[-6] ^= 1  # the checksum
    return bytes(content)


def encoded(suffix: str, keep: float = 1.0) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 255, (3, 40, 50)).astype(np.uint8)
        flat = suffix in (".png", ".jpg", ".dcm")
        image = sitk.GetImageFromArray(noise[0] if flat else noise)
        sitk.WriteImage(image, str(folder / f"whole{suffix}"))
        content = (folder / f"whole{suffix}").read_bytes()
        (folder / "whole.raw").unlink(missing_ok=True)
        return content[: int(len(content) * keep)]

    return make


def case(keep: float = 1.0, **arrays: np.ndarray) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        np.savez(folder / "whole.npz", **arrays)
        content = (folder / "whole.npz").read_bytes()
        return content[: int(len(content) * keep)]

    return make


def four_dimensional(folder: Path) -> bytes:
    volumes = [sitk.GetImageFromArray(COUNTING)] * 3
    sitk.WriteImage(sitk.JoinSeries(volumes), str(folder / "whole.nrrd"))
    return (folder / "whole.nrrd").read_bytes()


def two_channels(folder: Path) -> bytes:
    pairs = np.stack([COUNTING, COUNTING], -1)
    sitk.WriteImage(sitk.GetImageFromArray(pairs, isVector=True), str(folder / "whole.nrrd"))
    return (folder / "whole.nrrd").read_bytes()


HUGE_NRRD = (
    b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
    b"sizes: 60000 50000 40000\nencoding: raw\nendian: little\n\n"
)


def packed(claim: bytes) -> Callable[[Path], bytes]:
    """A compressed MetaImage file that claims so many compressed bytes."""

    def make(folder: Path) -> bytes:
        image = sitk.GetImageFromArray(COUNTING)
        sitk.WriteImage(image, str(folder / "whole.mha"), useCompression=True)
        content = (folder / "whole.mha").read_bytes()
        return re.sub(rb"(CompressedDataSize = )\d+", rb"\g<1>" + claim, content)

    return make


GREY = np.arange(48, dtype=np.uint8).reshape(2, 4, 6)

BAD = [
    ("empty.nii.gz", b"", "empty"),
    ("cut.nii", bytes(nifti_bytes())[:-20], "announces 592 bytes"),
    ("cut.nii.gz", gzip.compress(bytes(nifti_bytes()))[:-30], "damaged"),
    ("checksum.nii.gz", broken_gzip(), "CRC check failed"),
    ("header.nii", bytes(nifti_bytes())[:100], "damaged or something else"),
    ("text.nii", b"hello " * 200, "damaged or something else"),
    ("claim.nii", patched("<3h", 42, 30000, 30000, 30000), "announces 54,000,000,000,352 bytes"),
    ("claim.nii.gz", gzip.compress(patched("<3h", 42, 30000, 30000, 30000)), "announces"),
    ("none.nii", patched("<h", 42, 0), "no voxels"),
    ("negative.nii", patched("<h", 42, -4), "no voxels"),
    ("type.nii", patched("<h", 70, 9999), "damaged"),
    ("complex.nii", bytes(nifti_bytes(COUNTING.astype(np.complex64))), "complex64 values"),
    ("four.nii", bytes(nifti_bytes(np.stack([COUNTING] * 7, -1))), r"holds 7 volumes.*--volume"),
    ("nan.nii", bytes(nifti_bytes(np.full((4, 5, 6), np.nan, np.float32))), "no voxel has a value"),
    ("flat.nii", bytes(nifti_bytes(COUNTING * 0 + 9)), "every voxel has the value 9"),
    ("shear.nii", sheared(), "sheared"),
    ("zero.nii", patched("<12f", 280, *[0.0] * 12), "does not place the voxels"),
    ("nowhere.nii", patched("<f", 280, np.nan), "does not place the voxels"),
    ("lonely.hdr", bytes(nifti_bytes())[:348], "damaged or something else"),
    ("cut.nrrd", encoded(".nrrd", 0.9), "announces 6,000 bytes"),
    ("cut.mha", encoded(".mha", 0.9), "announces 6,000 bytes"),
    ("packed.mha", packed(b"2147483648"), "announces 2,147,483,648 bytes"),
    ("minus.mha", packed(b"-5"), "no number of compressed bytes, but '-5'"),
    ("packed.mhd", packed(b"nan"), "no number of compressed bytes, but 'nan'"),
    ("lonely.mhd", encoded(".mhd"), "lacks the data file"),
    ("cut.png", encoded(".png", 0.9), "cannot be read as an image"),
    ("cut.jpg", encoded(".jpg", 0.9), "cut off"),
    ("cut.tif", encoded(".tif", 0.9), "cut off"),
    ("cut.dcm", encoded(".dcm", 0.9), "cannot be read as an image"),
    ("huge.nrrd", HUGE_NRRD + bytes(100), "announces"),
    ("four.nrrd", four_dimensional, "holds 3 volumes"),
    ("pairs.nrrd", two_channels, "holds 2 volumes"),
    ("text.dcm", b"hello " * 200, "cannot be read as an image"),
    ("text.txt", b"hello " * 200, r"not one of NIfTI.*DICOM.*npz"),
    ("vtk.vtk", encoded(".vtk"), "Convert it to one of these"),
    ("cut.npz", case(keep=0.7, imgs=GREY), "cannot be read as a MedSAM case"),
    ("text.npz", b"hello " * 200, "cannot be read as a MedSAM case"),
    ("other.npz", case(gts=GREY), "imgs"),
    ("pickle.npz", case(imgs=np.array([{"a": 1}], object)), "cannot be read as a MedSAM case"),
    ("float.npz", case(imgs=GREY / 2.0), "`imgs` is float64"),
    ("spacing.npz", case(imgs=GREY, spacing=np.array([1.0, 0.0, 1.0])), "above 0"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD, ids=[entry[0] for entry in BAD])
def test_bad_files_are_refused_by_name(
    tmp_path: Path, name: str, content: bytes | Callable[[Path], bytes], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content(tmp_path))
    with pytest.raises(VolumeError, match=f"(?s){message}") as error:
        read_volume(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=r"gone\.nii: there is no such file"):
        read_volume(tmp_path / "gone.nii")
    with pytest.raises(VolumeError, match="holds no DICOM images"):
        read_volume(tmp_path)
    with pytest.raises(VolumeError, match="cannot be opened"):
        read_volume(tmp_path / ("long" * 100))


@pytest.mark.parametrize("name", ["image", "image.bin", "image.nii"])
def test_nifti_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(bytes(nifti_bytes())))
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.to_source(volume.data), COUNTING)


def test_a_volume_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    (tmp_path / "a.nii").write_bytes(nifti_bytes())
    monkeypatch.setattr("napari_medsamq.io.volume.np.ascontiguousarray", refuse)
    with pytest.raises(VolumeError, match=r"a\.nii: is too large for this computer's memory"):
        read_volume(tmp_path / "a.nii")


def whole(folder: Path) -> list[Path]:
    """Write small images of all formats that take memory."""
    grey = np.random.default_rng(0).integers(0, 200, (3, 40, 50)).astype(np.uint8)
    image = sitk.GetImageFromArray(grey)
    for name in ("a.nrrd", "a.mha"):
        sitk.WriteImage(image, str(folder / name))
    sitk.WriteImage(image, str(folder / "b.nrrd"), useCompression=True)
    sitk.WriteImage(image[..., 0], str(folder / "a.png"))
    sitk.WriteImage(image[..., 0], str(folder / "a.dcm"))
    nib.save(nib.Nifti1Image(grey, np.eye(4)), folder / "a.nii.gz")
    nib.save(nib.MGHImage(grey, np.eye(4)), folder / "a.mgz")
    np.savez_compressed(folder / "a.npz", imgs=grey)
    return sorted(folder.iterdir())


def test_an_image_that_takes_more_memory_than_is_free_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = whole(tmp_path)
    assert len(paths) == 8
    for path in paths:
        with monkeypatch.context() as patch:
            patch.setattr("napari_medsamq.io.source.free_memory", lambda: 1000)
            with pytest.raises(VolumeError, match="is too large for this computer's memory"):
                read_volume(path)
        assert read_volume(path).data.size >= 2000


PACKED_HEADER = (
    b"NRRD0004\ntype: short\ndimension: 3\nsizes: 600 600 600\nendian: little\nencoding: %s\n\n"
)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("bzip2", bz2.compress)])
def test_packed_voxels_take_no_more_memory_than_there_are(
    tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 600_000, np.uint8).tobytes()
    (tmp_path / "a.nrrd").write_bytes(PACKED_HEADER % encoding.encode() + pack(noise))
    tracemalloc.start()
    try:
        with pytest.raises(VolumeError, match="announces 432,000,000 bytes"):
            read_volume(tmp_path / "a.nrrd")
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


SUPPRESSED = [HealthCheck.function_scoped_fixture]


@settings(max_examples=200, deadline=None, suppress_health_check=SUPPRESSED)
@given(changes=st.dictionaries(st.integers(0, 351), st.integers(0, 255), min_size=1, max_size=4))
def test_a_damaged_nifti_header_never_gives_another_error(
    tmp_path: Path, changes: dict[int, int]
) -> None:
    content = nifti_bytes()
    for offset, value in changes.items():
        content[offset] = value
    (tmp_path / "a.nii").write_bytes(content)
    with suppress(VolumeError):
        volume = read_volume(tmp_path / "a.nii")
        assert np.isfinite(volume.affine).all()
        assert volume.to_source(volume.data).shape == volume.source.shape


@settings(max_examples=60, deadline=None, suppress_health_check=SUPPRESSED)
@given(
    suffix=st.sampled_from([".nrrd", ".mha", ".png", ".tif", ".dcm"]),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_other_damaged_files_never_give_another_error(
    tmp_path: Path, suffix: str, places: list[tuple[float, int]]
) -> None:
    content = bytearray(encoded(suffix)(tmp_path))
    for place, value in places:
        content[int(place * min(len(content), 800))] = value
    (tmp_path / f"a{suffix}").write_bytes(content)
    with suppress(VolumeError):
        assert read_volume(tmp_path / f"a{suffix}").data.size > 0
