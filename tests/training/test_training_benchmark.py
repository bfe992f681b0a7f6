"""The benchmark compares what it found with its goals, and runs PyTorch as the baseline does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")
pytest.importorskip("matplotlib")

import cv2
import torch

from napari_medsamq.diagnostics.model_benchmark import TimedProgram
from napari_medsamq.inference.engine import box_points
from training.benchmarks.comparison import format_benchmark, limited, torch_row
from training.benchmarks.goals import BenchmarkGoal, format_goals, list_goals, plot_times
from training.benchmarks.roofline import Roofline, measure_peak
from training.benchmarks.torch_baseline import TorchEngine
from training.checkpoints.released import build_lite_medsam

FOUND = {
    "native": {
        "litemedsam-torch": {"encode": 1000.0, "decode": 60.0, "decode5": 250.0, "case": 40000.0},
        "litemedsam-float": {"encode": 400.0, "decode": 30.0, "decode5": 130.0, "case": 9000.0},
        "medsamq-fast": {"encode": 20.0, "decode": 12.0, "decode5": 36.0, "case": 2000.0},
        "medsamq-int8": {"encode": 200.0, "decode": 16.0, "decode5": 64.0, "case": 5000.0},
    },
    "loads": {"medsamq-int8": {"load_cold": 2000.0, "load_cached": 500.0}},
    "AVX2_VNNI": {
        "litemedsam-torch": {"encode": 1200.0},
        "litemedsam-float": {"encode": 500.0},
        "medsamq-fast": {"encode": 30.0},
        "medsamq-int8": {"encode": 250.0},
    },
    "sizes": {"medsamq-fast": 12.5, "medsamq-int8": 13.0},
    "rooflines": {"medsamq-int8, encoder": asdict(Roofline(70.0, 900.0, 200.0, 1400.0))},
}


def test_every_goal_is_compared_with_its_baseline() -> None:
    values = {goal.what: (goal.value, goal.met) for goal in list_goals(FOUND)}
    assert values == {
        "medsamq-fast: encoder, times as fast as litemedsam-torch, native": (50, True),
        "medsamq-fast: encoder, times as fast as litemedsam-torch, AVX2_VNNI": (40, True),
        "medsamq-int8: encoder, times as fast as litemedsam-float, native": (2, False),
        "medsamq-int8: encoder, times as fast as litemedsam-float, AVX2_VNNI": (2, True),
        "medsamq-fast: a case, times as fast as litemedsam-torch": (20, False),
        "medsamq-int8: a case, times as fast as litemedsam-torch": (8, True),
        "medsamq-fast: decoder, one box, of litemedsam-float's time": (0.4, True),
        "medsamq-fast: five boxes at once, of five calls' time": (0.6, True),
        "medsamq-int8: decoder, one box, of litemedsam-float's time": (
            pytest.approx(16 / 30),
            False,
        ),
        "medsamq-int8: five boxes at once, of five calls' time": (0.8, False),
        "medsamq-int8: load from cache, ms": (500, False),
        "medsamq-int8: load the first time, ms": (2000, True),
        "medsamq-fast: files, MB": (12.5, False),
    }


def test_a_quick_benchmark_has_fewer_goals() -> None:
    quick = {key: FOUND[key] for key in ("native", "AVX2_VNNI", "sizes", "rooflines")}
    native = {
        name: {"encode": t["encode"], "decode": 1.0, "decode5": 4.0}
        for name, t in FOUND["native"].items()
    }
    names = [goal.what for goal in list_goals({**quick, "native": native})]
    assert not any("load" in name or "a case" in name for name in names)
    assert len(names) == 9


def test_the_report_says_what_is_missed() -> None:
    text = format_goals(
        [BenchmarkGoal("speed", 41.25, 40, True), BenchmarkGoal("size", 12.5, 12, False)]
    )
    assert text.splitlines()[2:] == [
        "| speed | 41.2 | >= 40 | met |",
        "| size | 12.5 | <= 12 | **missed** |",
    ]
    report = format_benchmark(FOUND)
    assert "| load the model, from cache |" in report
    assert "AVX2_VNNI:" in report
    assert "| medsamq-int8, encoder | 70.0 | 900 | 200.0 | 350 | 25% of 1400 |" in report


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    plot_times(tmp_path / "plot.png", FOUND["native"])
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture is not None
    assert picture.std() > 10


def test_pytorch_is_held_to_avx2_where_ours_have_what_a_laptop_has() -> None:
    ours = limited(TimedProgram("medsamq-int8", ()), "AVX2_VNNI").environment
    theirs = limited(torch_row(), "AVX2_VNNI").environment
    assert ours["ONEDNN_MAX_CPU_ISA"] == "AVX2_VNNI"
    assert theirs == {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    assert limited(torch_row(), "AVX512_CORE").environment["ATEN_CPU_CAPABILITY"] == "avx512"


def test_pytorch_answers_as_an_engine_does() -> None:
    torch.manual_seed(0)
    net = build_lite_medsam()
    engine = TorchEngine(net)
    image = np.random.default_rng(0).random((1, 3, 256, 256), np.float32)
    boxes = np.array([[20, 30, 120, 140], [60, 60, 100, 90]])
    embedding = engine.encode(image)
    logits, iou = engine.decode(embedding, *box_points(boxes))
    with torch.inference_mode():
        wanted, _ = net(torch.from_numpy(image), torch.from_numpy(boxes).float())
    assert iou.shape == (2,)
    assert np.allclose(logits, wanted.numpy(), atol=1e-4)
    dense = np.repeat(logits[:, None], 1, axis=1)
    assert not np.allclose(engine.decode(embedding, *box_points(boxes), dense)[0], logits)


def test_integers_have_a_roof_of_their_own() -> None:
    assert all(measure_peak(int8=int8) > 1 for int8 in (False, True))
