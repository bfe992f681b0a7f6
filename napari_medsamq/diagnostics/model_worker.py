"""One model, and steps on it that are run when they are asked for: a process of the benchmark.

python -m napari_medsamq.diagnostics.model_worker SETTINGS_JSON MODEL_DIR
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.embeddings import DEFAULT_BUDGET
from napari_medsamq.inference.engine import Engine, OpenVINOEngine, box_points
from napari_medsamq.io.volume import read_volume
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.workflows.demo import BOXES
from napari_medsamq.workflows.segment import segment_boxes
from napari_medsamq.workflows.session import Session

CASE = SAMPLES / "ct.nii.gz"
MEMORY = "memory"


def serve(load: Callable[[], Engine], *, embedding_budget: int = DEFAULT_BUDGET) -> None:
    """Load a model, then run the steps that are asked for on standard input, one a line.

    Every answer is a line of JSON: milliseconds (`memory`: MB) as `value`, or an `error`.

    Parameters
    ----------
    load : callable
        Gives the engine.
    embedding_budget : int
        Of a session, in bytes; 0 encodes for every box anew.
    """
    try:
        start = perf_counter()
        engine = load()
        _say(value=(perf_counter() - start) * 1000)
        steps = _steps(engine, embedding_budget)
        for line in sys.stdin:
            start = perf_counter()
            value = steps[line.strip()]()
            _say(value=(perf_counter() - start) * 1000 if value is None else value)
    except MedSAMQError as error:
        _say(error=str(error))


def _say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def _steps(engine: Engine, budget: int) -> dict[str, Callable[[], float | None]]:
    image = np.random.default_rng(0).random((1, 3, 256, 256), np.float32)
    corners = np.array([[60, 60, 90 + 8 * i, 100 + 6 * i] for i in range(16)])
    embedding = engine.encode(image)
    volume = read_volume(CASE)
    first, _ = BOXES[0]

    def decode(count: int) -> None:
        engine.decode(embedding, *box_points(corners[:count]))

    def segment_image() -> None:
        list(
            AnnotationSession(volume, engine, embedding_budget=budget).segment(
                first.slice_prompt(first.middle_slice)
            )
        )

    def segment_case() -> None:
        annotation = AnnotationSession(read_volume(CASE), engine, embedding_budget=budget)
        with tempfile.TemporaryDirectory() as folder:
            segment_boxes(Session(annotation), BOXES, Path(folder) / "label.nii.gz", names={})

    def encode() -> None:
        engine.encode(image)

    return {
        "encode": encode,
        "decode": lambda: decode(1),
        "decode5": lambda: decode(5),
        "decode16": lambda: decode(16),
        "image": segment_image,
        "case": segment_case,
        MEMORY: peak_memory_mb,
    }


def peak_memory_mb() -> float:
    """Return the most memory this process ever had, in MB (10^6 bytes); NaN on Windows."""
    if sys.platform == "win32":
        return float("nan")
    status = Path("/proc/self/status")
    if status.exists():  # what `getrusage` says on Linux begins with the memory of the parent
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Serve a model directory; how it is run comes as JSON in the first argument."""
    settings, directory = json.loads(sys.argv[1]), Path(sys.argv[2])
    serve(lambda: OpenVINOEngine(directory, **settings))


if __name__ == "__main__":
    main()
