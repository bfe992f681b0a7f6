"""The benchmark of the window measures real moves of the mouse."""

import pytest

from napari_medsamq.ui.benchmark import alone as benchmark_alone
from napari_medsamq.ui.benchmark import answers as benchmark_answers
from napari_medsamq.ui.benchmark import gui as benchmark_gui
from napari_medsamq.ui.benchmark import script as gui_script
from napari_medsamq.ui.benchmark import trace as gui_trace
from napari_medsamq.ui.benchmark.alone import Alone, run_alone, summarise_excess, time_network
from napari_medsamq.ui.benchmark.answers import measure_answers, measure_statistics
from napari_medsamq.ui.benchmark.gui import (
    GOALS,
    format_goals,
    measure_drags,
    measure_prefetch,
    measure_propagation,
    phantom_volume,
)
from napari_medsamq.ui.benchmark.trace import Stage, Trace, format_trace, trace_all

ALONE = Alone(redraw=40.0, encode=30.0, decode=10.0, correct=20.0)


@pytest.mark.slow
def test_every_move_is_timed(monkeypatch, qtbot):
    monkeypatch.setattr(gui_script, "MOVES", 20)
    monkeypatch.setattr(benchmark_gui, "ROUNDS", 1)
    found, alone = measure_drags(phantom_volume((14, 64, 64)))
    assert 15 <= found["drag_ms"]["n"] <= 20
    assert 1 < found["drag_ms"]["p50"] <= found["drag_ms"]["p95"] < 10_000
    assert abs(found["gui_block_ms"]) < 10_000
    excess = found["drag_ms"]["p50"] - alone.redraw - alone.decode
    assert found["drag_excess"]["p50"] == pytest.approx(excess)
    assert found["drag_excess"]["times"] == pytest.approx(excess / alone.move)
    assert found["alone_ms"]["decode"] == alone.decode > 0.1


@pytest.mark.slow
def test_napari_alone_is_timed_at_the_same_moves(monkeypatch, qtbot):
    monkeypatch.setattr(gui_script, "MOVES", 20)
    changed = []
    fill = benchmark_alone._fill_box
    monkeypatch.setattr(
        benchmark_alone, "_fill_box", lambda labels, *box: changed.append(fill(labels, *box))
    )
    script, ms = run_alone(phantom_volume((14, 64, 64)))
    assert len(script.moved) == 20
    assert 15 <= len(changed) <= 20
    assert 15 <= len(ms) <= 20
    assert min(ms) > 0.1


@pytest.mark.slow
def test_the_steps_of_the_network_are_timed_alone():
    found = time_network(phantom_volume((3, 32, 32)))
    assert set(found) == {"encode", "decode", "correct"}
    assert min(found.values()) > 0.1


def test_what_is_needed_is_taken_off_what_was_measured():
    assert ALONE.move == 50
    assert ALONE.small_box == 80
    assert ALONE.click(1, encodes=False) == 60
    # The part of the slice is another one: the box is asked about on it, then both clicks.
    assert ALONE.click(2, encodes=True) == 40 + 30 + 10 + 2 * 20
    assert summarise_excess([60.0, 120.0, 75.0], [50.0, 60.0, 50.0]) == pytest.approx(
        {"p50": 25, "p95": 56.5, "times": 0.5}
    )


@pytest.mark.slow
def test_what_takes_time_is_traced_for_each_step(monkeypatch, qtbot):
    for name, count in (("BOXES", 1), ("MOVES", 2), ("CLICKS", 1)):
        monkeypatch.setattr(gui_trace, name, count)
    found = trace_all(phantom_volume((14, 64, 64)))
    move, _, click, _, end, notch = found.values()
    assert [trace.times for trace in found.values()] == [2, 1, 1, 2, 1, 2]
    assert move.stages["OpenVINOEngine.decode"].count == 2
    assert move.stages["PreviewLayer.show"].count == 2
    assert click.stages["LabelModel.commit"].count == 1
    assert end.stages["MeasureForm.show_statistics"].count >= 1, "the numbers are waited for"
    assert notch.stages["SliceBar.show_slice"].count == 2
    for trace in found.values():
        assert trace.stages["CanvasBackendDesktop.paintGL"].count >= trace.times
        assert 0 < trace.window_ms <= trace.all_ms
        for stage in trace.stages.values():
            assert 0 <= stage.processor_ms <= trace.all_ms
    assert "| CanvasBackendDesktop.paintGL | " in format_trace(found)


def test_a_stage_is_told_without_those_within_it():
    class Outer:
        def work(self):
            sum(range(100_000))
            self.rest()

        def rest(self):
            sum(range(3_000_000))

    tracer = gui_trace.Tracer()
    with tracer.timing(Outer, ("work", "rest")):
        Outer().work()
        with tracer.doing("Work"):
            Outer().work()
        with tracer.doing("Work", again=True):
            Outer().rest()
    Outer().rest()
    (trace,) = tracer.found.values()
    work, rest = trace.stages["Outer.work"], trace.stages["Outer.rest"]
    assert (trace.times, work.count, rest.count) == (1, 1, 2)
    assert work.processor_ms < rest.processor_ms / 5
    assert work.processor_ms + rest.processor_ms <= trace.window_ms


def test_the_tables_of_a_trace_are_means():
    stages = {"A.b": Stage(4, 30.0, 20.0), "C.d": Stage(2, 60.0, 50.0)}
    text = format_trace({"A click": Trace(2, stages, window_ms=90.0, all_ms=200.0)})
    assert text.splitlines() == [
        "A click, means of 2:",
        "",
        "| | calls | ms | ms of work |",
        "|---|---|---|---|",
        "| C.d | 1.00 | 30.00 | 25.00 |",
        "| A.b | 2.00 | 15.00 | 10.00 |",
        "| GUI thread | | | 45.00 |",
        "| all threads | | | 100.00 |",
    ]


@pytest.mark.slow
def test_every_box_and_every_click_is_timed(monkeypatch, qtbot):
    monkeypatch.setattr(benchmark_answers, "BOXES", 2)
    found = measure_answers(phantom_volume((14, 64, 64)), ALONE)
    assert found["refined_ms"]["n"] == 2
    assert found["click_ms"]["n"] == 2 * len(benchmark_answers.CLICKS)
    for key in ("refined_ms", "click_ms"):
        assert 1 < found[key]["p50"] <= found[key]["p95"] < 20_000
    refined = found["refined_ms"]["p50"] - ALONE.small_box
    assert found["refined_excess"]["p50"] == pytest.approx(refined)


@pytest.mark.slow
def test_every_edit_is_timed(monkeypatch, qtbot):
    monkeypatch.setattr(benchmark_answers, "EDITS", 3)
    times = measure_statistics(phantom_volume((14, 64, 64)))["statistics_ms"]
    assert times["n"] == 3
    assert 1 < times["p50"] <= times["p95"] < 20_000


@pytest.mark.slow
def test_slices_are_ready_where_a_scroll_stops(monkeypatch, qtbot):
    monkeypatch.setattr(benchmark_gui, "_STOPS", 3)
    assert 0 <= measure_prefetch(phantom_volume((14, 64, 64)), 30) <= 1


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
        "drag_excess": {"p50": 30.0, "p95": 60.0, "times": 0.6},
        "refined_excess": {"p50": 40.0, "p95": 60.0, "times": 0.5},
        "click_excess": {"p50": 50.0, "p95": 60.0, "times": 0.83},
        "alone_ms": {"redraw": 40.0, "encode": 30.0, "decode": 10.0, "correct": 20.0},
    }
    text = format_goals(found)
    assert text.count("met |") == len(GOALS) - 2
    assert "160 | ≤ 150 | **missed** |" in text
    assert "0.95 | ≥ 0.9 | met |" in text
    assert "720 moves of the mouse, 12 small boxes, 36 clicks, 20 edits" in text
    assert "napari redraws in 40 ms" in text
    assert "0.60 times a move, 0.50 times a box, 0.83 times a click" in text
    with pytest.raises(KeyError):
        format_goals({})
