"""How much a network computes and moves, and how near its speed is to what the processor can do.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures" (Communications of the ACM 52, 2009). The roof is measured, not looked up:
the fastest large matrix product by the same library on the same threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from napari_medsamq.diagnostics.model_benchmark import THREADS
from napari_medsamq.inference.backend import channels_last, openvino_core, read_part, without_mask
from training.console import markdown_table
from training.conversion.int8_coverage import ONE_BOX, read_coverage
from training.evaluation.latency import time_in_turns

_SIDE = 2048
_ROWS = 1024
_ROUNDS = 7


@dataclass(frozen=True)
class Roofline:
    """What one run of a network is, against the processor.

    Attributes
    ----------
    gflop : float
        10^9 multiplications and additions of its convolutions and matrix products; of a decoder
        with those for a mask prompt, a hundredth, which a box alone does not need.
    megabytes : float
        10^6 bytes of weights, and of tensors between the nodes that run, written and read once.
    ms : float
    peak_gflops : float
        10^9 operations a second of the roof: in 8-bit integers for a network that runs in them.
    """

    gflop: float
    megabytes: float
    ms: float
    peak_gflops: float

    @property
    def share_of_peak(self) -> float:
        """Which part of the roof is reached."""
        return self.gflop / self.ms * 1000 / self.peak_gflops


def measure_rooflines(
    directories: Sequence[Path], times: Mapping[str, Mapping[str, float]]
) -> dict[str, Roofline]:
    """Count what models compute and move, and measure the roofs.

    Parameters
    ----------
    directories : sequence of Path
        Model directories.
    times : mapping
        Model -> `encode` and `decode` in ms.

    Returns
    -------
    rooflines : dict of str to Roofline
        By "model, encoder" and "model, decoder".
    """
    peaks = {int8: measure_peak(int8=int8) for int8 in (False, True)}
    found = {}
    for directory in directories:
        name = directory.resolve().name
        for part, step in (("encoder", "encode"), ("decoder", "decode")):
            layers = read_coverage(directory / f"{part}.xml")
            int8 = any(layer.is_int8 for layer in layers)
            found[f"{name}, {part}"] = Roofline(
                gflop=2e-9 * sum(layer.macs for layer in layers),
                megabytes=_count_bytes(directory / f"{part}.xml") / 1e6,
                ms=times[name][step],
                peak_gflops=peaks[int8],
            )
    return found


def measure_peak(*, int8: bool) -> float:
    """Return the 10^9 operations a second of a large matrix product."""
    rng = np.random.default_rng(0)
    x = ops.parameter([_ROWS, _SIDE], np.float32)
    values: ov.Node = x
    if int8:
        limits = [np.float32(limit) for limit in (-1, 127 / 128) * 2]
        values = ops.fake_quantize(x, *limits, 256)
        integers = ops.constant(rng.integers(-127, 128, (_SIDE, _SIDE)).astype(np.int8))
        weights = ops.multiply(
            ops.convert(integers, np.float32), ops.constant(np.full((_SIDE, 1), 0.01, np.float32))
        )
    else:
        weights = ops.constant(rng.random((_SIDE, _SIDE), np.float32))
    model = ov.Model([ops.matmul(values, weights, False, True)], [x])
    request = _compile(model).create_infer_request()
    given = [rng.random((_ROWS, _SIDE), np.float32)]
    times = time_in_turns({"product": lambda: request.infer(given)}, _ROUNDS)["product"]
    return 2e-6 * _ROWS * _SIDE * _SIDE / min(times)


def format_rooflines(rooflines: Mapping[str, Roofline]) -> str:
    """Lay out rooflines as a Markdown table."""
    rows = []
    for name, line in rooflines.items():
        numbers = [f"{line.gflop:.1f}", f"{line.megabytes:.0f}", f"{line.ms:.1f}"]
        reached = f"{line.share_of_peak:.0%} of {line.peak_gflops:.0f}"
        rows.append([name, *numbers, f"{line.gflop / line.ms * 1000:.0f}", reached])
    header = ["", "GFLOP", "MB moved", "ms", "GFLOP/s", "of the measured peak"]
    return markdown_table(header, rows)


def _compile(model: ov.Model) -> ov.CompiledModel:
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": THREADS,
    }
    return openvino_core().compile_model(model, "CPU", config)


def _count_bytes(path: Path) -> int:
    """Count what moves in a network as the engine compiles it."""
    if path.stem == "encoder":
        model = channels_last(read_part(path.parent, "encoder"), output=True)
    else:
        model = channels_last(without_mask(read_part(path.parent, "decoder")))
        model.reshape({name: ONE_BOX[name] for name in ("point_coords", "point_labels")})
    total = 0
    for node in _compile(model).get_runtime_model().get_ordered_ops():
        kind = node.get_rt_info()["layerType"].astype(str)
        for output in node.outputs():
            size = output.get_element_type().size * int(np.prod(output.get_shape()))
            # What is written is read again, weights are read only.
            total += size if kind in ("Const", "Constant") else 2 * size
    return total
