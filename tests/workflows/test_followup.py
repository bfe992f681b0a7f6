"""The labels of a prior scan find their places on a new one, and what changed is told in mL."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import write_series
from grids import ALL_48, grid_affine, rotation
from nifti_labels import TABLE, write
from scipy import ndimage
from scripted_engine import ScriptedEngine, load_instead
from sources import RAS
from typer.testing import CliRunner, Result

from napari_medsamq.analysis.registration import _image, describe_motion, register
from napari_medsamq.cli.main import app
from napari_medsamq.errors import StoppedError, VolumeError
from napari_medsamq.io.labels import read_label_file
from napari_medsamq.io.volume import Volume, read_volume, volume_from_slices
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.workflows.follow_up import prior_labels

pytestmark = pytest.mark.usefixtures("same_process")

SHAPE = (12, 16, 14)
PLAIN = np.diag([-1.0, -1, 1, 1])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    engine = ScriptedEngine()
    load_instead(monkeypatch, engine)
    return engine


@pytest.fixture
def prior(tmp_path: Path) -> Path:
    """A large label 3 with a small one, 1, within it; the file names both."""
    data = np.zeros(SHAPE, np.uint8)
    data[2:9, 5:13, 3:8] = 3
    data[4:6, 7:10, 5:7] = 1
    return write(tmp_path / "prior.nii.gz", data, PLAIN, table=TABLE)


def image(path: Path, affine: np.ndarray, *blocks: tuple[slice, ...]) -> Path:
    voxels = np.zeros(SHAPE, np.int16)
    for block in blocks:
        voxels[block] = 200
    return write(path, voxels, affine)


def followup(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["followup", *map(str, arguments), "--window", "100,200"])


def ends(volume: Volume, box: BoxPrompt3D) -> np.ndarray:
    """Where the outer corners of a box lie in the patient, lower and upper in LPS mm."""
    corners = np.array([np.array(box.lower) - 0.5, np.array(box.upper) + 0.5])
    found = corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return np.sort(found, axis=0)


def test_on_the_same_grid_a_box_is_what_the_label_spans(prior: Path, tmp_path: Path) -> None:
    new = read_volume(image(tmp_path / "new.nii.gz", PLAIN, np.s_[2:9, 5:13, 3:8]))
    large, small = prior_labels(read_label_file(prior), new)
    assert (large.label_id, large.style.name, small.style.name) == (3, "Cyst", "Liver & co")
    assert large.box == BoxPrompt3D((3, 5, 2), (7, 12, 8))
    assert small.box == BoxPrompt3D((5, 7, 4), (6, 9, 5))
    assert small.millilitres == pytest.approx(0.012)
    assert not large.cut


@pytest.mark.parametrize("grid", ALL_48[::5])
def test_a_box_stays_where_it_is_in_the_patient(
    grid: tuple[tuple[int, ...], tuple[int, ...]], prior: Path, tmp_path: Path
) -> None:
    affine = grid_affine(*grid, sizes=(0.5, 0.5, 0.5))
    # Its middle lies on the prior one's, whose voxels its own divide.
    affine[:3, 3] = PLAIN[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    affine[:3, 3] -= affine[:3, :3] @ ((np.full(3, 40) - 1) / 2)
    voxels = np.arange(40**3, dtype=np.int32).reshape(40, 40, 40) % 500
    new = read_volume(write(tmp_path / "new.nii.gz", voxels.astype(np.int16), affine))
    label = read_label_file(prior)
    large, _ = prior_labels(label, new)
    whole = BoxPrompt3D((3, 5, 2), (7, 12, 8))
    np.testing.assert_allclose(ends(new, large.box), ends(label.volume, whole), atol=1e-4)


def test_a_tilted_image_has_the_whole_label_in_its_box(prior: Path, tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = rotation((15, -10, 20)) @ PLAIN[:3, :3] * 0.5
    affine[:3, 3] = PLAIN[:3, :3] @ ((np.array(SHAPE) - 1) / 2) - affine[:3, :3] @ np.full(3, 24.5)
    voxels = np.arange(50**3, dtype=np.int32).reshape(50, 50, 50) % 500
    new = read_volume(write(tmp_path / "new.nii.gz", voxels.astype(np.int16), affine))
    label = read_label_file(prior)
    (large, _) = prior_labels(label, new)
    places = np.argwhere(label.label == 3)
    into = np.linalg.inv(new.affine) @ label.volume.affine
    mapped = places @ into[:3, :3].T + into[:3, 3]
    assert isinstance(large.box, BoxPrompt3D)
    assert (mapped.min(0) >= large.box.lower).all()
    assert (mapped.max(0) <= large.box.upper).all()
    # Voxels of twice the size reach out by their half diagonal at most.
    assert (mapped.min(0) - large.box.lower <= np.sqrt(3) + 1e-6).all()


def test_motion_and_margin_move_and_widen_boxes(prior: Path, tmp_path: Path) -> None:
    new = read_volume(image(tmp_path / "new.nii.gz", PLAIN, np.s_[2:9, 5:13, 3:8]))
    motion = np.eye(4)
    motion[:3, 3] = (1, 2, -1)
    large, _ = prior_labels(read_label_file(prior), new, motion, margin_mm=1.0)
    assert large.box == BoxPrompt3D((1, 6, 2), (7, 15, 10))
    assert not large.cut
    motion[0, 3] = 5
    large, small = prior_labels(read_label_file(prior), new, motion)
    assert large.box == BoxPrompt3D((2, 7, 7), (6, 14, 11))
    assert large.cut
    motion[0, 3] = 8
    assert prior_labels(read_label_file(prior), new, motion)[1].box is None
    assert not small.cut


def test_a_thin_label_still_has_a_box(tmp_path: Path) -> None:
    data = np.zeros(SHAPE, np.uint8)
    data[4, 5, 6] = 1
    data[11, 15, 13] = 2
    label = read_label_file(write(tmp_path / "prior.nii.gz", data, PLAIN))
    new = read_volume(image(tmp_path / "new.nii.gz", PLAIN, np.s_[2:9, 5:13, 3:8]))
    first, last = prior_labels(label, new)
    assert first.box == BoxPrompt(0, 6, 4, 5, 5, 6)
    assert last.box == BoxPrompt(0, 13, 10, 14, 11, 15)


@pytest.mark.usefixtures("fake")
def test_the_new_label_and_the_change_are_written(prior: Path, tmp_path: Path) -> None:
    # The large structure has grown by one voxel to the left, and lost its last two slices.
    moved = PLAIN.copy()
    moved[0, 3] = -1
    new = image(tmp_path / "new.nii.gz", moved, np.s_[1:9, 5:13, 3:6])
    output, table, numbers = (tmp_path / name for name in ("l.nii.gz", "t.csv", "n.json"))
    result = followup(
        *(prior, new, "-o", output, "--csv", table, "--json", numbers), "--margin", "1.5"
    )
    assert result.exit_code == 0, result.stderr
    saved = np.asarray(nib.load(output).dataobj)
    np.testing.assert_allclose(nib.load(output).affine, nib.load(new).affine)
    np.testing.assert_array_equal(saved > 0, nib.load(new).get_fdata() == 200)
    # The small one keeps its own within the large one.
    assert (saved[3:5, 7:10, 5] == 1).all()
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["name"] for row in rows] == ["Liver & co", "Cyst"]
    large = int(np.count_nonzero(saved == 3))
    assert float(rows[1]["prior_ml"]) == pytest.approx(0.268)
    assert float(rows[1]["new_ml"]) == pytest.approx(large / 1000)
    assert float(rows[1]["difference_percent"]) == pytest.approx(100 * (large - 268) / 268)
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("3 Cyst")]
    assert line.split()[2:4] == ["0.27", f"{large / 1000:.2f}"]
    assert json.loads(numbers.read_text(encoding="utf-8"))["motion"] is None


def test_what_is_gone_is_told(prior: Path, tmp_path: Path, fake: ScriptedEngine) -> None:
    new = image(tmp_path / "new.nii.gz", PLAIN, np.s_[2:4, 5:13, 3:8])
    result = followup(prior, new, "-o", tmp_path / "label.nii.gz")
    assert result.exit_code == 0, result.stderr
    assert "-0.01 mL (-100.0 %)  Note: nothing found in its box." in result.stdout
    fake.blind = True
    result = followup(prior, new, "-o", tmp_path / "none.nii.gz")
    assert result.exit_code == 1
    assert "found nothing in any box" in result.stderr
    assert not (tmp_path / "none.nii.gz").exists()


@pytest.mark.usefixtures("fake")
def test_what_cannot_be_followed_up_is_refused(prior: Path, tmp_path: Path) -> None:
    block = np.s_[2:9, 5:13, 3:8]
    new, output = image(tmp_path / "new.nii.gz", PLAIN, block), tmp_path / "label.nii.gz"
    empty = write(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.uint8), PLAIN)
    assert "is empty" in followup(empty, new, "-o", output).stderr
    far = PLAIN.copy()
    far[0, 3] = 500
    away = image(tmp_path / "far.nii.gz", far, block)
    assert "no place of the patient in common" in followup(prior, away, "-o", output).stderr
    beside = PLAIN.copy()
    beside[0, 3] = -9
    aside = image(tmp_path / "beside.nii.gz", beside, block)
    assert "No label of the prior scan lies within" in followup(prior, aside, "-o", output).stderr
    before = prior.read_bytes()
    assert "exists" in followup(prior, new, "-o", prior).stderr
    assert "stays as it is" in followup(prior, new, "-o", prior, "--overwrite").stderr
    assert "is in use" in followup(prior, new, "-o", output, "--json", output).stderr
    assert prior.read_bytes() == before
    assert not output.exists()


def scan(folder: Path) -> Path:
    """A series on the grid of the prior label, with the large structure on it."""
    voxels = np.zeros(SHAPE, np.int16)
    voxels[2:9, 5:13, 3:8] = 200
    # In LPS, of which the label's header has the negative of two axes.
    return write_series(folder, voxels, RAS @ PLAIN)


def test_no_file_of_either_scan_is_replaced(
    prior: Path, tmp_path: Path, fake: ScriptedEngine
) -> None:
    new, before = scan(tmp_path / "new"), scan(tmp_path / "before")
    held = {path: path.read_bytes() for path in (*new.iterdir(), *before.iterdir())}

    def refused(output: Path, words: str, *more: object) -> None:
        result = followup(prior, new, "-o", output, "--overwrite", *more)
        assert result.exit_code == 1
        assert words in result.stderr
        assert {path: path.read_bytes() for path in held} == held

    refused(new / "995.dcm", "stays as it is")
    refused(before / "995.dcm", "stay as they are", "--prior-image", before)
    output = tmp_path / "label.dcm"
    for folder in (new, before):
        numbers = folder / "994.dcm"
        refused(output, "is in use", "--prior-image", before, "--csv", numbers)
    # A series of label numbers is a label, too.
    result = followup(before, new, "-o", before / "995.dcm", "--overwrite")
    assert "stay as they are" in result.stderr
    # What no DICOM can refer to is told before the network is asked.
    plain = image(tmp_path / "new.nii.gz", PLAIN, np.s_[2:9, 5:13, 3:8])
    assert "was not read from DICOM" in followup(prior, plain, "-o", output).stderr
    assert {path: path.read_bytes() for path in held} == held
    assert not output.exists()
    assert not fake.images
    # A label may lie beside the slices that it is of, and be replaced there.
    for _ in range(2):
        result = followup(prior, new, "-o", new / "label.dcm", "--overwrite")
        assert result.exit_code == 0, result.stderr


@pytest.mark.usefixtures("fake")
def test_one_volume_of_several_is_chosen_for_either_scan(tmp_path: Path) -> None:
    values = textured().data.transpose(2, 1, 0)[8:36, 8:36]
    affine = np.diag([-2.0, -2, 2, 1])
    label = np.zeros(values.shape, np.uint8)
    label[10:16, 10:18, 14:20] = 1
    prior = write(tmp_path / "prior.nii.gz", label, affine)
    times = write(tmp_path / "times.nii.gz", np.stack([values * 0 + 7, values], -1), affine)
    uneven = write_series(tmp_path / "uneven", values.astype(np.int16), RAS @ affine)
    (uneven / "990.dcm").unlink()
    arguments = ("-o", tmp_path / "label.nii.gz", "--modality", "ct", "--overwrite")
    result = followup(prior, times, *arguments)
    assert "by --volume on the command line" in result.stderr
    assert "--prior" not in result.stderr
    assert "--resample" in followup(prior, uneven, *arguments).stderr
    for new, old, words in (
        ((times, "--volume", 2), (times, "--prior-volume", 2), "--prior-volume"),
        ((uneven, "--resample"), (uneven, "--prior-resample"), "--prior-resample"),
    ):
        result = followup(prior, *new, *arguments)
        assert result.exit_code == 0, result.stderr
        result = followup(prior, *new, *arguments, "--prior-image", old[0])
        assert result.exit_code == 1
        assert words in result.stderr
        result = followup(prior, *new, *arguments, "--prior-image", *old)
        assert result.exit_code == 0, result.stderr


def textured(seed: int = 0) -> Volume:
    """A volume of blobs of 2 mm voxels, unlike itself wherever it is moved to."""
    noise = np.random.default_rng(seed).normal(size=(36, 44, 40))
    blobs = ndimage.gaussian_filter(noise, 3)
    values = np.round(blobs / blobs.std() * 100).astype(np.int16)
    values[:, :4] = values[:, -4:] = values[:3] = -400
    return replace(volume_from_slices(values, (2, 2, 2), "prior"), orientation_known=True)


@pytest.mark.parametrize("inverted", [False, True])
def test_registration_finds_a_known_motion(*, inverted: bool) -> None:
    """Also where bright has become dark, as in another sequence."""
    prior = textured()
    middle = (prior.affine @ [*(np.array(prior.data.shape) - 1) / 2, 1])[:3]
    motion = np.eye(4)
    motion[:3, :3] = rotation((3, -2, 5))
    motion[:3, 3] = middle - motion[:3, :3] @ middle + (7, -5, 4)
    # The new image on the prior one's grid.
    back = np.linalg.inv(prior.affine) @ np.linalg.inv(motion) @ prior.affine
    values = ndimage.affine_transform(
        prior.data.astype(float), back[:3, :3], back[:3, 3], order=1, mode="nearest"
    )
    new = replace(prior, data=(-values if inverted else values).astype(np.float32), name="new")
    found = register(prior, new)
    corners = np.array([[x, y, z, 1] for x in (20, 60) for y in (20, 66) for z in (18, 54)])
    apart = np.linalg.norm((corners @ (found.matrix - motion).T)[:, :3], axis=1)
    assert apart.max() < 0.7
    assert found.after > found.before
    assert found.degrees == pytest.approx(6.2, abs=0.5)
    np.testing.assert_allclose(found.shift_at(middle), (7, -5, 4), atol=0.5)
    assert not found.doubt


def test_images_that_do_not_belong_together_are_doubted() -> None:
    found = register(textured(), textured(1))
    assert "hardly better than when one is mirrored" in found.doubt
    assert found.doubt in describe_motion(found, np.zeros(3))


def test_a_registration_ends_when_it_is_told_to() -> None:
    shares: list[float] = []

    def go_on(share: float) -> bool:
        shares.append(share)
        return share < 0.1

    with pytest.raises(StoppedError):
        register(textured(), textured(1), go_on)
    assert shares == sorted(shares)
    assert max(shares) < 0.8


def test_registration_starts_where_files_leave_no_overlap() -> None:
    prior = textured()
    affine = prior.affine.copy()
    affine[:3, 3] += (300, -200, 100)
    found = register(prior, replace(prior, affine=affine))
    np.testing.assert_allclose(found.matrix, affine @ np.linalg.inv(prior.affine), atol=0.3)
    assert found.before == 0


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((10, 96, 96), (0.1, 0.1, 0.1)),
        ((80, 5, 80), (0.3, 0.3, 0.3)),
        ((48, 48, 48), (0.05, 0.05, 0.05)),
        ((4, 40, 40), (1.0, 1.0, 1.0)),
        ((7, 40, 40), (1.0, 1.0, 1.0)),
        ((8, 40, 40), (0.5, 0.5, 0.5)),
        ((40, 40, 4), (0.5, 1.0, 5.0)),
        ((4, 4, 4), (1.0, 1.0, 1.0)),
    ],
)
def test_thin_and_fine_volumes_are_registered(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    """However few voxels there are to leave out, and however small they are."""
    noise = np.random.default_rng(0).normal(size=[size + 2 for size in shape])
    blobs = np.round(ndimage.gaussian_filter(noise, 2) * 1e4).astype(np.int16)
    prior = volume_from_slices(blobs[1:-1, 1:-1, 1:-1], spacing, "prior")
    same = register(prior, prior)
    np.testing.assert_allclose(same.matrix, np.eye(4), atol=1e-3)
    shift = np.array([size > 4 for size in shape])
    moved = blobs[
        tuple(slice(1 - by, size + 1 - by) for by, size in zip(shift, shape, strict=True))
    ]
    found = register(prior, volume_from_slices(moved, spacing, "new"))
    middle = (prior.affine @ [*(np.array(shape) - 1) / 2, 1])[:3]
    np.testing.assert_allclose(found.shift_at(middle)[::-1] / spacing, shift, atol=0.5)


def test_a_large_thin_volume_keeps_its_slices() -> None:
    """What is left out to save memory is left out where there is more of it."""
    values = np.random.default_rng(0).integers(0, 99, (5, 1000, 1000), np.int16)
    slab = volume_from_slices(values, (0.01, 2.0, 2.0), "slab")
    assert _image(slab).GetSize() == (1000, 500, 5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 40, 40), (40, 2, 40)])
def test_a_slice_is_not_registered(shape: tuple[int, ...]) -> None:
    flat = volume_from_slices(np.arange(np.prod(shape)).reshape(shape), (1, 1, 1), "flat")
    for pair in ((flat, textured()), (textured(), flat)):
        with pytest.raises(VolumeError, match=r"flat: .* 4 or more voxels along each axis"):
            register(*pair)


def test_an_image_of_the_largest_numbers_is_not_registered() -> None:
    large = volume_from_slices(np.arange(512.0).reshape(8, 8, 8) * 1e38, (1, 1, 1), "large")
    with pytest.raises(VolumeError, match="large: has values beyond 3e38"):
        register(large, textured())


def test_an_image_without_detail_is_not_registered() -> None:
    fine = np.indices((48, 48, 48)).sum(0) % 2
    checkers = volume_from_slices(fine.astype(np.int16), (1, 1, 1), "checkers")
    with pytest.raises(VolumeError, match="checkers could not be registered"):
        register(checkers, textured())


@pytest.mark.usefixtures("fake")
def test_a_patient_who_has_moved_is_found_by_the_prior_image(tmp_path: Path) -> None:
    values = textured().data.transpose(2, 1, 0)[8:36, 8:36]
    ras = np.diag([-2.0, -2, 2, 1])
    moved = ras.copy()
    moved[:3, 3] = (-12, 8, 6)
    label = np.zeros(values.shape, np.uint8)
    label[10:16, 10:18, 14:20] = 1
    prior_image = write(tmp_path / "prior_image.nii.gz", values, ras)
    prior = write(tmp_path / "prior.nii.gz", label, ras)
    new = write(tmp_path / "new.nii.gz", values, moved)
    numbers = tmp_path / "n.json"
    arguments = (prior, new, "-o", tmp_path / "l.nii.gz", "--modality", "ct", "--json", numbers)
    result = followup(*arguments, "--prior-image", prior_image)
    assert result.exit_code == 0, result.stderr
    assert "Registered: moved 12.0 mm to the left, 8.0 mm forward, 6.0 mm up" in result.stdout
    motion = np.array(json.loads(numbers.read_text(encoding="utf-8"))["motion"])
    np.testing.assert_allclose(motion[:3, 3], (12, -8, 6), atol=0.2)
    labelled = np.argwhere(np.asarray(nib.load(tmp_path / "l.nii.gz").dataobj))
    # In the voxels that the prior label spans; the fake network takes a little more.
    assert (labelled.min(0) >= (9, 9, 13)).all()
    assert (labelled.max(0) <= (18, 20, 20)).all()
