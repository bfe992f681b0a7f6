"""What a user could pick, side by side: the models that come along, and what else there is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from napari_medsamq.diagnostics.model_benchmark import (
    THREADS,
    TimedProgram,
    format_times,
    measure,
    measure_loads,
    timed_model,
)
from napari_medsamq.inference.model_choice import INT8_MODEL, MODELS, shipped_models
from napari_medsamq.inference.model_list import size_mb
from training.benchmarks.goals import TORCH, format_goals, list_goals
from training.benchmarks.roofline import Roofline, format_rooflines, measure_rooflines
from training.console import progress_bar
from training.conversion.model_directory import write_model
from training.conversion.qcdq import write_qcdq
from training.conversion.restore import restore_network
from training.conversion.to_openvino import (
    DECODER_INPUTS,
    DECODER_OUTPUTS,
    ENCODER_INPUTS,
    ENCODER_OUTPUTS,
    example_inputs,
)
from training.evaluation.latency import ISA_VARIABLE, LAPTOP
from training.models.sam import LiteMedSAM

PLAIN, NNCF = "qcdq-plain", "nncf-int8"
INSTRUCTIONS = ("AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
# NNCF measures ranges on so many images; its speed does not depend on them.
_CALIBRATION = 2
_STEPS = {"encode": 7, "decode": 7, "decode5": 7, "decode16": 5, "image": 5}
_QUICK = {"encode": 5, "decode": 5, "decode5": 5}
Times = dict[str, dict[str, float]]


def run_benchmark(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Time all models and what else a user could pick.

    Parameters
    ----------
    folder : Path
        Where models may be made that do not come along.
    quick : bool
        Only the models that come along and PyTorch, fewer steps and fewer rounds.

    Returns
    -------
    found : dict
        What JSON can hold: `native` and each instruction set, thread count and precision -> row ->
        step -> ms; `loads` alike; `sizes` in MB; `rooflines`.

    Raises
    ------
    ModelError
        If a model cannot be made, loaded or run.
    """
    directories = shipped_models() if quick else [*shipped_models(), *make_others(folder)]
    rows = [torch_row(), *map(timed_model, directories)]
    steps = _QUICK if quick else _STEPS
    found: dict[str, Any] = {"native": _measure("native", rows, steps)}
    if not quick:
        # The baseline takes minutes for a case, the models seconds.
        for own, rounds in ((rows[:1], 1), (rows[1:], 3)):
            for name, times in _measure("a case", own, {"case": rounds}).items():
                found["native"][name]["case"] = times["case"]
        found["loads"] = measure_loads(rows[1:], 3, os.environ)
        found["1 thread"] = _measure(
            "1 thread",
            [torch_row(1), *(timed_model(path, threads=1) for path in directories)],
            _QUICK,
        )
        others = [timed_model(path, precision="bf16") for path in directories]
        found["bf16"] = _measure("bf16", others, _QUICK)
    for isa in (LAPTOP,) if quick else INSTRUCTIONS:
        found[isa] = _measure(isa, [limited(row, isa) for row in rows], _QUICK)
    found["sizes"] = {path.name: size_mb(path) for path in directories}
    lines = measure_rooflines(directories, found["native"])
    found["rooflines"] = {name: asdict(line) for name, line in lines.items()}
    return found


def torch_row(threads: int = THREADS) -> TimedProgram:
    """Describe LiteMedSAM in PyTorch, run by the challenge's baseline procedure."""
    return TimedProgram(TORCH, ("-m", "training.benchmarks.torch_baseline", str(threads)))


def limited(row: TimedProgram, isa: str) -> TimedProgram:
    """Limit a row to an instruction set; PyTorch's own kernels know AVX2 and AVX-512 only."""
    kernels = "avx2" if isa.startswith("AVX2") else "avx512"
    torch_isa = "AVX2" if row.name == TORCH and isa == LAPTOP else isa
    return replace(row, environment={ISA_VARIABLE: torch_isa, "ATEN_CPU_CAPABILITY": kernels})


def make_others(folder: Path) -> list[Path]:
    """Make models as a user would get them elsewhere.

    Brevitas' QCDQ network as it is exported; and, where NNCF is installed, the float model after
    post-training quantisation by it.
    """
    made = [folder / PLAIN]
    net = restore_network(MODELS / INT8_MODEL).net
    provenance = {"training": "medsamq-int8, exported without the clean-up"}
    parts = convert_plain(net, folder)
    write_model(made[0], *parts, name=PLAIN, bits=8, provenance=provenance)
    if find_spec("nncf") is not None:
        from training.benchmarks.nncf import quantize_by_nncf

        rng = np.random.default_rng(0)
        images = [rng.random((1, 3, 256, 256), np.float32) for _ in range(_CALIBRATION)]
        boxes = [np.array([60, 60, 180, 190], np.float32)] * _CALIBRATION
        made.append(folder / NNCF)
        provenance = {"training": "post-training quantisation by NNCF, on noise: for its speed"}
        parts = quantize_by_nncf(images, boxes)
        write_model(made[1], *parts, name=NNCF, bits=8, provenance=provenance)
    return made


def convert_plain(net: LiteMedSAM, folder: Path) -> tuple[ov.Model, ov.Model]:
    """Convert a quantised network as Brevitas exports it: encoder and decoder."""
    parts = []
    for part, inputs, outputs in (
        (net.image_encoder, ENCODER_INPUTS, ENCODER_OUTPUTS),
        (net.decoder().eval(), DECODER_INPUTS, DECODER_OUTPUTS),
    ):
        path = folder / f"{outputs[0]}.onnx"
        write_qcdq(path, part, example_inputs(inputs), inputs, outputs)
        parts.append(ov.convert_model(path))
    return parts[0], parts[1]


def _measure(what: str, rows: Sequence[TimedProgram], steps: dict[str, int]) -> Times:
    with progress_bar(what) as report:
        return measure(rows, steps, os.environ, report)


def format_benchmark(found: dict[str, Any]) -> str:
    """Lay out what was found as Markdown."""
    native = {
        name: {**times, **found.get("loads", {}).get(name, {})}
        for name, times in found["native"].items()
    }
    blocks = [format_times(native)]
    for name in ("1 thread", "bf16", *INSTRUCTIONS):
        if name in found:
            blocks += [f"{name}:", format_times(found[name])]
    lines = {name: Roofline(**line) for name, line in found["rooflines"].items()}
    blocks += [format_goals(list_goals(found)), format_rooflines(lines)]
    return "\n\n".join(blocks) + "\n"
