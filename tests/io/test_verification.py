"""A file that is not what was to be saved is never kept, however little is wrong with it."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_series import write_series
from grids import grid_affine
from pydicom.pixels import pack_bits
from sources import label_at, names_in, volume_of

from napari_medsamq.errors import SaveError
from napari_medsamq.io import nifti
from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.label_writer import FORMATS, write_label
from napari_medsamq.io.volume import Volume, read_volume

ENCODERS = {suffix: own for known in FORMATS for suffix, own in known.encoders.items()}
SEGMENTS = {3: Segment("Left kidney", "#E69F00"), 300: Segment("Cyst", "#0072B2")}
Damage = Callable[[bytes], bytes]


# Tilted, with pixels so large that an outline off by 1 mm has the same ones.
AFFINE = grid_affine((0, 1, 2), (1, 1, 1), (8, -5, 12), (3.5, 3.0, 4.0))
# To the next column, row and slice.
STEPS = AFFINE[:3, :3].T


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    voxels = np.arange(12 * 10 * 5).reshape(12, 10, 5).astype(np.int16)
    return read_volume(write_series(tmp_path_factory.mktemp("series"), voxels, AFFINE))


@pytest.fixture(scope="module")
def written(volume: Volume, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the files of all formats hold, by suffix."""
    folder, found = tmp_path_factory.mktemp("written"), {}
    for suffix in WRONG:
        write_label(folder / f"a{suffix}", structures(volume), volume, SEGMENTS)
        found[suffix] = (folder / f"a{suffix}").read_bytes()
    return found


def structures(volume: Volume) -> np.ndarray:
    """Label two structures of one size and shape, on three slices each, off the border."""
    label = np.zeros(volume.data.shape, np.uint16)
    for label_id, left in ((3, 2), (300, 7)):
        label[1:4, 2:6, left : left + 3] = label_id
        label[2, 6, left] = label_id
        label[3, 6:8, left] = label_id
    return label


def on_nifti(change: Callable[[np.ndarray, Any], np.ndarray | None]) -> Damage:
    """Change the voxels (i, j, k) and the header of a packed NIfTI."""

    def damage(content: bytes) -> bytes:
        plain = gzip.decompress(content)
        header = nib.Nifti1Header(plain[:348])
        flat = np.frombuffer(plain, header.get_data_dtype(), offset=352)
        voxels = flat.reshape(header.get_data_shape(), order="F").copy()
        changed = change(voxels, header)
        voxels = voxels if changed is None else changed
        header.set_data_dtype(voxels.dtype)
        header.set_data_shape(voxels.shape)
        raw = header.binaryblock + bytes(4) + voxels.tobytes(order="F")
        return gzip.compress(raw)

    return damage


def on_nrrd(change: Callable[[str, np.ndarray], tuple[str, np.ndarray]]) -> Damage:
    """Change the header and the voxels (i, j, k) of a .seg.nrrd."""

    def damage(content: bytes) -> bytes:
        head, packed = content.split(b"\n\n", 1)
        flat = np.frombuffer(gzip.decompress(packed), "<u2")
        text, voxels = change(head.decode(), flat.reshape(12, 10, 5, order="F").copy())
        return text.encode() + b"\n\n" + gzip.compress(voxels.tobytes(order="F"))

    return damage


def on_dicom(change: Callable[[pydicom.Dataset], None]) -> Damage:
    def damage(content: bytes) -> bytes:
        dataset, changed = pydicom.dcmread(BytesIO(content)), BytesIO()
        change(dataset)
        dataset.save_as(changed)
        return changed.getvalue()

    return damage


def replaced(old: str, new: str) -> Damage:
    def change(text: str, voxels: np.ndarray) -> tuple[str, np.ndarray]:
        assert text.count(old) == 1
        return text.replace(old, new), voxels

    return on_nrrd(change)


def swapped(voxels: np.ndarray) -> np.ndarray:
    """Give each structure the other one's number: equal counts, equal sum."""
    return np.select([voxels == 3, voxels == 300], [300, 3], 0).astype(voxels.dtype)


def less_one(voxels: np.ndarray) -> np.ndarray:
    voxels[tuple(np.argwhere(voxels)[0])] = 0
    return voxels


def moved(header: Any) -> None:
    header["srow_x"][3] += 1
    header["qoffset_x"] += 1


def turned(header: Any) -> None:
    """Leave the place to the quaternion, which says another one."""
    header["sform_code"] = 0
    header["qoffset_x"] += 1


def set_field(name: str, value: Any) -> Damage:
    return on_nifti(lambda _, header: header.__setitem__(name, value))


def origin_moved(text: str, voxels: np.ndarray) -> tuple[str, np.ndarray]:
    lines = text.split("\n")
    (place,) = [n for n, line in enumerate(lines) if line.startswith("space origin")]
    numbers = [float(part) for part in lines[place].split("(")[1].rstrip(")").split(",")]
    lines[place] = f"space origin: ({numbers[0] + 1},{numbers[1]},{numbers[2]})"
    return "\n".join(lines), voxels


def wider(text: str, voxels: np.ndarray) -> tuple[str, np.ndarray]:
    """Make pixels wider by so much that the far end is off by a millimetre."""
    lines = text.split("\n")
    (place,) = [n for n, line in enumerate(lines) if line.startswith("space directions")]
    first, rest = lines[place].split("(", 1)[1].split(")", 1)
    step = np.array(first.split(","), float)
    step *= 1 + 1 / 12 / np.linalg.norm(step)
    lines[place] = f"space directions: ({','.join(map(str, step))}){rest}"
    return "\n".join(lines), voxels


def pixels(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def apply(seg: pydicom.Dataset) -> None:
        seg.PixelData = pack_bits(np.ascontiguousarray(change(seg.pixel_array)))

    return on_dicom(apply)


def frames(seg: pydicom.Dataset) -> Any:
    return seg.PerFrameFunctionalGroupsSequence


def away(where: Any, mm: np.ndarray) -> None:
    where.ImagePositionPatient = [float(x) for x in np.array(where.ImagePositionPatient) + mm]


def normal(dataset: pydicom.Dataset) -> np.ndarray:
    along, down = np.reshape(_orientation(dataset), (2, 3))
    return np.cross(along, down)


def _orientation(dataset: pydicom.Dataset) -> np.ndarray:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    turn = shared.PlaneOrientationSequence[0]
    return np.array(turn.ImageOrientationPatient, float)


def all_frames_moved(direction: Callable[[pydicom.Dataset], np.ndarray]) -> Damage:
    def apply(seg: pydicom.Dataset) -> None:
        for groups in frames(seg):
            away(groups.PlanePositionSequence[0], direction(seg))

    return on_dicom(apply)


def one_frame_moved(seg: pydicom.Dataset) -> None:
    away(frames(seg)[-1].PlanePositionSequence[0], normal(seg))


def first_and_last_change_places(seg: pydicom.Dataset) -> None:
    first, last = (frames(seg)[n].PlanePositionSequence[0] for n in (0, 2))
    first.ImagePositionPatient, last.ImagePositionPatient = (
        last.ImagePositionPatient,
        first.ImagePositionPatient,
    )


def tilted(seg: pydicom.Dataset) -> None:
    """Turn slices in their plane until their far end is off by a millimetre."""
    along, down = np.reshape(_orientation(seg), (2, 3))
    angle = 1 / 42
    turned = (
        along * np.cos(angle) + down * np.sin(angle),
        down * np.cos(angle) - along * np.sin(angle),
    )
    turn = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    turn.ImageOrientationPatient = [round(float(x), 12) for x in np.concatenate(turned)]


def larger_pixels(seg: pydicom.Dataset) -> None:
    size = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    size.PixelSpacing = [size.PixelSpacing[0], size.PixelSpacing[1] + 1 / 12]


def larger_pixels_of_one_frame(seg: pydicom.Dataset) -> None:
    shared = seg.SharedFunctionalGroupsSequence[0]
    for groups in frames(seg):
        groups.PixelMeasuresSequence = [pydicom.Dataset()]
        groups.PixelMeasuresSequence[0].update(shared.PixelMeasuresSequence[0])
    del shared.PixelMeasuresSequence
    size = frames(seg)[-1].PixelMeasuresSequence[0]
    size.PixelSpacing = [size.PixelSpacing[0], size.PixelSpacing[1] + 1 / 12]


def without_last_frame(seg: pydicom.Dataset) -> None:
    seg.PixelData = pack_bits(seg.pixel_array[:-1])
    seg.NumberOfFrames -= 1
    del frames(seg)[-1]


def renamed(sequence: str, keyword: str) -> Damage:
    return on_dicom(lambda dataset: setattr(getattr(dataset, sequence)[-1], keyword, "Liver"))


def names_change_places(sequence: str, keyword: str) -> Damage:
    def apply(dataset: pydicom.Dataset) -> None:
        one, other = getattr(dataset, sequence)
        first, second = one[keyword].value, other[keyword].value
        setattr(one, keyword, second)
        setattr(other, keyword, first)

    return on_dicom(apply)


def lighter(segment: pydicom.Dataset) -> None:
    """By the least that is seen: 1 % of all."""
    light, *rest = segment.RecommendedDisplayCIELabValue
    segment.RecommendedDisplayCIELabValue = [light + 655, *rest]


def bluer(roi: pydicom.Dataset) -> None:
    red, green, blue = roi.ROIDisplayColor
    roi.ROIDisplayColor = [red, green, (int(blue) + 1) % 256]


def contours(rt: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for roi in rt.ROIContourSequence:
        yield from roi.ContourSequence


def push(contour: pydicom.Dataset, mm: np.ndarray) -> None:
    points = np.reshape(np.array(contour.ContourData, float), (-1, 3)) + mm
    contour.ContourData = [f"{x:.5f}" for x in points.ravel()]


def contours_pushed(mm: np.ndarray, *, only_last: bool = False) -> Damage:
    def apply(rt: pydicom.Dataset) -> None:
        for contour in list(contours(rt))[-1 if only_last else 0 :]:
            push(contour, mm)

    return on_dicom(apply)


def without_last_contour(rt: pydicom.Dataset) -> None:
    del rt.ROIContourSequence[-1].ContourSequence[-1]


def without_last_structure(rt: pydicom.Dataset) -> None:
    del rt.ROIContourSequence[-1]


def one_structure_twice(rt: pydicom.Dataset) -> None:
    """The first time elsewhere."""
    rt.ROIContourSequence.insert(0, deepcopy(rt.ROIContourSequence[0]))
    for contour in rt.ROIContourSequence[0].ContourSequence:
        push(contour, unit(STEPS[0]))


def one_contour_twice(rt: pydicom.Dataset) -> None:
    found = rt.ROIContourSequence[0].ContourSequence
    found.append(found[0])


def one_more_contour(rt: pydicom.Dataset) -> None:
    """On a slice that the structure is not on."""
    found = rt.ROIContourSequence[0].ContourSequence
    found.append(deepcopy(found[0]))
    push(found[-1], -STEPS[2])


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def cut_short(content: bytes) -> bytes:
    return content[: len(content) * 3 // 4]


WRONG: dict[str, dict[str, Damage]] = {
    ".nii.gz": {
        "voxels moved": on_nifti(lambda voxels, _: np.roll(voxels, 1, 0)),
        "slices moved": on_nifti(lambda voxels, _: np.roll(voxels, 1, 2)),
        "mirrored": on_nifti(lambda voxels, _: voxels[:, ::-1]),
        "structures swapped": on_nifti(lambda voxels, _: swapped(voxels)),
        "a voxel missing": on_nifti(lambda voxels, _: less_one(voxels)),
        "another type": on_nifti(lambda voxels, _: voxels.astype(np.int32)),
        "another shape": on_nifti(lambda voxels, _: voxels[..., :-1]),
        "off by 1 mm": on_nifti(lambda _, header: moved(header)),
        "rows off by 1 mm": on_nifti(lambda _, header: header["srow_y"].__iadd__([0, 0, 0, 1])),
        "quaternion off by 1 mm": set_field("qoffset_z", 1.0),
        "pixels larger": on_nifti(lambda _, header: header["pixdim"][1:2].__iadd__(1 / 12)),
        "no sform": set_field("sform_code", 0),
        "by the quaternion alone": on_nifti(lambda _, header: turned(header)),
        "another unit": set_field("xyzt_units", 1),
        "cut short": cut_short,
    },
    ".seg.nrrd": {
        "voxels moved": on_nrrd(lambda text, voxels: (text, np.roll(voxels, 1, 0))),
        "slices moved": on_nrrd(lambda text, voxels: (text, np.roll(voxels, 1, 2))),
        "structures swapped": on_nrrd(lambda text, voxels: (text, swapped(voxels))),
        "a voxel missing": on_nrrd(lambda text, voxels: (text, less_one(voxels))),
        "off by 1 mm": on_nrrd(origin_moved),
        "pixels wider": on_nrrd(wider),
        "another name": replaced("Name:=Left kidney", "Name:=Right kidney"),
        "no name": replaced("Segment1_Name:=Cyst\n", ""),
        "another colour": replaced("Segment0_Color:=0.90", "Segment0_Color:=0.10"),
        "another number": replaced("Segment1_LabelValue:=300", "Segment1_LabelValue:=301"),
        "another side": replaced("left-posterior-superior", "right-anterior-superior"),
        "no sides": replaced("space: left-posterior-superior", "space dimension: 3"),
        "cut short": cut_short,
    },
    ".dcm": {
        "voxels moved": pixels(lambda masks: np.roll(masks, 1, 2)),
        "structures swapped": pixels(lambda masks: masks[[3, 4, 5, 0, 1, 2]]),
        "voxels of both structures": pixels(lambda masks: masks | masks[[3, 4, 5, 3, 4, 5]]),
        "slices change places": on_dicom(first_and_last_change_places),
        "a voxel missing": pixels(lambda masks: np.stack([*masks[:-1], less_one(masks[-1])])),
        "off by 1 mm": all_frames_moved(normal),
        "off by 1 mm within slices": all_frames_moved(lambda seg: _orientation(seg)[:3]),
        "one slice off by 1 mm": on_dicom(one_frame_moved),
        "turned": on_dicom(tilted),
        "pixels larger": on_dicom(larger_pixels),
        "pixels of a slice larger": on_dicom(larger_pixels_of_one_frame),
        "another name": renamed("SegmentSequence", "SegmentLabel"),
        "names swapped": names_change_places("SegmentSequence", "SegmentLabel"),
        "another number": names_change_places("SegmentSequence", "TrackingID"),
        "another colour": on_dicom(lambda seg: lighter(seg.SegmentSequence[-1])),
        "colours swapped": names_change_places("SegmentSequence", "RecommendedDisplayCIELabValue"),
        "no colour": on_dicom(
            lambda seg: seg.SegmentSequence[-1].pop("RecommendedDisplayCIELabValue")
        ),
        "a slice missing": on_dicom(without_last_frame),
        "cut short": cut_short,
    },
    ".rtstruct.dcm": {
        "moved by a pixel": contours_pushed(STEPS[0]),
        "moved by a slice": contours_pushed(STEPS[2]),
        "off by 1 mm": contours_pushed(unit(STEPS[2])),
        "off by 1 mm within slices": contours_pushed(unit(STEPS[0])),
        "one off by 1 mm": contours_pushed(unit(STEPS[1]), only_last=True),
        "another name": renamed("StructureSetROISequence", "ROIName"),
        "names swapped": names_change_places("StructureSetROISequence", "ROIName"),
        "numbers swapped": names_change_places("ROIContourSequence", "ReferencedROINumber"),
        "another colour": on_dicom(lambda rt: bluer(rt.ROIContourSequence[-1])),
        "colours swapped": names_change_places("ROIContourSequence", "ROIDisplayColor"),
        "no colour": on_dicom(lambda rt: rt.ROIContourSequence[-1].pop("ROIDisplayColor")),
        "a contour missing": on_dicom(without_last_contour),
        "a contour twice": on_dicom(one_contour_twice),
        "a contour more": on_dicom(one_more_contour),
        "a structure missing": on_dicom(without_last_structure),
        "a structure twice": on_dicom(one_structure_twice),
        "cut short": cut_short,
    },
}


def save_instead(
    content: bytes, path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Save the label, of which other bytes come to the disk."""
    encoder = ENCODERS[path.name.removeprefix("a")]
    monkeypatch.setattr(encoder, "write", lambda self, file: file.write(content))
    write_label(path, structures(volume), volume, SEGMENTS)


@pytest.mark.parametrize(
    ("suffix", "wrong"), [(suffix, wrong) for suffix, known in WRONG.items() for wrong in known]
)
def test_what_is_wrong_is_not_kept(
    suffix: str,
    wrong: str,
    volume: Volume,
    written: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the one before")
    content = WRONG[suffix][wrong](written[suffix])
    with pytest.raises(SaveError, match=r"what was written .*Nothing was replaced"):
        save_instead(content, path, volume, monkeypatch)
    assert path.read_bytes() == b"the one before"
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("suffix", "same"),
    [
        (".nii.gz", on_nifti(lambda voxels, _: voxels)),
        (".seg.nrrd", on_nrrd(lambda text, voxels: (text, voxels))),
        (".dcm", pixels(lambda masks: masks)),
        (".rtstruct.dcm", contours_pushed(0 * STEPS[0])),
    ],
)
def test_what_is_only_written_again_is_kept(
    suffix: str,
    same: Damage,
    volume: Volume,
    written: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that it is the damage that is noticed above."""
    save_instead(same(written[suffix]), tmp_path / f"a{suffix}", volume, monkeypatch)
    assert names_in(tmp_path) == [f"a{suffix}"]


@pytest.mark.parametrize(
    ("codes", "made", "words"),
    [
        ((1, 1), moved, "lies elsewhere in the patient"),
        ((0, 0), lambda header: header.set_sform(AFFINE, 1), "says of the sides of the patient"),
    ],
)
def test_a_header_that_was_made_wrong_is_not_taken_for_the_images(
    codes: tuple[int, int],
    made: Callable[[Any], None],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is read back is what was written, but not what the image says."""
    image, make = volume_of(tmp_path / "image.nii", codes=codes), nifti.label_header

    def wrong(*of_what: Any) -> Any:
        header = make(*of_what)
        made(header)
        return header

    monkeypatch.setattr(nifti, "label_header", wrong)
    with pytest.raises(SaveError, match=words):
        write_label(tmp_path / "a.nii.gz", label_at(image, (0, 0, 0)), image)
    assert names_in(tmp_path) == ["image.nii"]
