"""What a script or a notebook may import from the package itself, and what it gets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pytest
from grids import ALL_48, grid_affine
from scripted_engine import ScriptedEngine
from typed_script import measure_block
from typer.testing import CliRunner

import napari_medsamq as mq
from napari_medsamq.cli.main import app
from napari_medsamq.plugin import SAMPLES

SHAPE = (12, 16, 14)
# Bright in the file's own voxels (i, j, k), all of it off the centre.
BLOCK = np.s_[2:9, 5:13, 3:8]
LOWER, UPPER = (2, 5, 3), (8, 12, 7)
RAS = np.diag([-1.0, -1, 1, 1])
# One of each permutation, with all kinds of flips, some of them tilted.
GRIDS = [(*ALL_48[n], (10, -8, 12) if n % 2 else (0, 0, 0)) for n in range(2, 48, 7)]


def voxels() -> np.ndarray:
    array = np.zeros(SHAPE, np.int16)
    array[BLOCK] = 200
    return array


BRIGHT = voxels() > 0


def write_image(path: Path, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(voxels(), affine), path)
    return path


def opened(volume: mq.Volume) -> mq.Session:
    return mq.open_session(
        volume, modality="CT", window=(100, 200), model=ScriptedEngine(), zoom=False
    )


@pytest.fixture(params=GRIDS, ids=str)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    axes, signs, degrees = request.param
    affine = RAS @ grid_affine(axes, signs, degrees, (1, 1, 1))
    return write_image(tmp_path / "image.nii.gz", affine)


@pytest.fixture
def session() -> mq.Session:
    """The block in an array whose axes run towards L, P and S."""
    return opened(mq.volume_from_array(voxels(), (1, 1, 2), affine=None, modality="CT"))


def test_every_public_name_is_there() -> None:
    for name in mq.__all__:
        assert getattr(mq, name) is not None
    assert len(set(mq.__all__)) == len(mq.__all__)
    assert {*dir(mq), "__version__"} == {*mq.__all__}
    assert mq.read_volume.__module__ == "napari_medsamq.io.volume"
    with pytest.raises(AttributeError, match="read_image"):
        _ = mq.read_image


def test_importing_the_package_loads_no_library() -> None:
    program = "import sys, napari_medsamq; print(*(n for n, m in sys.modules.items() if m))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    roots = {name.split(".")[0] for name in loaded}
    assert roots.isdisjoint({"numpy", "openvino", "SimpleITK", "nibabel", "qtpy", "napari"})


def test_type_checkers_are_told_that_it_is_typed() -> None:
    assert (files("napari_medsamq") / "py.typed").is_file()


def test_the_lines_of_the_readme(tmp_path: Path) -> None:
    volume = mq.read_volume(SAMPLES / "ct.nii.gz")
    session = mq.open_session(volume)
    session.add_box((110, 192, 10), (268, 384, 10), label="Liver")
    one_slice = session.label_array()
    found = session.propagate("Liver")
    mq.save(session, tmp_path / "liver.nii.gz", report=True)

    saved = nib.load(tmp_path / "liver.nii.gz")
    source = nib.load(SAMPLES / "ct.nii.gz")
    np.testing.assert_array_equal(saved.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(saved.dataobj), session.label_array())
    assert found.axis == "k"
    assert sorted(found.slices) == [n for n in range(20) if n != 10]
    assert mq.label_statistics(session)[1].millilitres > 500
    assert {path.name for path in tmp_path.iterdir()} == {
        "liver.nii.gz",
        "liver.provenance.json",
        "liver.report.html",
    }
    # The command line takes the same road.
    by_command = tmp_path / "command.nii.gz"
    box = ["--box", "110,192,10,268,384,10", "--label", "1=Liver"]
    command = ["segment", str(SAMPLES / "ct.nii.gz"), "-o", str(by_command), *box]
    assert CliRunner().invoke(app, command).exit_code == 0
    np.testing.assert_array_equal(np.asarray(nib.load(by_command).dataobj), one_slice)


def test_a_typed_script_runs(image: Path, tmp_path: Path) -> None:
    found = measure_block(image, tmp_path / "label.nii.gz", ScriptedEngine())
    assert found == {"Block": pytest.approx(0.28)}


def test_arrays_and_boxes_have_the_axes_of_the_file(image: Path, tmp_path: Path) -> None:
    volume = mq.read_volume(image)
    session = opened(volume)
    # Corners in any order.
    session.add_box((8, 5, 7), (2, 12, 3), label=3)
    np.testing.assert_array_equal(session.label_array(), BRIGHT * 3)
    np.testing.assert_array_equal(session.label_array(3), BRIGHT)
    np.testing.assert_array_equal(session.label_array(3, order="anatomical"), volume.data == 200)
    mq.save(session, tmp_path / "label.nii.gz")
    saved = nib.load(tmp_path / "label.nii.gz")
    np.testing.assert_array_equal(np.asarray(saved.dataobj), BRIGHT * 3)
    np.testing.assert_allclose(saved.affine, nib.load(image).affine)


def test_masks_and_label_files_have_the_axes_of_the_file(image: Path, tmp_path: Path) -> None:
    volume = mq.read_volume(image)
    corner = np.zeros(SHAPE, bool)
    corner[:2, :3, :4] = True
    session = opened(volume)
    session.add_mask(corner, "Corner")
    np.testing.assert_array_equal(session.label_array("Corner"), corner)
    mq.save(corner, tmp_path / "mask.nii.gz", like=volume)
    found = mq.read_label(tmp_path / "mask.nii.gz", like=volume)
    np.testing.assert_array_equal(found.label_array(), corner)
    np.testing.assert_array_equal(
        found.label_array(order="anatomical"), session.label_array("Corner", order="anatomical")
    )
    alone = mq.read_label(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(alone.label_array(), corner)
    assert mq.compare_labels(session, alone)[1].dsc == 1
    assert mq.label_statistics(corner, volume) == mq.label_statistics(session)
    assert mq.compare_labels(corner, session, like=volume)[1].hausdorff95_mm == 0


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_propagation_goes_both_ways_or_as_far_as_is_said(image: Path, plane: str) -> None:
    volume = mq.read_volume(image)
    session = opened(volume)
    axis = volume.source.axes[("axial", "coronal", "sagittal").index(plane)]
    low, high = LOWER[axis], UPPER[axis]
    middle = (low + high) // 2
    lower, upper = list(LOWER), list(UPPER)
    lower[axis] = upper[axis] = middle
    found = session.add_box(lower, upper, label="Block")
    assert (found.axis, found.slices) == ("ijk"[axis], (middle,))

    found = session.propagate("Block")
    np.testing.assert_array_equal(session.label_array("Block"), BRIGHT)
    assert sorted((*found.slices, middle)) == list(range(low, high + 1))
    assert {f"It ends before slice {end}: nothing was found." for end in (low - 1, high + 1)} == {
        *found.notes
    }
    assert session.undo() == "propagation of Block"
    found = session.propagate("Block", first=middle, last=middle + 1, plane=plane)
    assert found.slices == (middle + 1,)
    assert sorted(set(np.argwhere(session.label_array())[:, axis])) == [middle, middle + 1]


def test_a_propagation_stays_within_a_3d_box(session: mq.Session) -> None:
    low, high = LOWER[2] + 1, UPPER[2] - 2
    session.add_box((*LOWER[:2], low), (*UPPER[:2], high), label="Block")
    with pytest.raises(mq.PromptError, match="no mask to carry on"):
        session.propagate("Block", plane="axial")
    session.add_box((*LOWER[:2], high), (*UPPER[:2], high), label="Block")
    found = session.propagate("Block", plane="axial")
    expected = BRIGHT.copy()
    expected[..., :low] = expected[..., high + 1 :] = False
    np.testing.assert_array_equal(session.label_array("Block"), expected)
    assert {*found.notes} == {
        f"It ends before slice {end}: its 3D box ends there." for end in (low - 1, high + 1)
    }


def test_each_call_is_one_step_of_undo(session: mq.Session) -> None:
    states = [session.label_array()]
    steps: list[Callable[[], object]] = [
        lambda: session.add_box((2, 5, 5), (8, 12, 5), label="Block"),
        lambda: session.propagate("Block"),
        lambda: session.add_click((5, 8, 5), positive=False, label="Block"),
        lambda: session.add_mask(~BRIGHT, "Rest"),
    ]
    for step in steps:
        step()
        states.append(session.label_array())
    assert all((a != b).any() for a, b in pairwise(states))
    names = [session.undo() for _ in steps]
    assert names == [
        *("mask of Rest", "correction of Block", "propagation of Block", "box for Block"),
    ]
    assert not session.label_array().any()
    assert session.undo() is None
    for state in states[1:]:
        assert session.redo() is not None
        np.testing.assert_array_equal(session.label_array(), state)
    assert session.redo() is None


def test_a_click_corrects_the_slice_of_its_voxel(session: mq.Session) -> None:
    session.add_box(LOWER, UPPER)
    found = session.add_click((3, 6, 4), positive=False)
    assert (found.axis, found.slices) == ("k", (4,))
    left = session.label_array()
    assert left[3, 6, 4] == 0
    np.testing.assert_array_equal(np.delete(left, 4, 2), np.delete(BRIGHT, 4, 2))
    found = session.add_click((3, 6, 5), positive=False, plane="sagittal")
    assert (found.axis, found.slices) == ("i", (3,))


@pytest.mark.parametrize("plane", [None, "axial"])
def test_a_scribble_is_one_step_and_a_lasso_one_prompt(
    session: mq.Session, plane: str | None
) -> None:
    found = session.add_lasso([(3, 6, 4), (7, 6, 4), (7, 11, 4), (3, 11, 4)], "Block", plane)
    assert (found.axis, found.slices) == ("k", (4,))
    drawn = session.label_array("Block")
    wanted = np.zeros(SHAPE, bool)
    wanted[3:8, 6:12, 4] = True
    np.testing.assert_array_equal(drawn, wanted)
    session.add_scribble([(4, 7, 4), (4, 10, 4)], positive=False, plane=plane)
    assert not session.label_array("Block")[4, 7:11, 4].any()
    assert session.undo() == "correction of Block"
    np.testing.assert_array_equal(session.label_array("Block"), drawn)
    assert session.undo() == "lasso for Block"
    for path, words in (([], "has 0 voxels"), ([(4, 7, 4), (5, 8, 5)], "has 2 voxels")):
        with pytest.raises(mq.PromptError, match=words):
            session.add_scribble(path, label="Block")
        with pytest.raises(mq.PromptError, match=words):
            session.add_lasso(path, "Other", plane)
    with pytest.raises(mq.PromptError, match=f"{plane or ''} slice"):
        session.add_lasso([(4, 7, 4), (4, 9, 4), (4, 9, 7)], "Other", "axial")
    assert session.label_names == {1: "Block"}


def test_a_mask_that_was_added_is_left_by_a_propagation(session: mq.Session) -> None:
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[3:6, 6:9, 5] = 1
    session.add_mask(drawn, "Block")
    session.propagate("Block")
    label = session.label_array("Block")
    np.testing.assert_array_equal(label[..., 5], drawn[..., 5])
    assert label[..., 4].any()
    assert label[..., 6].any()


def test_a_locked_label_keeps_its_voxels(session: mq.Session) -> None:
    session.add_box(LOWER, UPPER, label="Block")
    model = session.annotation
    model.set_style(1, replace(model.style(1), locked=True))
    session.add_mask(np.ones(SHAPE, bool), "Rest")
    np.testing.assert_array_equal(session.label_array(), np.where(BRIGHT, 1, 2))
    before = session.label_array()
    with pytest.raises(mq.PromptError, match="is locked"):
        session.add_click((3, 6, 4), positive=False, label="Block")
    np.testing.assert_array_equal(session.label_array(), before)


def test_a_name_gets_the_next_free_id(session: mq.Session, tmp_path: Path) -> None:
    session.name_label(2, "Edge", "#00FF00")
    session.add_box(LOWER, UPPER, label="Liver & <b>co</b>")
    session.add_mask(~BRIGHT, "Rest")
    session.add_box(LOWER, UPPER, label="Liver & <b>co</b>")
    assert session.label_names == {1: "Liver & <b>co</b>", 2: "Edge", 3: "Rest"}
    saved = mq.save(session, tmp_path / "label.seg.nrrd")
    assert saved.receipt.path.name == "label.seg.nrrd"
    found = mq.read_label(tmp_path / "label.seg.nrrd")
    assert found.label_names == {n: name for n, name in session.label_names.items() if n != 2}
    again = mq.save(found, tmp_path / "copy.seg.nrrd", like=None)
    assert mq.read_label(again.receipt.path).label_names == found.label_names


def test_what_fails_leaves_everything_as_it_was(session: mq.Session) -> None:
    with pytest.raises(mq.PromptError, match=r"Label 1 \(Air\): The network found nothing"):
        session.add_box((0, 0, 9), (3, 3, 12), label="Air")
    assert session.label_names == {}
    assert session.undo() is None


def test_existing_files_are_replaced_only_if_that_is_said(
    session: mq.Session, tmp_path: Path
) -> None:
    session.add_box(LOWER, UPPER)
    target = tmp_path / "label.nii.gz"
    target.write_bytes(b"another's")
    for label, like in ((session, None), (session.label_array(), session.volume)):
        with pytest.raises(mq.SaveError, match="overwrite=True"):
            mq.save(label, target, like=like)
    with pytest.raises(mq.SaveError, match="overwrite=True"):
        mq.write_label(target, session.label_array(), session.volume)
    assert target.read_bytes() == b"another's"
    page = tmp_path / "label.report.html"
    page.write_text("another's")
    target.unlink()
    with pytest.raises(mq.SaveError, match=r"report\.html exists"):
        mq.save(session, target, report=True)
    assert not target.exists()
    mq.save(session, target, report=True, overwrite=True)
    assert "Boxes" in page.read_text(encoding="utf-8")
    mq.save(session.label_array(1), target, like=session.volume, overwrite=True)
    np.testing.assert_array_equal(np.asarray(nib.load(target).dataobj), BRIGHT)


def test_a_source_is_never_replaced(image: Path) -> None:
    session = opened(mq.read_volume(image))
    session.add_box(LOWER, UPPER)
    before = image.read_bytes()
    for label in (session, session.label_array()):
        with pytest.raises(mq.SaveError):
            mq.save(label, image, like=session.volume, overwrite=True)
    assert image.read_bytes() == before


def test_an_array_has_its_own_axes_and_place(tmp_path: Path) -> None:
    affine = grid_affine((2, 0, 1), (-1, 1, -1), (0, 0, 0), (1, 2, 3))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    volume = mq.volume_from_array(voxels(), spacing, affine=affine, modality="ct")
    assert (volume.modality, volume.modality_source) == ("CT", "chosen")
    assert volume.orientation_known
    session = opened(volume)
    session.add_box(LOWER, UPPER)
    mq.save(session, tmp_path / "label.nii.gz")
    saved = nib.load(tmp_path / "label.nii.gz")
    np.testing.assert_array_equal(np.asarray(saved.dataobj), BRIGHT)
    np.testing.assert_allclose(saved.affine, RAS @ affine, atol=1e-5)


def test_a_picture_has_labels_of_two_axes() -> None:
    volume = mq.volume_from_array(voxels()[..., 5], (0.5, 0.5), modality="other")
    assert not volume.orientation_known
    assert volume.warnings
    session = mq.open_session(volume, window=(100, 200), model=ScriptedEngine())
    session.add_box((2, 5, 0), (8, 12, 0))
    np.testing.assert_array_equal(session.label_array(1), BRIGHT[..., 5])


def good(**changes: Any) -> dict[str, Any]:
    return {"data": voxels(), "spacing": (1, 1, 1), "modality": "CT", **changes}


@pytest.mark.parametrize(
    "arguments",
    [
        good(data=voxels()[None]),
        good(data=voxels()[:0]),
        good(data=voxels().astype(complex)),
        good(data=np.zeros(SHAPE)),
        good(data=np.full(SHAPE, np.nan)),
        good(data=np.array([["a"]]), spacing=(1, 1)),
        good(spacing=(1, 1, 0)),
        good(spacing=(1, 1, np.nan)),
        good(spacing=(1, 1, "x")),
        good(spacing=1),
        good(spacing=(1, 1, 1, 1)),
        good(affine=np.eye(3)),
        good(affine=np.diag([1.0, 1, 2, 1])),
        good(affine=np.full((4, 4), np.nan)),
        good(affine=[["a"]]),
        good(affine=[[1, 0.9, 0, 0], [0, 0.43589, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        good(modality="PET"),
        good(modality=None),
    ],
)
def test_arrays_that_are_no_volume_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(mq.VolumeError):
        mq.volume_from_array(**arguments)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (mq.PromptError, lambda s: s.add_box((0, 0, 0), (12, 3, 3))),
        (mq.PromptError, lambda s: s.add_box((-1, 0, 0), (3, 3, 3))),
        (mq.PromptError, lambda s: s.add_box((0, 0), (3, 3))),
        (mq.PromptError, lambda s: s.add_box((0.5, 0, 0), (3, 3, 3))),
        (mq.PromptError, lambda s: s.add_box(None, (3, 3, 3))),
        (mq.PromptError, lambda s: s.add_box((2, 5, 5), (2, 5, 7))),
        (mq.PromptError, lambda s: s.add_box(LOWER, UPPER, plane="oblique")),
        (mq.PromptError, lambda s: s.add_box(LOWER, UPPER, label=0)),
        (mq.PromptError, lambda s: s.add_box(LOWER, UPPER, label=65536)),
        (mq.PromptError, lambda s: s.add_box(LOWER, UPPER, label=1.5)),
        (mq.PromptError, lambda s: s.add_box(LOWER, UPPER, label=True)),
        (mq.PromptError, lambda s: s.add_box(LOWER, UPPER, label=" ")),
        (mq.PromptError, lambda s: s.add_click((50, 0, 0))),
        (mq.PromptError, lambda s: s.add_click((0, 0, 0), label="Nobody")),
        (mq.PromptError, lambda s: s.add_click((0, 0, 12))),
        (mq.PromptError, lambda s: s.propagate("Nobody")),
        (mq.PromptError, lambda s: s.propagate(1, plane="coronal")),
        (mq.PromptError, lambda s: s.propagate(1, first=-1)),
        (mq.PromptError, lambda s: s.propagate(1, last=14)),
        (mq.PromptError, lambda s: s.propagate(1, plane="oblique")),
        (mq.PromptError, lambda s: s.label_array("Nobody")),
        (mq.PromptError, lambda s: s.label_array(7)),
        (ValueError, lambda s: s.label_array(order="zyx")),
        (mq.VolumeError, lambda s: s.add_mask(np.ones((3, 3, 3)), 1)),
        (mq.VolumeError, lambda s: s.add_mask(np.full(SHAPE, 2), 1)),
        (mq.VolumeError, lambda s: s.add_mask(np.full(SHAPE, 0.5), 1)),
        (mq.VolumeError, lambda s: s.add_mask(np.full(SHAPE, "x"), 1)),
        (mq.PromptError, lambda s: s.add_mask(np.zeros(SHAPE, bool), 1)),
        (mq.VolumeError, lambda s: mq.save(np.full(SHAPE, -1), "x.nii", like=s.volume)),
        (mq.VolumeError, lambda s: mq.save(np.zeros((2, 2, 2)), "x.nii", like=s.volume)),
        (mq.SaveError, lambda s: mq.save(s, "x.txt")),
        (mq.SaveError, lambda s: mq.save(s, "nowhere/x.nii.gz")),
        (ValueError, lambda s: mq.save(BRIGHT, "x.nii")),
        (ValueError, lambda s: mq.save(BRIGHT, "x.nii", like=s.volume, report=True)),
        (ValueError, lambda s: mq.label_statistics(BRIGHT)),
        (mq.VolumeError, lambda s: mq.label_statistics(BRIGHT[1:], s.volume)),
        (ValueError, lambda s: mq.compare_labels(BRIGHT, s)),
        (mq.VolumeError, lambda s: mq.read_label("none.nii.gz", like=s.volume)),
        (mq.VolumeError, lambda s: mq.open_session(s.volume, modality="PET")),
        (mq.PromptError, lambda s: mq.open_session(s.volume, window="40")),
        (mq.PromptError, lambda s: mq.open_session(s.volume, window=(40, -1))),
        (mq.ModelError, lambda s: mq.open_session(s.volume, model="no-such-model")),
        (mq.ModelError, lambda _: mq.load_engine("no-such-model")),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    session: mq.Session,
    error: type[Exception],
    call: Callable[[mq.Session], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    session.add_box((2, 5, 5), (8, 12, 5))
    before, names = session.label_array(), session.label_names
    with pytest.raises(error) as raised:
        call(session)
    assert str(raised.value)
    np.testing.assert_array_equal(session.label_array(), before)
    assert session.label_names == names
    assert list(tmp_path.iterdir()) == []


def test_of_several_labels_a_click_names_one(session: mq.Session) -> None:
    session.add_box(LOWER, UPPER, label="Block")
    session.add_mask(~BRIGHT, "Rest")
    with pytest.raises(mq.PromptError, match=r"Say which label is meant.*1 Block, 2 Rest"):
        session.add_click((3, 6, 4))


def test_an_image_that_may_be_ct_or_mr_has_to_be_named(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.where(BRIGHT, 200, -50).astype(np.int16), RAS), tmp_path / "a.nii")
    volume = mq.read_volume(tmp_path / "a.nii")
    with pytest.raises(mq.VolumeError, match='in Python modality="CT"'):
        mq.open_session(volume, model=ScriptedEngine())
    assert mq.open_session(volume, modality="mr", model=ScriptedEngine()).volume.modality == "MR"


def test_the_models_are_listed() -> None:
    found = {model.name: model for model in mq.list_models()}
    assert {"litemedsam-float", "medsamq-int8", "medsamq-fast"} <= set(found)
    assert found["litemedsam-float"].bits == 32
    assert all(model.megabytes < 30 and 0.5 < model.dsc["all"] < 1 for model in found.values())
    used = [kind for model in found.values() for kind in model.default_for]
    assert sorted(used) == ["CT", "MR", "other"]


def test_what_was_read_is_told_in_a_line(image: Path, tmp_path: Path) -> None:
    volume = mq.read_volume(image)
    assert repr(volume) == "<Volume image: MR, (i, j, k) 12 x 16 x 14 voxels of 1 x 1 x 1 mm>"
    mq.write_label(tmp_path / "a.seg.nrrd", BRIGHT, volume, names={1: "<b>"})
    assert repr(mq.read_label(tmp_path / "a.seg.nrrd")) == "<LabelFile a: 1 <b>>"
    named = mq.volume_from_array(voxels(), (1, 1, 1), modality="CT", name="<b>")
    assert "Volume &lt;b&gt;: CT" in named._repr_html_()
    assert "left and right are unknown" in named._repr_html_()


def test_a_notebook_shows_a_slice_and_what_is_on_it(session: mq.Session) -> None:
    def drawn() -> np.ndarray:
        picture = cv2.imdecode(np.frombuffer(session._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
        # Grey where nothing is drawn.
        return np.ptp(picture.astype(int), axis=2) > 40

    assert not drawn().any()
    assert "no label yet" in session._repr_html_()
    session.add_box(LOWER, UPPER, label="<script>Block")
    assert drawn().any()
    html = session._repr_html_()
    assert 'src="data:image/png;base64,' in html
    assert "A: 1 &lt;script&gt;Block, 0.56 mL" in html
    assert "<script" not in html
    assert "1 <script>Block, 0.56 mL" in repr(session)
