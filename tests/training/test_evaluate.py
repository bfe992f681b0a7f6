from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from scripted_engine import ScriptedEngine
from typer.testing import CliRunner

from napari_medsamq.analysis.metrics import nsd
from napari_medsamq.annotation.review import DOUBTFUL, SURE
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import VolumeError
from napari_medsamq.inference.model_choice import default_model
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.io.volume import read_volume
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, CarryPrompt
from training import evaluate
from training.data.cases import find_cases
from training.evaluation.confidence_study import describe_checks, mend_worst
from training.evaluation.findings import list_findings
from training.evaluation.interactive import deepest_error
from training.evaluation.model_run import CLICKS, LOOSE, Evaluation, list_modes, score_models
from training.evaluation.protocol import Protocol, Target, list_targets, loosened, middle_box
from training.evaluation.score_summary import SOURCES, Score, clicks_needed, missed_share, summarise
from training.evaluation.tables import difference_table, score_table

SIZE = 64


def within(box: np.ndarray, found: np.ndarray | bool) -> np.ndarray:
    """Logits of what is found in a box; for slices of 64 x 64 pixels."""
    x0, y0, x1, y1 = box.astype(int)
    inside = np.zeros((256, 256), bool)
    inside[y0 : y1 + 1, x0 : x1 + 1] = True
    return np.where(inside & found, 4, -4)


def bright_part(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    return within(box, image > 0.5)


def whole(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    return within(box, True)


def right_near(
    found: np.ndarray, image: np.ndarray, clicks: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Find what is right around each click."""
    rows, columns = np.mgrid[:256, :256]
    for x, y in clicks:
        near = np.hypot(columns - x, rows - y) < 24
        found = np.where(near, np.where(image > 0.5, 4, -4), found)
    return found


def write_case(root: Path, place: str, label: np.ndarray, **arrays: Any) -> Path:
    """Write a case in which each object is bright."""
    path = root / f"{place}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    images = (label > 0).astype(np.uint8) * 200
    if label.ndim == 2:
        images = np.repeat(images[..., None], 3, axis=-1)
    np.savez_compressed(path, **{"imgs": images, "gts": label, **arrays})
    return path


def squares(*corners: tuple[int, int, int], slices: int = 1) -> np.ndarray:
    """Label with squares (row, column, side) of the ids 1, 2, ... on every slice."""
    label = np.zeros((slices, SIZE, SIZE), np.uint16)
    for label_id, (row, column, side) in enumerate(corners, start=1):
        label[:, row : row + side, column : column + side] = label_id
    return label


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Five 2D objects of two modalities and three data sets, and a volume of two ids."""
    root = tmp_path / "cases"
    write_case(root, "CT/Body/a", squares((5, 5, 20), (40, 40, 12)), spacing=[1.0, 1, 1])
    write_case(root, "CT/Body/b", squares((20, 8, 16)), spacing=[1.0, 1, 1])
    write_case(root, "US/Cyst/a", squares((0, 30, 14))[0], boxes=[[30, 0, 43, 13]])
    volume = np.zeros((7, SIZE, SIZE), np.uint8)
    volume[1:6, 8:20, 8:20] = 2
    volume[2:4, 30:50, 36:52] = 7
    boxes = [[8, 8, 1, 19, 19, 5], [36, 30, 2, 51, 49, 3]]
    write_case(root, "CT/Whole/v", volume, spacing=[0.5, 0.5, 4], boxes=boxes)
    return root


def scored(
    data_dir: Path, engines: dict[str, Any], protocol: Protocol, seed: int = 0, **options: Any
) -> Evaluation:
    """Score engines in the modes of a protocol, which are listed by their texts."""
    asked = {key: options.pop(key) for key in ("zoom", "tight", "prompts") if key in options}
    modes = list_modes(engines, protocol, **asked)
    found = score_models(data_dir, engines, modes, seed, **options)
    return Evaluation({str(mode): own for mode, own in found.scores.items()}, found.failed)


def run(data_dir: Path, protocol: str = "2d", **options: Any) -> Evaluation:
    engines = {"bright": ScriptedEngine(bright_part), "boxes": ScriptedEngine(whole)}
    return scored(data_dir, engines, Protocol(protocol), options.pop("seed", 0), **options)


def targets_of(data_dir: Path, protocol: str = "2d", seed: int = 0) -> list[Target]:
    cases = find_cases(data_dir)
    return [t for case in cases for t in list_targets(case, Protocol(protocol), seed)]


def timeless(evaluation: Evaluation) -> dict[str, list[tuple[Target, float, float]]]:
    return {
        name: [(score.target, score.dsc, score.nsd) for score in scores]
        for name, scores in evaluation.scores.items()
    }


def test_every_id_in_every_slice_is_an_object(data_dir: Path) -> None:
    found = [(t.case.data_set, t.case.name, t.index, t.label_id) for t in targets_of(data_dir)]
    volume = [("CT/Whole", "v", z, 2) for z in range(1, 6)]
    volume[2:2] = [("CT/Whole", "v", 2, 7)]
    volume[4:4] = [("CT/Whole", "v", 3, 7)]
    body = [("CT/Body", "a", 0, 1), ("CT/Body", "a", 0, 2), ("CT/Body", "b", 0, 1)]
    assert found == [*body, *volume, ("US/Cyst", "a", 0, 1)]


@pytest.mark.parametrize(("pixels", "objects"), [(99, 0), (100, 1)])
def test_small_objects_are_left_out(tmp_path: Path, pixels: int, objects: int) -> None:
    label = squares((10, 10, 10))
    label[0, 19, 19] = 0 if pixels == 99 else 1
    write_case(tmp_path, "CT/Body/a", label)
    assert len(targets_of(tmp_path)) == objects


def test_boxes_are_moved_outwards_and_clipped(tmp_path: Path) -> None:
    for name in range(40):
        label = squares((20, 24, 12), (0, 0, 11), (SIZE - 11, SIZE - 11, 11))
        write_case(tmp_path, f"CT/Body/{name}", label)
    shifts = set()
    for target in targets_of(tmp_path):
        x0, y0, x1, y1 = target.box.xyxy
        if target.label_id == 1:
            sides = (24 - x0, 20 - y0, x1 - 35, y1 - 31)
        elif target.label_id == 2:
            sides = (x1 - 10, y1 - 10)
            assert (x0, y0) == (0, 0)
        else:
            sides = (SIZE - 11 - x0, SIZE - 11 - y0)
            assert (x1, y1) == (SIZE - 1, SIZE - 1)
        shifts |= set(sides)
    assert shifts == {0, 1, 2, 3, 4, 5}


def test_boxes_follow_from_seed_and_names_on_every_machine(data_dir: Path) -> None:
    first, other = targets_of(data_dir, seed=0), targets_of(data_dir, seed=1)
    assert first[0].box == BoxPrompt(0, 0, 0, 3, 24, 24)
    assert [t.box for t in first] != [t.box for t in other]
    renamed = data_dir.parent / "elsewhere"
    data_dir.rename(renamed)
    assert [t.box for t in targets_of(renamed)] == [t.box for t in first]


def test_masks_are_scored_against_the_reference(data_dir: Path) -> None:
    scores = run(data_dir).scores
    assert all((score.dsc, score.nsd) == (1, 1) for score in scores["bright"])
    for score, side in zip(scores["boxes"][:3], (20, 12, 16), strict=False):
        x0, y0, x1, y1 = score.target.box.xyxy
        area = (x1 - x0 + 1) * (y1 - y0 + 1)
        assert score.dsc == pytest.approx(2 * side**2 / (side**2 + area))
        assert score.nsd < 1


def test_nsd_takes_the_spacing_of_the_slice(data_dir: Path) -> None:
    scores = run(data_dir).scores["boxes"]
    score = next(s for s in scores if s.target.case.name == "v" and s.target.label_id == 7)
    reference, mask = np.zeros((2, SIZE, SIZE), bool)
    reference[30:50, 36:52] = True
    x0, y0, x1, y1 = score.target.box.xyxy.astype(int)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    assert score.nsd == nsd(reference, mask, (0.5, 0.5), 2)
    assert score.nsd != nsd(reference, mask, (1, 1), 2)


def test_volumes_are_segmented_by_their_own_boxes(data_dir: Path) -> None:
    targets = targets_of(data_dir, "3d")
    assert [(t.case.name, t.label_id, t.box) for t in targets] == [
        ("v", 2, BoxPrompt3D((1, 8, 8), (5, 19, 19))),
        ("v", 7, BoxPrompt3D((2, 30, 36), (3, 49, 51))),
    ]
    scores = run(data_dir, "3d").scores
    assert [(s.dsc, s.nsd) for s in scores["bright"]] == [(1, 1), (1, 1)]
    # Of two slices, the first has the box itself, and the second the one around its mask, widened
    # by 3 frame pixels, which come to one slice pixel all around.
    assert scores["boxes"][1].dsc == pytest.approx(2 * 640 / (640 + 20 * 16 + 22 * 18))
    assert scores["boxes"][1].ms > 0


def test_a_slice_is_encoded_once_for_each_model(data_dir: Path) -> None:
    engines = {"bright": ScriptedEngine(bright_part), "boxes": ScriptedEngine(whole)}
    scored(data_dir, engines, Protocol.slices, 0)
    assert [len(engine.images) for engine in engines.values()] == [8, 8]
    # Grey values as they are, stretched to 0..1.
    assert set(np.unique(engines["bright"].images[0])) == {0, 1}


def test_each_object_is_charged_with_its_slices_encoding(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(10**6))
    monkeypatch.setattr(
        "napari_medsamq.inference.slice_predictor.perf_counter", lambda: float(next(now))
    )
    scores = run(data_dir).scores["bright"]
    # One second for the encoding and one for the decoding, also where the embedding was at hand.
    assert {score.ms for score in scores} == {2000}


def test_the_limit_draws_from_each_data_set(data_dir: Path) -> None:
    whole = timeless(run(data_dir))["boxes"]
    drawn = [timeless(run(data_dir, limit=2, seed=0))["boxes"] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert [score for score in whole if score in drawn[0]] == drawn[0]
    sets = [target.case.data_set for target, _, _ in drawn[0]]
    assert sets == ["CT/Body"] * 2 + ["CT/Whole"] * 2 + ["US/Cyst"]
    others = [timeless(run(data_dir, limit=2, seed=seed))["boxes"] for seed in range(1, 6)]
    chosen = {tuple((t.index, t.label_id) for t, _, _ in scores) for scores in others}
    assert len(chosen) > 1


def test_results_are_the_same_again_and_in_other_company(data_dir: Path) -> None:
    evaluation = run(data_dir)
    assert timeless(run(data_dir)) == timeless(evaluation)
    alone = scored(data_dir, {"boxes": ScriptedEngine(whole)}, Protocol.slices, 0)
    assert timeless(alone)["boxes"] == timeless(evaluation)["boxes"]


def test_models_take_turns(tmp_path: Path) -> None:
    for name in range(4):
        write_case(tmp_path, f"CT/Body/{name}", squares((20, 24, 12), slices=2))
    order: list[str] = []

    class Noting(ScriptedEngine):
        def __init__(self, name: str) -> None:
            super().__init__(bright_part)
            self.name = name

        def encode(self, image: np.ndarray) -> np.ndarray:
            order.append(self.name)
            return super().encode(image)

    scored(tmp_path, {n: Noting(n) for n in "AB"}, Protocol.slices, 0)
    pairs = ["".join(order[i : i + 2]) for i in range(0, len(order), 2)]
    assert pairs.count("AB") == pairs.count("BA") == 4


def scores_of(values: dict[str, list[float]], tmp_path: Path) -> list[Score]:
    """Scores for data sets: each value is the DSC of a case of its own, half of it the NSD."""
    found = []
    for data_set, dscs in values.items():
        for number, value in enumerate(dscs):
            path = write_case(tmp_path, f"{data_set}/{number}", squares((20, 20, 12)))
            case = next(case for case in find_cases(tmp_path) if case.path == path)
            target = Target(case, 1, BoxPrompt(0, 0, 20, 20, 31, 31))
            found.append(Score(target, value, value / 2, ms=100 * value))
    return found


def test_means_over_objects_then_over_data_sets(tmp_path: Path) -> None:
    values = {"CT/A": [0.2, 0.4, 0.6], "CT/B": [0.8], "US/C": [0.1, 0.3]}
    models = summarise({"m": scores_of(values, tmp_path)}, seed=0)["models"]
    assert set(models["m"]) == {"macro", "modalities", "datasets", "sources", "sizes"}
    assert models["m"]["sources"] == {}  # the training knows none of them
    assert models["m"]["macro"] == pytest.approx({"dsc": 1.4 / 3, "nsd": 0.7 / 3, "ms": 35})
    rows = {**models["m"]["modalities"], **models["m"]["datasets"]}
    assert {name: row["n"] for name, row in rows.items()} == {
        "CT": 4,
        "US": 2,
        "CT/A": 3,
        "CT/B": 1,
        "US/C": 2,
    }
    assert rows["CT"]["dsc"] == pytest.approx(0.6)
    assert rows["CT"]["nsd"] == pytest.approx(0.3)
    assert rows["CT"]["ms"] == pytest.approx(50)
    assert rows["CT/A"]["dsc"] == pytest.approx(0.4)
    assert set(rows["US"]) == set(rows["CT/B"]) == {"dsc", "nsd", "ms", "n", "ci95"}
    assert rows["CT/B"]["ci95"] == {"dsc": None, "nsd": None}
    # Two cases: the mean is that of the one, the other, or both.
    assert rows["US/C"]["ci95"]["dsc"] == pytest.approx([0.1, 0.3])


def test_sources_of_the_training_stand_apart_from_others(tmp_path: Path) -> None:
    # The training has lungs of this source, and MR of the other one.
    values = {"XRay/GBCXR-cardiomediastinum": [0.2], "CT/STS": [0.6], "CT/A": [0.3, 0.5]}
    scores = {"A": scores_of(values, tmp_path), "B": scores_of(values, tmp_path)}
    summary = summarise(scores, seed=0)
    known, other = summary["models"]["A"]["sources"].values()
    assert (known["dsc"], known["n"]) == (pytest.approx(0.4), 2)
    assert (other["dsc"], other["n"]) == (pytest.approx(0.4), 2)
    first = list(score_table(summary).columns[0].cells)
    assert [name for name in SOURCES if name in first] == list(SOURCES)
    assert set(summary["differences"]["B"]["sources"]) == set(SOURCES)


def test_the_interval_of_a_mean_has_its_textbook_width(tmp_path: Path) -> None:
    values = np.random.default_rng(5).normal(0.5, 0.1, 40).tolist()
    row = summarise({"m": scores_of({"CT/A": values}, tmp_path)}, seed=0)["models"]["m"]
    low, high = row["datasets"]["CT/A"]["ci95"]["dsc"]
    mean, half = np.mean(values), 1.96 * np.std(values) / np.sqrt(len(values))
    assert [low, high] == pytest.approx([mean - half, mean + half], abs=0.1 * half)


def test_differences_are_paired_by_case(tmp_path: Path) -> None:
    before = {"CT/A": [0.1, 0.9, 0.5, 0.3], "US/B": [0.2, 0.6]}
    after = {"CT/A": [0.2, 1.0, 0.6, 0.4], "US/B": [0.2, 0.6]}
    scores = {"A": scores_of(before, tmp_path), "B": scores_of(after, tmp_path)}
    differences = summarise(scores, seed=0)["differences"]
    assert set(differences) == {"B"}
    macro, modalities = differences["B"]["macro"], differences["B"]["modalities"]
    for metric, gain in (("dsc", 0.1), ("nsd", 0.05)):
        assert macro[metric]["mean"] == pytest.approx(gain / 2)
        assert modalities["CT"][metric]["mean"] == pytest.approx(gain)
        # What varies between cases is in both models, so nothing is left of it.
        assert modalities["CT"][metric]["ci95"] == pytest.approx([gain, gain])
        assert modalities["US"][metric]["ci95"] == pytest.approx([0, 0])


@pytest.mark.parametrize(
    ("mean", "interval", "verdict"),
    [
        (-0.004, [-0.3, -0.002], "met"),
        (-0.02, [-0.03, -0.009], "open"),
        (-0.02, [-0.03, -0.011], "missed"),
        (-0.02, None, "open"),
    ],
)
def test_a_goal_is_missed_only_by_the_whole_interval(
    mean: float, interval: list[float] | None, verdict: str
) -> None:
    value = {"mean": mean, "ci95": interval}
    same = {"mean": 0.0, "ci95": [0.0, 0.0]}
    rows = {
        "macro": {"dsc": same, "nsd": same},
        "modalities": {"MR": {"dsc": value, "nsd": same}},
        "sources": {},
        "sizes": {},
    }
    table = difference_table("B", rows, "A")
    assert list(table.columns[-1].cells) == ["met", "met", verdict, "met"]


def break_case(path: Path, how: str) -> None:
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-200])
        return
    with np.load(path) as arrays:
        case = dict(arrays)
    if how == "no gts":
        del case["gts"]
    elif how == "float gts":
        case["gts"] = case["gts"].astype(np.float32)
    elif how == "other shape":
        case["gts"] = case["gts"][:, :-1]
    elif how == "boxes missing":
        case["boxes"] = case["boxes"][:1]
    elif how == "box outside":
        case["boxes"] = case["boxes"] + np.int32(30)
    elif how == "no boxes":
        del case["boxes"]
    np.savez_compressed(path, **case)


@pytest.mark.parametrize("how", ["cut", "no gts", "float gts", "other shape"])
def test_a_bad_case_is_named_and_the_others_are_scored(data_dir: Path, how: str) -> None:
    bad = data_dir / "CT" / "Body" / "a.npz"
    break_case(bad, how)
    evaluation = run(data_dir)
    assert set(evaluation.failed) == {"CT/Body/a"}
    assert str(bad) in evaluation.failed["CT/Body/a"]
    assert {len(scores) for scores in evaluation.scores.values()} == {9}


@pytest.mark.parametrize("how", ["boxes missing", "box outside", "no boxes"])
def test_bad_boxes_fail_a_volume_but_not_its_slices(data_dir: Path, how: str) -> None:
    break_case(data_dir / "CT" / "Whole" / "v.npz", how)
    assert run(data_dir).failed == {}
    with pytest.raises(VolumeError, match=r"v\.npz"):
        run(data_dir, "3d")


def test_a_folder_without_cases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="modality"):
        run(tmp_path)


def command(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(evaluate.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def two_models(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    def engine(directory: Path) -> ScriptedEngine:
        return ScriptedEngine(bright_part if directory.name == "bright" else whole)

    monkeypatch.setattr(evaluate, "OpenVINOEngine", engine)
    return ["--model", "models/boxes", "--model", "models/bright"]


def test_the_command_writes_json_and_csv(
    data_dir: Path, tmp_path: Path, two_models: list[str]
) -> None:
    files = tmp_path / "out.json", tmp_path / "out.csv"
    result = command(data_dir, *two_models, "--json", files[0], "--csv", files[1], "--seed", 3)
    assert result.exit_code == 0, result.output
    for word in ("CT/Body", "US", "macro", "boxes", "bright minus boxes", "met"):
        assert word in result.output
    whole = json.loads(files[0].read_text(encoding="utf-8"))
    assert (whole["protocol"], whole["seed"], whole["limit"]) == ("2d", 3, None)
    assert list(whole["models"]) == ["boxes", "bright"]
    assert whole["models"]["bright"]["macro"]["dsc"] == 1
    assert set(whole["cases"]) == {"CT/Body/a", "CT/Body/b", "CT/Whole/v", "US/Cyst/a"}
    assert whole["cases"]["CT/Body/a"]["bright"]["n"] == 2
    assert whole["failed"] == {}
    gain = whole["differences"]["bright"]["macro"]["dsc"]["mean"]
    assert gain == pytest.approx(1 - whole["models"]["boxes"]["macro"]["dsc"])
    with files[1].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 11
    body = [float(r["dsc"]) for r in rows if (r["model"], r["data_set"]) == ("boxes", "CT/Body")]
    assert np.mean(body) == pytest.approx(
        whole["models"]["boxes"]["datasets"]["CT/Body"]["dsc"], abs=1e-6
    )


def test_the_command_ends_with_1_after_a_bad_case(
    data_dir: Path, tmp_path: Path, two_models: list[str]
) -> None:
    break_case(data_dir / "CT" / "Body" / "b.npz", "cut")
    file = tmp_path / "out.json"
    result = command(data_dir, *two_models, "--json", file)
    assert result.exit_code == 1
    assert "b.npz" in result.output
    whole = json.loads(file.read_text(encoding="utf-8"))
    assert set(whole["failed"]) == {"CT/Body/b"}
    assert whole["models"]["bright"]["datasets"]["CT/Body"]["n"] == 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--model", "other/boxes"], "Rename"),
        (["--json", "nowhere/out.json"], "existing folder"),
        (["--protocol", "4d"], "protocol"),
        (["--limit", "0"], "limit"),
        (["--record", "--limit", "1"], "--record"),
        (["--plot", "sizes.png", "--protocol", "3d"], "--plot"),
        (["--prompt", "box+mask", "--protocol", "3d"], "--prompt"),
        (["--prompt", "mask", "--protocol", "propagate"], "prompt"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    data_dir: Path, two_models: list[str], arguments: list[str], word: str
) -> None:
    result = command(data_dir, *two_models, *arguments)
    assert result.exit_code != 0
    assert word in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_model_directory_is_scored_by_the_plugins_engine(tmp_path: Path) -> None:
    write_case(tmp_path, "CT/Body/a", squares((20, 24, 24)))
    file = tmp_path / "out.json"
    result = command(tmp_path, "--model", default_model("CT"), "--json", file)
    assert result.exit_code == 0, result.output
    macro = json.loads(file.read_text(encoding="utf-8"))["models"][default_model("CT").name][
        "macro"
    ]
    assert macro["dsc"] > 0.7
    assert macro["ms"] > 0


def test_sizes_are_drawn(data_dir: Path, two_models: list[str], tmp_path: Path) -> None:
    picture = tmp_path / "sizes.png"
    result = command(data_dir, *two_models, "--plot", picture)
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(picture)).std() > 10


def test_scores_are_recorded_where_the_plugin_finds_them(tmp_path: Path) -> None:
    write_case(tmp_path, "CT/Body/a", squares((20, 24, 24)))
    model = shutil.copytree(default_model("CT"), tmp_path / "mine")
    before = ModelSpec.read(model)
    file = tmp_path / "out.json"
    result = command(tmp_path, "--model", model, "--json", file, "--record")
    assert result.exit_code == 0, result.output
    after = ModelSpec.read(model)
    own = json.loads(file.read_text(encoding="utf-8"))["models"]["mine"]
    assert after.scores["all"]["dsc"] == pytest.approx(own["macro"]["dsc"], abs=1e-4)
    assert set(after.scores) == {"all", "CT"}
    assert (after.sha256, after.provenance) == (before.sha256, before.provenance)


def test_a_propagation_starts_from_the_middle_slice_and_counts_its_ghosts(tmp_path: Path) -> None:
    label = np.zeros((9, SIZE, SIZE), np.uint16)
    label[2:7, 20:40, 20:40] = 1
    path = write_case(tmp_path, "CT/Body/a", label, boxes=[[18, 18, 1, 42, 42, 7]])
    evaluation = scored(tmp_path, {"rule": ScriptedEngine(bright_part)}, Protocol.propagate, 0)
    assert list(evaluation.scores) == ["rule, 3D box", "rule"]
    (carried,) = evaluation.scores["rule"]
    assert carried.dsc == pytest.approx(1)
    assert (carried.ghosts, carried.slices) == (0, 5)
    (target,) = list_targets(find_cases(tmp_path)[0], Protocol.propagate, 0)
    assert middle_box(target, label, 0).index == 4
    assert path.exists()


def test_a_propagation_is_scored_by_each_prompt(tmp_path: Path) -> None:
    label = np.zeros((9, SIZE, SIZE), np.uint16)
    label[2:7, 20:40, 20:40] = 1
    for name in "ab":
        write_case(tmp_path, f"CT/Body/{name}", label, boxes=[[18, 18, 1, 42, 42, 7]])
    # Not sure of what it finds, as beyond an end, where there is no tip.
    engines = {"rule": ScriptedEngine(whole, led=True, iou=0.5)}
    prompts = list(CarryPrompt)[:2]
    scores = scored(tmp_path, engines, Protocol.propagate, 0, prompts=prompts).scores
    assert list(scores) == ["rule, 3D box", "rule, box", "rule, box+mask"]
    # Boxes grow from slice to slice; the mask before, which is surer, holds them where they were.
    for alone, led in zip(scores["rule, box"], scores["rule, box+mask"], strict=True):
        assert led.dsc > alone.dsc


def test_the_command_tells_what_the_mask_before_adds(tmp_path: Path, two_models: list[str]) -> None:
    label = np.zeros((5, SIZE, SIZE), np.uint16)
    label[1:4, 20:40, 20:40] = 1
    write_case(tmp_path, "CT/Body/a", label, boxes=[[18, 18, 1, 42, 42, 3]])
    file, asked = tmp_path / "out.json", ["--prompt", "box", "--prompt", "box+mask"]
    result = command(tmp_path, *two_models[2:], "--protocol", "propagate", *asked, "--json", file)
    assert result.exit_code == 0, result.output
    assert "bright, box+mask minus bright, box: DSC +0.000, NSD +0.000" in result.output
    whole = json.loads(file.read_text(encoding="utf-8"))
    assert list(whole["models"]) == ["bright, 3D box", "bright, box", "bright, box+mask"]
    assert whole["prompts"]["bright, box+mask"]["macro"]["dsc"]["mean"] == 0


def test_confidence_finds_the_slice_that_is_wrong_and_a_box_mends_it(tmp_path: Path) -> None:
    label = np.zeros((9, SIZE, SIZE), np.uint16)
    label[1:8, 20:40, 20:40] = 1
    write_case(tmp_path, "CT/Body/a", label, boxes=[[18, 18, 0, 42, 42, 8]])
    engine = ScriptedEngine(bright_part)
    evaluation = scored(tmp_path, {"rule": engine}, Protocol.confidence, 0)
    assert list(evaluation.scores) == ["rule", "rule, worst slice boxed anew"]
    (score,) = evaluation.scores["rule"]
    assert len(score.checks) == score.slices == 7
    assert all(0 <= sure <= 1 and right == pytest.approx(1) for sure, right in score.checks)
    (mended,) = evaluation.scores["rule, worst slice boxed anew"]
    assert mended.checks == ()
    assert mended.dsc == pytest.approx(1)


def test_checks_are_summed_up_over_all_slices(data_dir: Path) -> None:
    target = targets_of(data_dir)[0]
    # Ten slices; the two least sure ones are the two that are wrong, and one that is sure is, too.
    sure = [0.1, 0.2, 0.9, *np.linspace(0.5, 0.8, 7)]
    right = [0.2, 0.3, 0.4, *np.linspace(0.8, 0.9, 7)]
    pairs = tuple(zip(sure, right, strict=True))
    scores = [Score(target, 0.5, 0.5, 1.0, checks=own) for own in (pairs[:4], pairs[4:])]
    found = describe_checks(scores)
    assert found["slices"] == 10
    assert found["bad"] == pytest.approx(0.3)
    assert found["found"] == pytest.approx(2 / 3)
    assert 0.3 < found["spearman"] < 0.9
    sure, right = np.array(sure), np.array(right)
    assert found["doubtful"] == np.mean(sure < DOUBTFUL)
    assert found["sure"] == np.mean(sure >= SURE)
    assert found["good"] == np.mean(right[sure >= SURE] >= 0.7)
    assert found["caught"] == pytest.approx(2 / 3)
    # Of the three least sure ones two are wrong.
    assert found["doubtful_to"] == 0.5
    # One of the surest is wrong, and never are nine of ten right.
    assert found["sure_from"] > 1
    right[2] = 0.95
    pairs = tuple(zip(sure.tolist(), right.tolist(), strict=True))
    found = describe_checks([Score(target, 0.5, 0.5, 1.0, checks=pairs)])
    assert right[sure >= found["sure_from"]].min() >= 0.7


def test_a_worst_slice_without_reference_is_erased(tmp_path: Path) -> None:
    label = np.zeros((9, SIZE, SIZE), np.uint16)
    label[2:7, 20:40, 20:40] = 1
    write_case(tmp_path, "CT/Body/a", label, boxes=[[18, 18, 1, 42, 42, 7]])
    (target,) = list_targets(find_cases(tmp_path)[0], Protocol.propagate, 0)
    session = AnnotationSession(read_volume(target.case.path), ScriptedEngine(bright_part))
    (first,) = session.segment(middle_box(target, label, 0))
    ghost = replace(first, index=8)
    masks = mend_worst(session, [first, ghost], [0.9, 0.1], target, label, 0)
    by_slice = {mask.index: mask.mask for mask in masks}
    assert not by_slice[8].any()
    assert sorted(index for index, mask in by_slice.items() if mask.any()) == list(range(2, 7))


def test_clicks_lead_to_the_reference_and_are_counted(data_dir: Path) -> None:
    evaluation = scored(data_dir, {"boxes": ScriptedEngine(whole, right_near)}, Protocol.clicks, 0)
    assert list(evaluation.scores) == [f"boxes, clicks: {n}" for n in CLICKS]
    means = [np.mean([score.dsc for score in own]) for own in evaluation.scores.values()]
    assert means[0] < means[1] < means[-1]
    assert means == sorted(means)
    needed, failed = clicks_needed(list(evaluation.scores.values()), wanted=0.5)
    assert 0 <= needed < 1
    assert failed == 0
    assert clicks_needed(list(evaluation.scores.values()), wanted=1.01) == (6, 1)
    again = scored(data_dir, {"boxes": ScriptedEngine(whole, right_near)}, Protocol.clicks, 0)
    assert [s.dsc for s in again.scores["boxes, clicks: 3"]] == [
        s.dsc for s in evaluation.scores["boxes, clicks: 3"]
    ]


def test_a_scribble_and_a_lasso_are_compared_with_a_click_and_a_box(data_dir: Path) -> None:
    engine = {"boxes": ScriptedEngine(whole, right_near)}
    evaluation = scored(data_dir, engine, Protocol.scribbles, 0)
    names = ["boxes", "boxes, click", "boxes, scribble", "boxes, lasso"]
    assert list(evaluation.scores) == names
    box, click, scribble, lasso = (
        np.mean([score.dsc for score in evaluation.scores[name]]) for name in names
    )
    assert box < click <= scribble
    assert box < lasso
    modes = score_models(data_dir, engine, list_modes(engine, Protocol.scribbles), 0).scores
    assert [own.dsc for own in modes[list(modes)[3]]] == [
        own.dsc for own in evaluation.scores["boxes, lasso"]
    ]
    found, (line,) = list_findings(modes, Protocol.scribbles, 0)
    assert found["strokes"]["boxes"]["lasso"] > 0
    assert "times what one click gains" in line


def test_looser_boxes_are_larger_and_stay_on_the_slice(data_dir: Path) -> None:
    for target in targets_of(data_dir):
        sizes = []
        for share in LOOSE:
            box = loosened(target.box, share, (SIZE, SIZE))
            assert 0 <= box.x0 <= box.x1 < SIZE
            assert 0 <= box.y0 <= box.y1 < SIZE
            sizes.append((box.x1 - box.x0, box.y1 - box.y0))
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1]
    evaluation = run(data_dir, "loose")
    names = [name for name in evaluation.scores if name.startswith("boxes")]
    assert names == ["boxes+0%", "boxes+5%", "boxes+10%", "boxes+20%"]
    means = [np.mean([s.dsc for s in evaluation.scores[name]]) for name in names]
    assert means == sorted(means, reverse=True), "the whole box is taken for the mask"
    assert means[0] > means[-1]


def test_zoom_stands_beside_whole_slices(tmp_path: Path) -> None:
    write_case(tmp_path, "CT/Body/a", squares((20, 24, 12)))
    engine = ScriptedEngine(bright_part)
    evaluation = scored(tmp_path, {"rule": engine}, Protocol.slices, 0, zoom=True)
    (whole,), (zoomed,) = evaluation.scores["rule"], evaluation.scores["rule + zoom"]
    assert whole.target == zoomed.target
    assert whole.size == zoomed.size == "medium (1-5 %)"


def test_tight_boxes_stand_beside_looser_ones(tmp_path: Path) -> None:
    label = squares((20, 24, 12))
    write_case(tmp_path, "CT/Body/a", label)
    for zoom in (False, True):
        found = scored(
            tmp_path,
            {"boxes": ScriptedEngine(whole)},
            Protocol.slices,
            0,
            zoom=zoom,
            tight=True,
        ).scores
        assert (
            list(found)
            == ["boxes", "boxes, tight", "boxes + zoom", "boxes + zoom, tight"][: 2 + 2 * zoom]
        )
    for name, own in found.items():
        # The engine fills its box, and the object is a square.
        assert [score.target for score in own] == [score.target for score in found["boxes"]]
        assert (min(score.dsc for score in own) > 0.99) == name.endswith("tight")
    refused = command(tmp_path, "--model", default_model("CT"), "--tight", "--protocol", "3d")
    assert refused.exit_code == 1
    assert "--tight is for --protocol 2d" in refused.stderr


def test_objects_are_told_apart_by_size(data_dir: Path) -> None:
    evaluation = run(data_dir)
    summary = summarise(evaluation.scores, 0)
    sizes = summary["models"]["bright"]["sizes"]
    count = Counter(score.size for score in evaluation.scores["bright"])
    assert {name: row["n"] for name, row in sizes.items()} == count
    assert set(summary["differences"]["boxes"]["sizes"]) == set(count)


def test_the_deepest_voxel_of_the_largest_error_is_clicked_on() -> None:
    wanted = np.zeros((8, 20, 20), bool)
    wanted[2:7, 4:13, 4:13] = True
    assert deepest_error(wanted, wanted) is None
    found = wanted.copy()
    found[0, :4, :4] = True  # a smaller error elsewhere
    found[2:7, 4:13, 6:13] = False
    z, y, x = deepest_error(found, wanted)
    assert z == 4
    assert 6 <= y <= 10
    assert 8 <= x <= 10
    # The volume's face bounds a part like any other voxel.
    whole = np.ones((5, 5, 5), bool)
    assert deepest_error(~whole, whole) == (2, 2, 2)


def test_five_clicks_in_a_volume_are_summed_up_as_the_field_does(
    tmp_path: Path, two_models: list[str]
) -> None:
    label = np.zeros((9, SIZE, SIZE), np.uint16)
    label[2:7, 20:40, 20:40] = 1
    write_case(tmp_path, "CT/Body/a", label, boxes=[[16, 16, 1, 44, 44, 7]])
    engine = ScriptedEngine(whole, right_near)
    scores = scored(tmp_path, {"boxes": engine}, Protocol.interactive, 0).scores
    assert list(scores) == [f"boxes, clicks: {n}" for n in CLICKS]
    found = [own[0].dsc for own in scores.values()]
    assert found[0] < found[1] < found[-1]
    again = scored(tmp_path, {"boxes": engine}, Protocol.interactive, 0).scores
    assert [own[0].dsc for own in again.values()] == found
    file = tmp_path / "out.json"
    result = command(tmp_path, *two_models[2:], "--protocol", "interactive", "--json", file)
    assert result.exit_code == 0, result.output
    (areas,) = json.loads(file.read_text(encoding="utf-8"))["areas"].values()
    assert set(areas) == {"dsc_auc", "dsc_final", "nsd_auc", "nsd_final"}
    assert 0 < areas["dsc_auc"] <= 4
    assert f"DSC_auc {areas['dsc_auc']:.3f}" in result.output


def test_slices_that_are_missed_are_counted(tmp_path: Path) -> None:
    label = np.zeros((9, SIZE, SIZE), np.uint16)
    label[1:8, 20:40, 20:40] = 1
    label[7, 20:40, 20:40] = 0
    label[7, 30:38, 30:38] = 1  # less than 100 pixels
    write_case(tmp_path, "CT/Body/a", label, boxes=[[18, 18, 1, 42, 42, 7]])

    def nothing_far(image: np.ndarray, box: np.ndarray) -> np.ndarray:
        seen.append(1)
        return whole(image, box) if len(seen) < 4 else np.full((256, 256), -1.0)

    seen: list[int] = []
    evaluation = scored(tmp_path, {"rule": ScriptedEngine(nothing_far)}, Protocol.volumes, 0)
    (score,) = evaluation.scores["rule"]
    # The middle slice and two above it are found; a small one and those below are not.
    assert (score.wanted, score.slices, score.missed) == (7, 3, 3)
    assert missed_share([score]) == pytest.approx(3 / 7)
