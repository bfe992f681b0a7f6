"""Label files come onto the volume's grid, with names and colours, or not at all."""

from __future__ import annotations

import logging
import struct
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import write_series
from grids import grid_affine
from scripted_engine import ScriptedEngine
from sources import RAS, write_nifti

from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.annotation.label_import import import_label
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import PromptError, VolumeError
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.dicom import seg
from napari_medsamq.io.dicom.references import quietly
from napari_medsamq.io.label_format import Segment
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.labels import LabelFile, looks_like_label, read_label, read_label_file
from napari_medsamq.io.volume import Volume, read_volume, volume_hash
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.journal_format import read_journal
from napari_medsamq.records.recording import Recorder, restore

pytestmark = pytest.mark.usefixtures("same_process")

SHAPE = (20, 18, 10)
AFFINE = grid_affine((0, 1, 2), (1, -1, 1), (10, -5, 8), (1, 1.5, 3))


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    ramp = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    return read_volume(write_nifti(tmp_path / "image.nii.gz", ramp, AFFINE))


def save(path: Path, ijk: np.ndarray, affine: np.ndarray = AFFINE, code: int = 1) -> Path:
    image = nib.Nifti1Image(ijk, RAS @ affine)
    image.set_qform(RAS @ affine, code=code)
    image.set_sform(RAS @ affine, code=code)
    nib.save(image, path)
    return path


def drawn() -> np.ndarray:
    """Two labels (i, j, k), not alike along any axis."""
    label = np.zeros(SHAPE, np.uint8)
    label[3:9, 4:14, 2:6] = 1
    label[12:15, 4:8, 5:9] = 5
    return label


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_label_of_the_same_grid_is_taken_as_it_is(
    tmp_path: Path, volume: Volume, dtype: type
) -> None:
    found = read_label(save(tmp_path / "label.nii.gz", drawn().astype(dtype)), volume)
    np.testing.assert_array_equal(volume.to_source(found.label), drawn())
    assert (found.notes, found.segments) == ((), {})


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_labels_look_like_labels(tmp_path: Path, dtype: type) -> None:
    path = save(tmp_path / "label.nii.gz", drawn().astype(dtype))
    assert looks_like_label(read_volume(path))


def test_images_look_like_none(tmp_path: Path) -> None:
    for name in ("ct.nii.gz", "mr.nrrd"):
        assert not looks_like_label(read_volume(SAMPLES / name))
    grey = np.random.default_rng(1).integers(0, 60, SHAPE).astype(np.uint8)
    outside = np.indices(SHAPE)[0] < 12
    for image in (grey, np.where(outside, 0, grey).astype(np.uint8), drawn() + 0.5):
        assert not looks_like_label(read_volume(save(tmp_path / "image.nii.gz", image)))


def test_nan_is_no_label_and_infinity_is_refused(tmp_path: Path, volume: Volume) -> None:
    path = save(tmp_path / "label.nii.gz", np.where(drawn(), drawn(), np.float32(np.nan)))
    found = read_label(path, volume)
    np.testing.assert_array_equal(volume.to_source(found.label), drawn())
    assert found.notes == ()
    on_its_own = read_label_file(path)
    np.testing.assert_array_equal(on_its_own.volume.to_source(on_its_own.label), drawn())
    slicer(tmp_path / "label.nrrd", [np.where(drawn(), drawn(), np.float32(np.nan))])
    on_its_own = read_label_file(tmp_path / "label.nrrd")
    np.testing.assert_array_equal(on_its_own.volume.to_source(on_its_own.label), drawn())
    save(path, np.full(SHAPE, np.float32(np.nan)))
    assert read_label_file(path).ids == []
    save(path, np.where(drawn(), np.float32(np.inf), 0))
    for read in (lambda: read_label(path, volume), lambda: read_label_file(path)):
        with pytest.raises(VolumeError, match="holds 0 to inf"):
            read()


def test_axes_in_another_order_and_a_part_of_the_grid_are_no_resampling(
    tmp_path: Path, volume: Volume
) -> None:
    part = np.s_[2:19, 3:16, 1:10]
    turned = np.flip(drawn()[part].transpose(2, 0, 1), 1)
    to_image = np.zeros((4, 4))
    to_image[[2, 0, 1], [0, 1, 2]] = 1, -1, 1
    to_image[:, 3] = 18, 3, 1, 1
    found = read_label(save(tmp_path / "label.nii", turned, AFFINE @ to_image), volume)
    np.testing.assert_array_equal(volume.to_source(found.label), drawn())
    assert found.notes == ()


def test_another_grid_is_resampled_and_that_is_said(tmp_path: Path, volume: Volume) -> None:
    fine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    fine[:3, 3] -= AFFINE[:3, :3] @ [0.25, 0.25, 0.25]  # its voxels fill those of the image
    label = drawn().repeat(2, 0).repeat(2, 1).repeat(2, 2)
    found = read_label(save(tmp_path / "label.nii.gz", label, fine), volume)
    np.testing.assert_array_equal(volume.to_source(found.label), drawn())
    (note,) = found.notes
    assert "another grid (40 x 36 x 20 voxels of 0.5 x 0.75 x 1.5 mm)" in note


def test_what_lies_beyond_the_image_is_counted(tmp_path: Path, volume: Volume) -> None:
    moved = AFFINE.copy()
    moved[:3, 3] += AFFINE[:3, :3] @ [0, 0, 5]
    found = read_label(save(tmp_path / "label.nii.gz", drawn(), moved), volume)
    assert np.count_nonzero(found.label) == 6 * 10 * 3
    assert found.notes == (f"{6 * 10 + 3 * 4 * 4} of its voxels (0.49 mL) lie outside the image.",)


def test_an_unplaced_label_of_an_unplaced_image_fits(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii", drawn().astype(np.int16), code=0)
    volume = read_volume(image)
    found = read_label(save(tmp_path / "label.nii", drawn(), code=0), volume)
    np.testing.assert_array_equal(volume.to_source(found.label), drawn())


@pytest.mark.parametrize(
    ("label", "affine", "code", "message"),
    [
        (drawn(), AFFINE + np.eye(4)[:, [3]] @ [[0, 0, 0, 0]] + 0, 0, "does not say how"),
        (drawn(), AFFINE + 900 * np.eye(4)[:, [0]] * [0, 0, 0, 1], 1, "no place of the patient in"),
        (drawn() * 0, AFFINE, 1, "no label at all"),
        (drawn() * np.float32(0.5), AFFINE, 1, "fractions"),
        (drawn().astype(np.int16) * -1, AFFINE, 1, "not the image"),
        (np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16), AFFINE, 1, "as an image does"),
        (np.stack([drawn()] * 2, -1), AFFINE, 1, "holds 2 volumes"),
    ],
)
def test_what_is_no_label_of_the_image_is_refused(
    tmp_path: Path, volume: Volume, label: np.ndarray, affine: np.ndarray, code: int, message: str
) -> None:
    path = save(tmp_path / "label.nii.gz", label, affine, code)
    with pytest.raises(VolumeError, match=message) as error:
        read_label(path, volume)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["gone.nii", "empty.nii", "damaged.nrrd", "picture.png", "x.dcm"])
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, volume: Volume, name: str) -> None:
    path = tmp_path / name
    if name == "picture.png":
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 4), np.uint8)), str(path))
    elif name != "gone.nii":
        path.write_bytes(b"" if name == "empty.nii" else b"NRRD0004\nnonsense")
    with pytest.raises(VolumeError, match=name):
        read_label(path, volume)


def test_metaimage_and_plain_nrrd(tmp_path: Path, volume: Volume) -> None:
    image = sitk.GetImageFromArray(drawn().T)
    sizes = np.linalg.norm(AFFINE[:3, :3], axis=0)
    image.SetSpacing(sizes.tolist())
    image.SetDirection((AFFINE[:3, :3] / sizes).ravel().tolist())
    image.SetOrigin(AFFINE[:3, 3].tolist())
    for name in ("label.mha", "label.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
        found = read_label(tmp_path / name, volume)
        np.testing.assert_array_equal(volume.to_source(found.label), drawn())


def slicer(path: Path, layers: list[np.ndarray], **keys: str) -> Path:
    """Write layers (i, j, k) as 3D Slicer does, several of them along a list axis."""
    directions = AFFINE[:3, :3].T
    header = {
        "space": "left-posterior-superior",
        "space directions": directions,
        "space origin": AFFINE[:3, 3],
        "kinds": ["domain"] * 3,
        **keys,
    }
    data = layers[0]
    if len(layers) > 1:
        data = np.stack(layers)
        header["space directions"] = np.vstack([np.full(3, np.nan), directions])
        header["kinds"] = ["list", *["domain"] * 3]
    nrrd.write(str(path), data, header)
    return path


def of_segments(*described: tuple[str, int, int]) -> dict[str, str]:
    return {
        f"Segment{n}_{key}": value
        for n, (name, layer, value) in enumerate(described)
        for key, value in (
            ("ID", f"Segment_{n + 1}"),
            ("Name", name),
            ("Color", "0.2 0.4 0.6"),
            ("Layer", str(layer)),
            ("LabelValue", str(value)),
        )
    }


def test_layers_of_slicer_that_do_not_overlap_are_united(tmp_path: Path, volume: Volume) -> None:
    first, second = (drawn() == 1).astype(np.uint8), (drawn() == 5).astype(np.uint8)
    keys = of_segments(("Liver", 0, 1), ("Spleen", 1, 1))
    found = read_label(slicer(tmp_path / "a.seg.nrrd", [first, second], **keys), volume)
    expected = np.select([drawn() == 1, drawn() == 5], [1, 2])
    np.testing.assert_array_equal(volume.to_source(found.label), expected)
    assert found.segments == {1: Segment("Liver", "#336699"), 2: Segment("Spleen", "#336699")}


def test_overlapping_segments_of_slicer_are_refused(tmp_path: Path, volume: Volume) -> None:
    second = np.zeros(SHAPE, np.uint8)
    second[8:13, 4:6, 5] = 1
    keys = of_segments(("Liver", 0, 1), ("Tumour", 1, 1))
    path = slicer(tmp_path / "a.seg.nrrd", [(drawn() == 1).astype(np.uint8), second], **keys)
    with pytest.raises(VolumeError, match=r"2 voxels are both Tumour and others, Liver first"):
        read_label(path, volume)
    # The other way round, the voxels of the later one that come first are free; one is not.
    second[8, 4, 5] = 0
    keys = of_segments(("Tumour", 0, 1), ("Liver", 1, 1))
    path = slicer(tmp_path / "c.seg.nrrd", [second, (drawn() == 1).astype(np.uint8)], **keys)
    with pytest.raises(VolumeError, match=r"1 voxels are both Liver and others, Tumour first"):
        read_label(path, volume)
    keys = of_segments(("Liver", 7, 1), ("Tumour", 1, 1))
    with pytest.raises(VolumeError, match="what cannot be"):
        read_label(slicer(tmp_path / "b.seg.nrrd", [drawn(), second], **keys), volume)


@pytest.fixture
def series(tmp_path: Path) -> Volume:
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    straight = grid_affine((0, 1, 2), (1, 1, 1), (10, -5, 8), (1, 1.5, 3))
    return read_volume(write_series(tmp_path / "series", voxels, straight))


def test_a_segmentation_of_another_series_is_refused(tmp_path: Path, series: Volume) -> None:
    label = series.from_source(drawn())
    write_label(tmp_path / "a.dcm", label, series)
    voxels, affine = series.to_source(series.data), series.source.affine
    other = write_series(tmp_path / "other", voxels, affine, frame_of_reference="1.2.3.4")
    with pytest.raises(VolumeError, match="belongs to another frame of reference"):
        read_label(tmp_path / "a.dcm", read_volume(other))
    # A NIfTI of the series names no frame of reference, and has its geometry.
    converted = read_volume(write_nifti(tmp_path / "image.nii", voxels, affine))
    found = read_label(tmp_path / "a.dcm", converted)
    np.testing.assert_array_equal(converted.to_source(found.label), drawn())


def test_dicom_that_is_no_segmentation_is_refused(tmp_path: Path, series: Volume) -> None:
    with pytest.raises(VolumeError, match="is a DICOM CT, no segmentation"):
        read_label(series.source.files[0], series)


def segmentation(series: Volume, pixels: np.ndarray, kind: str) -> pydicom.Dataset:
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.seg.Segmentation(
        [pydicom.dcmread(path) for path in series.source.files],
        pixels,
        kind,
        [
            highdicom.seg.SegmentDescription(
                n + 1, f"Part {n + 1}", codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL"
            )
            for n in range(2)
        ],
        pydicom.uid.generate_uid(),
        1,
        pydicom.uid.generate_uid(),
        1,
        "maker",
        "model",
        "1",
        "1",
    )


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_segmentation_by_another_program(tmp_path: Path, series: Volume, kind: str) -> None:
    numbers = np.select([drawn() == 1, drawn() == 5], [2, 1]).astype(np.uint8)
    segmentation(series, numbers.transpose(2, 1, 0), kind).save_as(tmp_path / "a.dcm")
    found = read_label(tmp_path / "a.dcm", series)
    np.testing.assert_array_equal(series.to_source(found.label), numbers)
    assert {n: segment.name for n, segment in found.segments.items()} == {1: "Part 1", 2: "Part 2"}


def test_a_segmentation_may_have_as_many_pixels_as_its_file_holds(
    tmp_path: Path, series: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = (drawn() > 0).astype(np.uint8)
    segmentation(series, mask.T, "BINARY").save_as(tmp_path / "a.dcm")
    monkeypatch.setattr(seg, "_MOST_VOXELS", 1)
    found = read_label(tmp_path / "a.dcm", series)
    np.testing.assert_array_equal(series.to_source(found.label), mask)


def test_what_highdicom_says_of_a_segmentation_does_not_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("highdicom")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [])
    for _ in range(2):
        with quietly():
            logger.warning("of no use")
    assert capsys.readouterr().err == ""
    assert len(logger.handlers) == 1


@pytest.mark.parametrize(
    ("kind", "value"), [("BINARY", 1), ("FRACTIONAL", 1.0), ("FRACTIONAL", 0.5)]
)
def test_overlapping_segments_are_refused(
    tmp_path: Path, series: Volume, kind: str, value: float
) -> None:
    pixels = np.stack([drawn().T == 1, drawn().T > 0], -1) * np.array(value).astype(
        np.float32 if kind == "FRACTIONAL" else np.uint8
    )
    segmentation(series, pixels, kind).save_as(tmp_path / "a.dcm")
    with pytest.raises(VolumeError, match="voxels of a slice are both Part 2 and Part 1"):
        read_label(tmp_path / "a.dcm", series)


def test_fractions_are_cut_at_one_half_and_that_is_said(tmp_path: Path, series: Volume) -> None:
    """Those of 0 and all are no fractions, whatever the file calls itself."""
    binary = np.stack([drawn().T == 1, drawn().T == 5], -1).astype(np.float32)
    expected = np.select([drawn() == 1, drawn() == 5], [1, 2])
    segmentation(series, binary, "FRACTIONAL").save_as(tmp_path / "a.dcm")
    # Shares as a network or a partial volume leaves them: below one half around the structures.
    shares = np.where(binary, np.float32(0.7), np.float32(0.45))
    segmentation(series, shares, "FRACTIONAL").save_as(tmp_path / "b.dcm")
    for name, notes in (("a.dcm", 0), ("b.dcm", 1)):
        found = read_label(tmp_path / name, series)
        np.testing.assert_array_equal(series.to_source(found.label), expected)
        assert len(found.notes) == notes
        assert found.segments[2].name == "Part 2"
    assert "at least one half" in read_label(tmp_path / "b.dcm", series).notes[0]


def test_a_session_takes_names_and_free_numbers_and_can_take_it_back(
    tmp_path: Path, volume: Volume
) -> None:
    segments = {1: Segment("Liver", "#102030"), 5: Segment("Spleen", "#405060")}
    write_label(tmp_path / "a.seg.nrrd", volume.from_source(drawn()), volume, segments)
    found = read_label(tmp_path / "a.seg.nrrd", volume)
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    journal = Journal(tmp_path / "a.journal", volume, volume_hash(volume), None, lambda _: None)
    recorder = Recorder(session, journal, None)
    edit, numbers = import_label(session, found)
    assert numbers == {1: 1, 5: 5}
    assert edit.name == "load label file"
    assert session.style(5) == LabelStyle("Spleen", "#405060")
    np.testing.assert_array_equal(session.label, found.label)
    # What is there already keeps its number, and what is locked its voxels.
    session.history.undo()
    session.label[...] = 0
    kept = np.flatnonzero(found.label == 5)[:20]
    session.history.change("box", kept, np.full(20, 1, np.uint16), ())
    session.set_style(1, LabelStyle("Kidney", "#ffffff", locked=True))
    _, numbers = import_label(session, found)
    assert numbers == {1: 2, 5: 5}
    assert session.history.voxel_counts == {1: 20, 2: 6 * 10 * 4, 5: 3 * 4 * 4 - 20}
    assert [session.style(n).name for n in (1, 2, 5)] == ["Kidney", "Liver", "Spleen"]
    # It leads propagations as what was drawn by hand does.
    assert len(session.history.anchors(0, 2)) == 4
    recorder.close()
    content = read_journal(tmp_path / "a.journal")
    loads = [r.content for r in content.records if r.content["kind"] == "load"]
    assert loads[1]["sha256"] == found.sha256
    assert loads[1]["path"] == str(tmp_path / "a.seg.nrrd")
    # Without the file.
    (tmp_path / "a.seg.nrrd").unlink()
    again = restore(content.records, volume.data.shape)
    np.testing.assert_array_equal(again.history.label, session.label)
    assert again.styles[2].name == "Liver"
    again.history.undo()
    assert again.history.voxel_counts == {1: 20}


def test_a_label_that_locked_ones_cover_is_refused(tmp_path: Path, volume: Volume) -> None:
    found = read_label(save(tmp_path / "label.nii", drawn()), volume)
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    everything = np.arange(session.label.size)
    session.history.change("box", everything, np.full(everything.size, 9, np.uint16), ())
    session.set_style(9, LabelStyle("Body", "#ffffff", locked=True))
    with pytest.raises(PromptError, match=r"label\.nii labels belongs to Body, which is locked"):
        import_label(session, found)
    assert session.history.voxel_counts == {9: everything.size}


TABLE = b'<LabelTable><Label Key="1" Red="1" Green="0" Blue="0">liver</Label></LabelTable>'
# Codes of MIND, of frames' timing, of CIFTI, of DICOM, of AFNI, and one that nobody has taken.
OF_OTHERS = [
    *((18, b"MIND"), (34, b"timing"), (32, b"<CIFTI"), (2, b"no DICOM"), (2, b"\x08\0\x16\0")),
    *((4, b"<AFNI/>"), (32, b"<!DOCTYPE x [<!ENTITY a 'b'>]><LabelTable/>"), (1000, b"\xff" * 40)),
    *(
        (0, b"<LabelTable"),
        (0, b"<LabelTable encoding='x'\0"),
        (30, b"<?xml encoding='q'?><LabelTable/>"),
    ),
]


def with_extension(path: Path, code: int, content: bytes, *, length: int | None = None) -> Path:
    """Write a NIfTI label with an extension of a code, whose length may be said wrongly."""
    save(path, drawn())
    whole = path.read_bytes()
    size = (len(content) + 8 + 15) // 16 * 16
    said = struct.pack("<ii", size if length is None else length, code)
    extension = said + content + bytes(size - 8 - len(content))
    header = bytearray(whole[:348])
    struct.pack_into("<f", header, 108, 352 + size)
    path.write_bytes(bytes(header) + b"\1\0\0\0" + extension + whole[352:])
    return path


@pytest.mark.parametrize(("code", "content"), OF_OTHERS)
def test_what_other_programs_keep_in_a_header_does_not_matter(
    tmp_path: Path, volume: Volume, code: int, content: bytes
) -> None:
    path = with_extension(tmp_path / "label.nii", code, content)
    assert read_label_file(path).named == {}
    np.testing.assert_array_equal(volume.to_source(read_label(path, volume).label), drawn())
    image = read_volume(path)
    write_label(tmp_path / "again.nii", image.data.astype(np.uint8), image)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "again.nii").dataobj), drawn())


@pytest.mark.parametrize("code", [0, 6, 30, 32])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_table_of_labels_is_read_in_either_byte_order(
    tmp_path: Path, code: int, order: str
) -> None:
    path = with_extension(tmp_path / "label.nii", code, TABLE)
    if order == ">":
        whole = path.read_bytes()
        header = nib.Nifti1Header(whole[:348]).as_byteswapped(">").binaryblock
        head = struct.pack(">ii", *struct.unpack_from("<ii", whole, 352))
        path.write_bytes(header + whole[348:352] + head + whole[360:])
    found = read_label_file(path)
    assert found.segments[1] == Segment("liver", "#FF0000")
    np.testing.assert_array_equal(found.volume.to_source(found.label), drawn())


def test_a_table_behind_one_that_nobody_can_read_is_read(tmp_path: Path) -> None:
    image = nib.Nifti1Image(drawn().astype(np.uint8), np.eye(4))
    for content in (b"<LabelTable", TABLE, b"<!DOCTYPE x><LabelTable/>", TABLE.replace(b"1", b"5")):
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", content))
    nib.save(image, tmp_path / "label.nii")
    assert sorted(read_label_file(tmp_path / "label.nii").named) == [1, 5]


@pytest.mark.parametrize("length", [-16, 0, 8, 2**31 - 1, 4096])
def test_a_length_of_an_extension_that_cannot_be(
    tmp_path: Path, volume: Volume, length: int
) -> None:
    path = with_extension(tmp_path / "label.nii", 0, TABLE, length=length)
    assert read_label_file(path).named == {}
    np.testing.assert_array_equal(volume.to_source(read_label(path, volume).label), drawn())


def test_voxels_are_no_table_of_labels(tmp_path: Path) -> None:
    """A header may say that extensions follow where the voxels do."""
    voxels = np.frombuffer(struct.pack("<ii", 96, 0) + TABLE.ljust(88), np.uint8)
    path = tmp_path / "label.nii"
    save(path, voxels.reshape(4, 4, 6, order="F"))
    whole = bytearray(path.read_bytes())
    assert whole[348:].endswith(voxels.tobytes())
    whole[348] = 1
    path.write_bytes(whole)
    assert read_label_file(path).named == {}


def loaded(volume: Volume, **segments: Segment) -> LabelFile:
    """Return what a file with labels 1 and 5 gives, of which some have names."""
    named = {int(key[1:]): segment for key, segment in segments.items()}
    return LabelFile.of(volume, volume.from_source(drawn()).astype("u2"), named)


LIVER, SPLEEN = Segment("Liver", "#102030"), Segment("Spleen", "#405060")


@pytest.mark.parametrize(
    ("given", "segments", "numbers"),
    [
        (LabelStyle("Tumour", "#ffffff"), {"n1": LIVER, "n5": SPLEEN}, {1: 2, 5: 5}),
        (replace(LabelStyle.default(1), color="#ffffff"), {"n1": LIVER}, {1: 2, 5: 5}),
        (replace(LabelStyle.default(1), visible=False), {}, {1: 2, 5: 5}),
        (replace(LabelStyle.default(1), locked=True), {}, {1: 2, 5: 5}),
        # Of the same name, or a file without names: it is the same label, and looks as it did.
        (LabelStyle("Liver", "#ffffff"), {"n1": LIVER}, {1: 1, 5: 5}),
        (LabelStyle("Tumour", "#ffffff"), {"n5": SPLEEN}, {1: 1, 5: 5}),
        (LabelStyle.default(1), {"n1": LIVER}, {1: 1, 5: 5}),
    ],
)
def test_what_the_user_has_named_or_shows_otherwise_stays_theirs(
    tmp_path: Path,
    volume: Volume,
    given: LabelStyle,
    segments: dict[str, Segment],
    numbers: dict[int, int],
) -> None:
    """Also where nothing was drawn yet; and one undo takes names back as it does voxels."""
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    journal = Journal(tmp_path / "a.journal", volume, volume_hash(volume), None, pytest.fail)
    recorder = Recorder(session, journal, None)
    session.set_style(1, given)
    before = session.styles
    assert import_label(session, loaded(volume, **segments))[1] == numbers
    mine = numbers[1] == 2 or given != LabelStyle.default(1)
    assert session.style(1) == (given if mine else LabelStyle(LIVER.name, LIVER.color))
    if "n1" in segments:
        assert session.style(numbers[1]).name == "Liver"
    after = session.styles
    session.history.undo()
    assert not session.label.any()
    assert session.styles == before
    session.history.redo()
    assert session.styles == after
    recorder.close()
    again = restore(read_journal(tmp_path / "a.journal").records, session.label.shape)
    assert {**after, **again.styles} == after
    assert again.styles.keys() >= {1, *(numbers[int(key[1:])] for key in segments)}
    again.history.undo()
    assert again.styles == {1: given}


def test_a_label_that_gives_way_does_not_land_on_one_that_was_named(volume: Volume) -> None:
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    session.history.change("box", np.arange(3), np.full(3, 1, np.uint16), ())
    session.set_style(2, LabelStyle("Tumour", "#ffffff"))
    assert import_label(session, loaded(volume, n1=LIVER))[1] == {1: 3, 5: 5}
    assert session.style(2).name == "Tumour"


def test_a_box_whose_voxels_others_have_taken_keeps_its_label(volume: Volume) -> None:
    """It gets them back when the others go, and they are not to be those of the file."""
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    mask = np.zeros(session.label.shape[1:], bool)
    mask[:2, :2] = True
    for label_id in (1, 2):
        session.commit(BoxPrompt(0, 0, 0, 0, 1, 1), [SliceMask(0, 0, mask, 1, 0, 0)], label_id)
    assert session.history.voxel_counts == {2: 4}
    assert import_label(session, loaded(volume, n1=LIVER))[1] == {1: 3, 5: 5}


def test_what_was_named_after_loading_keeps_that_through_undo_and_redo(volume: Volume) -> None:
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    import_label(session, loaded(volume, n1=LIVER, n5=SPLEEN))
    mine = LabelStyle("Left lobe", "#ffffff", locked=True)
    session.set_style(1, mine)
    session.history.undo()
    assert session.styles == {1: mine}
    session.history.redo()
    assert [session.style(n).name for n in (1, 5)] == ["Left lobe", "Spleen"]
