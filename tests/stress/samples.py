"""Small whole files of every kind that the program reads, and ways to damage them."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from napari_medsamq.inference.model_choice import FAST_MODEL, MODELS
from napari_medsamq.records.journal_format import Record, append_record, write_head

SHAPE = (6, 20, 24)
EXTREMES = (0, 1, -1, 127, 255, 32767, 65535, 2**31 - 1, -(2**31), 2**24)
NUMBERS = (b"0", b"-1", b"999999999999", b"1e300", b"nan", b"", b"2147483648", b"70000")

INSERTED = (
    *(b"%", b"%n", b"%s", b"%9999999d", b"%c./", b"%d 0 5 1", b"\r", b"\r\n\r\n", b"\n\n", b"\0"),
    *(b"\\", b"../", b"/etc/hostname\n", b"LIST\n", b"\xef\xbb\xbf", b"\rElementDataFile = x\r"),
    *(
        b"\nElementDataFile = ../x.raw\n",
        b"\nElementDataFile = LOCAL\n",
        b"\ndata file: ../x.raw\n",
    ),
)

KEY = "0" * 64  # the hash of the journal's volume

Rng = np.random.Generator


def write_samples(folder: Path) -> list[Path]:
    """Write one file of each kind, and return those to damage; what they need lies beside them."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(-900, 1200, SHAPE).astype(np.int16)
    found = [*_nifti(folder, voxels), *_itk(folder, voxels), *_dicom(folder, voxels)]
    grey = (voxels % 251).astype(np.uint8)
    np.savez(folder / "a.npz", imgs=grey, spacing=np.array([0.5, 0.7, 3.0]))
    np.savez_compressed(folder / "b.npz", imgs=grey[0], spacing=np.array([0.5, 0.7, 3.0]))
    shutil.copyfile(MODELS / FAST_MODEL / "model.json", folder / "model.json")
    with (folder / "a.journal").open("wb") as file:
        write_head(file)
        head = {"kind": "volume", "sha256": KEY, "name": "a", "path": None, "shape": list(SHAPE)}
        append_record(file, Record(head, {}))
        inside = np.arange(5, 300)
        box = {"box": "2d", "axis": 0, "index": 1, "x0": 2, "y0": 2, "x1": 9, "y1": 9}
        edit = {"kind": "edit", "name": "box", "group": None, "by_hand": False, "prompts": [0]}
        edit |= {"fresh": [{"number": 0, "label": 1, **box}], "window": [40.0, 400.0]}
        arrays = {"voxels": inside, "prompt 0": inside, "before": np.zeros(295, np.uint16)}
        append_record(file, Record(edit, {**arrays, "after": np.ones(295, np.uint16)}))
        style = {"name": "Liver", "color": "#123456", "locked": True}
        append_record(file, Record({"kind": "style", "label": 1, "style": style}, {}))
        append_record(file, Record({"kind": "undo"}, {}))
    return [*found, *(folder / name for name in ("a.npz", "b.npz", "model.json", "a.journal"))]


def _nifti(folder: Path, voxels: np.ndarray) -> list[Path]:
    affine = np.diag([0.5, 0.7, 3, 1])
    plain = nib.Nifti1Image(voxels, affine)
    scaled = nib.Nifti1Image(voxels.astype(np.float32) / 3, affine)
    scaled.set_data_dtype(np.int16)
    series = nib.Nifti1Image(np.stack([voxels] * 3, -1), affine)
    for name, image in [("a.nii", plain), ("a.nii.gz", plain), ("b.nii", scaled)]:
        nib.save(image, folder / name)
    nib.save(series, folder / "c.nii.gz")
    nib.save(nib.Nifti2Image(voxels, affine), folder / "d.nii")
    nib.save(nib.AnalyzeImage(voxels, affine), folder / "e.img")
    nib.save(nib.Nifti1Pair(voxels, affine), folder / "f.img")
    nib.save(nib.Nifti1Pair(voxels, affine), folder / "g.img.gz")
    nib.save(nib.MGHImage(voxels.astype(np.int32), affine), folder / "a.mgh")
    nib.save(nib.MGHImage(voxels.astype(np.int32), affine), folder / "a.mgz")
    table = b'<LabelTable><Label Key="1" Red="1" Green="0" Blue="0">liver</Label></LabelTable>'
    for code in (0, 6, 30):
        plain.header.extensions.append(nib.nifti1.Nifti1Extension(code, table))
    nib.save(plain, folder / "h.nii")
    names = ("a.nii", "a.nii.gz", "b.nii", "c.nii.gz", "d.nii", "e.hdr", "f.hdr", "f.img")
    more = ("g.hdr.gz", "g.img.gz", "a.mgh", "a.mgz", "h.nii")
    return [folder / name for name in names + more]


def _itk(folder: Path, voxels: np.ndarray) -> list[Path]:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.5, 0.7, 3.0))
    picture = sitk.GetImageFromArray((voxels[0] % 251).astype(np.uint8))
    for suffix in (".nrrd", ".nhdr", ".mha", ".mhd"):
        sitk.WriteImage(image, str(folder / f"a{suffix}"))
    for suffix in (".nrrd", ".mha"):
        sitk.WriteImage(image, str(folder / f"b{suffix}"), useCompression=True)
    # Slices in files of their own, which a header numbers or lists.
    files = [f"l_{n}.raw" for n in range(len(voxels))]
    for file, plane in zip(files, voxels, strict=True):
        (folder / file).write_bytes(plane.astype("<i2").tobytes())
    listed = "".join(f"{file}\n" for file in files)
    sizes = " ".join(map(str, voxels.shape[::-1]))
    meta = f"NDims = 3\nDimSize = {sizes}\nElementType = MET_SHORT\nElementDataFile = "
    nrrd = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: raw\n"
    (folder / "l.mhd").write_text(f"{meta}l_%d.raw 0 {len(files) - 1} 1\n")
    (folder / "l.nhdr").write_text(f"{nrrd}data file: LIST\n{listed}")
    figures = " ".join(map(str, voxels.reshape(-1)))
    (folder / "t.nrrd").write_text(f"{nrrd.replace('raw', 'ascii')}\n{figures}\n")
    for suffix in (".png", ".tif", ".jpg"):
        sitk.WriteImage(picture, str(folder / f"a{suffix}"))
    names = ("a.nrrd", "b.nrrd", "a.nhdr", "a.mha", "b.mha", "a.mhd", "a.png", "a.tif", "a.jpg")
    return [folder / name for name in (*names, "l.mhd", "l.nhdr", "t.nrrd")]


def slice_of(voxels: np.ndarray, number: int) -> Dataset:
    """Make a CT slice of an array (z, y, x)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"1.2.3.4.{number + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    dataset.Modality, dataset.SeriesDescription = "CT", "made up"
    dataset.InstanceNumber = number + 1
    dataset.ImagePositionPatient = [-10, 20, 3.0 * number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.5], 3.0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = voxels.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = (voxels[number] + 1024).clip(0, 4095).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def enhanced(voxels: np.ndarray) -> Dataset:
    """Make an enhanced MR file of an array (z, y, x), whose slices it has in reverse order."""
    dataset = slice_of(voxels, 0)
    dataset.SOPClassUID, dataset.Modality = EnhancedMRImageStorage, "MR"
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del dataset[name]
    del dataset.RescaleSlope, dataset.RescaleIntercept
    order = range(len(voxels))[::-1]
    shared, turn, measures = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.5], 3.0
    shared.PlaneOrientationSequence = Sequence([turn])
    shared.PixelMeasuresSequence = Sequence([measures])
    frames = []
    for n in order:
        frame, place, values = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [-10, 20, 3.0 * n]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, -5 * n, "US"
        frame.PlanePositionSequence = Sequence([place])
        frame.PixelValueTransformationSequence = Sequence([values])
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.NumberOfFrames = len(voxels)
    dataset.PixelData = voxels[list(order)].clip(0, 4095).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a dataset in a transfer syntax that pydicom writes."""
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    elif syntax == ExplicitVRBigEndian:
        swapped = np.frombuffer(dataset.PixelData, "<u2").astype(">u2")
        dataset.PixelData = swapped.tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def compress(path: Path, name: str) -> Path:
    """Write a file anew, compressed by GDCM: JPEG2000 or JPEG."""
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.UseCompressionOn()
    writer.SetCompressor(name)
    writer.SetFileName(str(path))
    image = sitk.ReadImage(str(path))
    writer.Execute(image)
    return path


def _dicom(folder: Path, voxels: np.ndarray) -> list[Path]:
    found = [
        save(slice_of(voxels, 1), folder / "a.dcm"),
        save(slice_of(voxels, 1), folder / "b.dcm", ImplicitVRLittleEndian),
        save(slice_of(voxels, 1), folder / "c.dcm", ExplicitVRBigEndian),
        save(slice_of(voxels, 1), folder / "d.dcm", RLELossless),
        compress(save(slice_of(voxels, 1), folder / "e.dcm"), "JPEG2000"),
        compress(save(slice_of(voxels, 1), folder / "f.dcm"), "JPEG"),
        save(enhanced(voxels), folder / "g.dcm"),
    ]
    series = folder / "series"
    series.mkdir()
    for n in range(3):
        save(slice_of(voxels, n), series / f"{n}.dcm")
    return [*found, series]


def damage(path: Path, rng: Rng) -> bytes:
    """Return a file's content, damaged in one way or another."""
    content = path.read_bytes()
    packed = path.name.endswith(".gz")
    inside = rng.random() < 0.8
    if packed and inside:
        return gzip.compress(_damaged(gzip.decompress(content), rng, 360), mtime=0)
    if path.suffix == ".npz" and inside:
        return _rezipped(content, rng)
    if path.suffix == ".journal" and inside:
        return _rejournaled(content, rng)
    return _damaged(content, rng, _HEADERS.get(path.suffix, 400))


_HEADERS = {".nii": 540, ".hdr": 348, ".dcm": 1200, ".img": 400}


def _damaged(content: bytes, rng: Rng, header: int) -> bytes:
    changed = bytearray(content)
    size = len(changed)
    # Headers matter most, but not alone.
    end = min(size, header) if rng.random() < 0.75 else size
    ways: list[Callable[[], bytes]] = [
        lambda: _bytes(changed, rng, end),
        lambda: _bytes(changed, rng, end),
        lambda: _numbers(changed, rng, end),
        lambda: _numbers(changed, rng, end),
        lambda: _text(bytes(changed), rng, end),
        lambda: bytes(changed[: int(rng.integers(0, size))]),
        lambda: _moved(changed, rng),
        lambda: _inserted(bytes(changed), rng, end),
        lambda: _inserted(bytes(changed), rng, end),
    ]
    return ways[int(rng.integers(len(ways)))]()


def _bytes(content: bytearray, rng: Rng, end: int) -> bytes:
    for _ in range(int(rng.integers(1, 9))):
        content[int(rng.integers(end))] = int(rng.integers(256))
    return bytes(content)


def _numbers(content: bytearray, rng: Rng, end: int) -> bytes:
    layout = "<i" if rng.random() < 0.6 else rng.choice(["<h", ">i", ">h", "<q"])
    size = struct.calcsize(str(layout))
    if end <= size:
        return bytes(content)
    value = int(rng.choice(EXTREMES)) & (256**size - 1)
    place = int(rng.integers(end - size)) // 2 * 2
    order = "little" if layout[0] == "<" else "big"
    content[place : place + size] = value.to_bytes(size, order)  # type: ignore[arg-type]
    return bytes(content)


def _text(content: bytes, rng: Rng, end: int) -> bytes:
    """Change one of the numbers that are written in figures."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content[:end]))
    if not found:
        return _bytes(bytearray(content), rng, end)
    match = found[int(rng.integers(len(found)))]
    number = NUMBERS[int(rng.integers(len(NUMBERS)))]
    return content[: match.start()] + number + content[match.end() :]


def _moved(content: bytearray, rng: Rng) -> bytes:
    start, stop = sorted(int(n) for n in rng.integers(0, len(content), 2))
    block = content[start:stop]
    if rng.random() < 0.5:
        return bytes(content[:stop] + block + content[stop:])
    return bytes(content[:start] + bytes(len(block)) + content[stop:])


def _inserted(content: bytes, rng: Rng, end: int) -> bytes:
    """Put in what one reader of a header may take for something else than another one does."""
    part = INSERTED[int(rng.integers(len(INSERTED)))]
    # After a field's sign as often as anywhere.
    signs = [match.end() for match in re.finditer(rb"[=:] ?", content[:end])]
    place = int(rng.choice(signs)) if signs and rng.random() < 0.5 else int(rng.integers(end + 1))
    return content[:place] + part + content[place:]


def _rezipped(content: bytes, rng: Rng) -> bytes:
    """Damage one of the arrays of an archive that is itself whole."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        chosen = int(rng.integers(len(old.infolist())))
        for n, member in enumerate(old.infolist()):
            array = old.read(member)
            content = _damaged(array, rng, 128) if n == chosen else array
            new.writestr(member.filename, content, member.compress_type)
    return out.getvalue()


def _rejournaled(content: bytes, rng: Rng) -> bytes:
    """Damage a record, and make its checksum right again."""
    head, rest = content[:19], content[19:]
    parts = []
    while rest:
        (length,) = struct.unpack_from("<I", rest)
        parts.append(rest[8 : 8 + length])
        rest = rest[8 + length :]
    chosen = int(rng.integers(len(parts)))
    if rng.random() < 0.2:
        parts[chosen] = _swollen(rng)
    else:
        parts[chosen] = _damaged(parts[chosen], rng, 300)
    framed = [struct.pack("<II", len(part), zlib.crc32(part)) + part for part in parts]
    return head + b"".join(framed)


def _swollen(rng: Rng) -> bytes:
    """Return a record of an edit that unpacks to far more than it takes in the file: 512 MB."""
    many = int(rng.choice([1, 4, 128]))
    packer = zlib.compressobj(1)
    zeros = bytes(1 << 20)
    packed = b"".join(packer.compress(zeros) for _ in range(512 // many)) + packer.flush()
    names = ["voxels", "before", "after", *(f"prompt {n}" for n in range(many))][:many]
    said = {"dtype": "int64", "count": (512 << 17) // many, "bytes": len(packed)}
    fresh = [{"number": n} for n in range(int(rng.choice([0, many])))]
    content = {"kind": "edit", "fresh": fresh, "arrays": dict.fromkeys(names, said)}
    head = json.dumps(content).encode()
    return struct.pack("<I", len(head)) + head + packed * many


def nested_json(depth: int) -> bytes:
    """Return JSON that is deeper than any reader follows."""
    return b"[" * depth + b"]" * depth


def large_number() -> bytes:
    """Return JSON with a number that no machine holds."""
    return json.dumps({"format_version": 10**400}).encode()
