"""What code two walks go through: a drag in the window to a saved file, a case to its score.

The functions of `napari_medsamq` and `training` that are entered are noted, and what is put off.
The fewer they are, the less there is to read for someone who follows a box, or a case.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Annotated, Any

import pytest
import typer

ROOT = Path(__file__).parents[2]
OURS = tuple(f"{ROOT / package}{os.sep}" for package in ("napari_medsamq", "training"))
DRAG = "tests/ui/test_walk.py::test_a_drag_on_the_sample_becomes_a_saved_liver_mask"
# What a walk comes to; what calls one of these, itself or by others, is on the way.
SINKS = {
    *("OpenVINOEngine.encode", "OpenVINOEngine.decode", "PreviewLayer.show", "History._apply"),
    *("append_record", "write_nifti", "read_nifti", "file_hash", "write_whole", "read_arrays"),
    *("SliceDataset._packed", "read_network", "convert_lite_medsam", "write_model", "dsc", "nsd"),
}
# What hands the work on to other threads; other tools of the window do theirs beside it.
HANDS_ON = ("PreviewTool", "SegmentTool", "SaveLoadTool")


class Walk:
    """Notes what is entered while it is on.

    Attributes
    ----------
    on : bool
    entered, way : dict of (str, str) to None
        Files and functions, in the order in which they came; those that are on the way.
    queued : Counter of str
        What was put off, and by whom: jobs of other threads and their answers, timers.
    """

    def __init__(self) -> None:
        self.on = False
        self.entered: dict[tuple[str, str], None] = {}
        self.way: dict[tuple[str, str], None] = {}
        self.queued = Counter[str]()

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        """Take what Python tells a profile function."""
        code, caller = frame.f_code, frame.f_back
        if not self.on or event != "call" or not code.co_filename.startswith(OURS):
            return
        if code.co_qualname in SINKS:
            self.mark(frame)
        # What a test looks at is not part of the walk, but for the save that it asks for.
        by_test = caller is not None and caller.f_code.co_name.startswith("test_")
        if not code.co_name.startswith("<") and (not by_test or code.co_name == "save"):
            self.entered[_place(frame)] = None

    def mark(self, frame: FrameType | None) -> None:
        """Note that a function and those that called it are on the way."""
        while frame is not None:
            if frame.f_code.co_filename.startswith(OURS):
                self.way[_place(frame)] = None
            frame = frame.f_back

    def queue(self, step: str, by: FrameType) -> None:
        """Note that a function of ours has put something off."""
        if self.on and by.f_code.co_filename.startswith(OURS):
            who = type(by.f_locals.get("self")).__name__
            self.queued[f"{step} {who}.{by.f_code.co_name}"] += 1
            if who in HANDS_ON:
                self.mark(by)

    def tell(self, name: str, *, listed: bool) -> None:
        """Print what was noted, and with an asterisk what is on the way."""
        steps = {step for step in self.queued if any(own in step for own in HANDS_ON)}
        for what, places, queued in (
            ("entered", self.entered, self.queued),
            ("on the way", self.way, steps),
        ):
            typer.echo(
                f"{name}, {what}: {len({module for module, _ in places})} modules, "
                f"{len(places)} functions, {len(queued)} queued steps"
            )
        for step, times in self.queued.items():
            typer.echo(f"  {'*' if step in steps else ' '} {times} x {step}")
        for place in self.entered if listed else ():
            typer.echo(f"  {'*' if place in self.way else ' '} {': '.join(place)}")


class DragWalk(Walk):
    """A plugin of pytest's that follows `DRAG` from the drag to the saved file."""

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Iterator[None]:
        """Follow the window of the test."""
        from qtpy.QtCore import QEvent, QTimer

        from napari_medsamq.ui.worker import Worker

        window = pyfuncitem.funcargs["window"]
        drag, wait, mouse = window.drag, window.wait, window.mouse
        submit = Worker.submit
        goes_on = iter([True, False])  # when the mask is there, and when the file is

        def dragged(*ends: Any) -> None:
            self.on = True
            drag(*ends)

        def waited() -> None:
            wait()
            self.on = self.on and next(goes_on)

        def moused(kind: Any, *rest: Any, **more: Any) -> None:
            if self.on and kind == QEvent.Type.MouseButtonRelease:
                # A user has seen the preview by then.
                window.qtbot.waitUntil(lambda: not window.dock.busy, timeout=60_000)
            mouse(kind, *rest, **more)

        def submitted(worker: Worker, *rest: Any) -> None:
            for step in ("job of", "answer to"):
                self.queue(step, sys._getframe(1))
            submit(worker, *rest)

        def told(timer: Callable[..., None]) -> Callable[..., None]:
            def put_off(*rest: Any) -> None:
                self.queue("timer of", sys._getframe(1))
                timer(*rest)

            return put_off

        window.drag, window.wait, window.mouse = dragged, waited, moused
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Worker, "submit", submitted)
            patch.setattr(QTimer, "start", told(QTimer.start))
            patch.setattr(QTimer, "singleShot", staticmethod(told(QTimer.singleShot)))
            sys.setprofile(self.note)
            try:
                return (yield)
            finally:
                sys.setprofile(None)


def follow_case(walk: Walk, folder: Path) -> None:
    """Make a sample of a case, a model of a checkpoint, and the model's score of the case."""
    from napari_medsamq.inference.engine import OpenVINOEngine
    from tests.helpers.small_run import SmallEncoder, small_network, write_cases
    from training.checkpoints.network_file import write_network
    from training.conversion.model_directory import export_network
    from training.conversion.restore import read_start
    from training.data.config import DataConfig
    from training.data.dataset import Draw, SliceDataset
    from training.evaluation.model_run import list_modes, score_models
    from training.evaluation.protocol import Protocol
    from training.evaluation.score_summary import summarise
    from training.models.sam import ENCODERS, PUBLISHED

    ENCODERS[PUBLISHED] = SmallEncoder
    cases, checkpoint = write_cases(folder / "cases", 1), folder / "network.pth"
    write_network(checkpoint, small_network())
    walk.on = True
    sys.setprofile(walk.note)
    SliceDataset(DataConfig(data=(cases,)))[Draw(0, 0)]
    export_network(folder / "model", read_start(checkpoint), name="model", force=False)
    engines = {"model": OpenVINOEngine(folder / "model")}
    found = score_models(cases, engines, list_modes(engines, Protocol.slices), seed=0)
    summarise(found.scores, seed=0)
    sys.setprofile(None)


def walk(
    listed: Annotated[bool, typer.Option("--list", help="Name the functions, in order.")] = False,
) -> None:
    """Count what is gone through from a drag to a saved file, and from a case to its score."""
    drag, case = DragWalk(), Walk()
    # In threads that begin later, too: those of the window's workers.
    threading.setprofile(drag.note)
    arguments = ["-q", "-n", "0", "-W", "ignore", "--rootdir", str(ROOT), str(ROOT / DRAG)]
    if pytest.main(arguments, [drag]) != 0:
        raise typer.Exit(1)
    threading.setprofile(None)  # type: ignore[arg-type]
    drag.tell("drag to file", listed=listed)
    if find_spec("torch") is None:
        return
    with TemporaryDirectory() as folder:
        follow_case(case, Path(folder))
    case.tell("case to score", listed=listed)
    missed = SINKS - {function for _, function in (*drag.way, *case.way)}
    if missed:
        typer.echo(f"never reached: {', '.join(sorted(missed))}")
        raise typer.Exit(1)


def _place(frame: FrameType) -> tuple[str, str]:
    return str(Path(frame.f_code.co_filename).relative_to(ROOT)), frame.f_code.co_qualname
