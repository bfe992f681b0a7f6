"""The benchmark of the window measures real moves of the mouse."""

import pytest

from napari_medsamq.ui.benchmark import answers as benchmark_answers
from napari_medsamq.ui.benchmark import gui as benchmark_gui
from napari_medsamq.ui.benchmark import script as gui_script
from napari_medsamq.ui.benchmark.answers import measure_answers, measure_statistics
from napari_medsamq.ui.benchmark.gui import (
    GOALS,
    format_goals,
    measure_drags,
    measure_prefetch,
    measure_propagation,
    phantom_volume,
)


@pytest.mark.slow
def test_every_move_is_timed(monkeypatch, qtbot):
    monkeypatch.setattr(gui_script, "MOVES", 20)
    monkeypatch.setattr(benchmark_gui, "ROUNDS", 1)
    found = measure_drags(phantom_volume((14, 64, 64)))
    assert 15 <= found["drag_ms"]["n"] <= 20
    assert 1 < found["drag_ms"]["p50"] <= found["drag_ms"]["p95"] < 10_000
    assert abs(found["gui_block_ms"]) < 10_000


@pytest.mark.slow
def test_every_box_and_every_click_is_timed(monkeypatch, qtbot):
    monkeypatch.setattr(benchmark_answers, "BOXES", 2)
    found = measure_answers(phantom_volume((14, 64, 64)))
    assert found["refined_ms"]["n"] == 2
    assert found["click_ms"]["n"] == 2 * len(benchmark_answers.CLICKS)
    for times in found.values():
        assert 1 < times["p50"] <= times["p95"] < 20_000


@pytest.mark.slow
def test_every_edit_is_timed(monkeypatch, qtbot):
    monkeypatch.setattr(benchmark_answers, "EDITS", 3)
    times = measure_statistics(phantom_volume((14, 64, 64)))["statistics_ms"]
    assert times["n"] == 3
    assert 1 < times["p50"] <= times["p95"] < 20_000


@pytest.mark.slow
def test_slices_are_ready_where_a_scroll_stops(monkeypatch, qtbot):
    monkeypatch.setattr(benchmark_gui, "_STOPS", 3)
    assert 0 <= measure_prefetch(phantom_volume((14, 64, 64))) <= 1


@pytest.mark.slow
def test_a_propagation_takes_at_least_what_its_steps_take():
    found = measure_propagation(phantom_volume((30, 96, 96)))
    assert 1 <= found["fresh"] < 5
    assert 1 <= found["cached"] < 5


def test_the_table_has_every_goal_and_tells_what_is_missed():
    found = {
        "drag_ms": {"p50": 70.0, "p95": 160.0, "n": 720},
        "refined_ms": {"p50": 150.0, "p95": 200.0, "n": 12},
        "click_ms": {"p50": 90.0, "p95": 110.0, "n": 36},
        "statistics_ms": {"p50": 80.0, "p95": 150.0, "n": 20},
        "gui_block_ms": 3.0,
        "prefetch_ready": 0.95,
        "propagation_overhead": {"fresh": 1.05, "cached": 1.2},
        "memory_gb": None,
    }
    text = format_goals(found)
    assert text.count("met |") == len(GOALS) - 2
    assert "160 | ≤ 150 | **missed** |" in text
    assert "0.95 | ≥ 0.9 | met |" in text
    assert "720 moves of the mouse, 12 small boxes, 36 clicks, 20 edits" in text
    with pytest.raises(KeyError):
        format_goals({})
