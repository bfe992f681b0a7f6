"""Designs of the fast encoder, by what they score and how long they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.engine import OpenVINOEngine
from napari_medsamq.inference.model_list import size_mb
from training.checkpoints.network_file import StoredNetwork
from training.config import load_config
from training.console import markdown_table, progress_bar
from training.conversion.model_directory import export_network
from training.evaluation.latency import measure
from training.evaluation.model_run import list_modes, score_models
from training.evaluation.protocol import Protocol
from training.evaluation.score_summary import summarise
from training.files import replace_file
from training.learning.calibration import CalibrationConfig, quantize_network
from training.learning.config import TrainConfig
from training.learning.processes import Processes
from training.learning.run_folder import RunFolder
from training.learning.training_run import train

CONFIGS = Path(__file__).parents[1] / "configs/fast"
# The stages of the network that is shipped, one epoch of each.
STAGES = ("1-distill", "2-masks")
ROUNDS = 15


def make_model(
    design: str,
    start: StoredNetwork,
    folder: Path,
    overrides: Sequence[str],
    processes: Processes,
) -> Path:
    """Train a design as `STAGES` say, quantise it, and write its model directory.

    A folder that another call left is gone on with.

    Parameters
    ----------
    design : str
        One of `DESIGNS`.
    start : StoredNetwork
        The design before its training.
    folder : Path
        Gets a run for each stage, and the directory `design`.
    overrides : sequence of str
        `key=value` for all stages and the calibration.
    processes : Processes

    Returns
    -------
    directory : Path

    Raises
    ------
    ConfigError, DataError, ModelError, SaveError
    """
    directory = folder / design
    if (directory / "model.json").exists():
        return directory
    network = start
    for stage in STAGES:
        config = load_config(TrainConfig, CONFIGS / f"{stage}.yaml", ["epochs=1", *overrides])
        path = folder / f"{design}-{stage}"
        run = RunFolder(path, config, resume=path.exists(), leads=processes.leads)
        network = train(config, run, run.read_start() if path.exists() else network, processes)
    data = [text for text in overrides if text.startswith("data=")]
    calibration = load_config(CalibrationConfig, CONFIGS / "3-ptq.yaml", data)
    network = quantize_network(calibration, network)
    export_network(directory, network, name=design)
    return directory


def compare(
    directories: Mapping[str, Path], val: Path, limit: int | None, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Score and time models: by name, `dsc` and `nsd` of CT and MR and of all, ms and MB."""
    engines = {name: OpenVINOEngine(path) for name, path in directories.items()}
    with progress_bar("objects") as report:
        modes = list_modes(engines, Protocol.slices)
        evaluation = score_models(val, engines, modes, seed, limit, report)
    if evaluation.failed:
        raise ModelError(f"Not scored: {'; '.join(evaluation.failed.values())}")
    summary = summarise(evaluation.scores, seed)["models"]
    times = measure(list(directories.values()), ROUNDS)
    found = {}
    for name, path in directories.items():
        sets = summary[name]["datasets"]
        body = [own for data_set, own in sets.items() if data_set.split("/")[0] in ("CT", "MR")]
        found[name] = {
            **{key: summary[name]["macro"][key] for key in ("dsc", "nsd")},
            "body_dsc": sum(own["dsc"] for own in body) / len(body) if body else None,
            "encode": times[name]["encode"],
            "decode": times[name]["decode"],
            "mb": size_mb(path),
        }
    return found


def front(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the rows that no other one beats in both time and DSC, from fast to slow."""
    ordered = sorted(rows, key=lambda name: (rows[name]["encode"], -rows[name]["dsc"]))
    best: list[str] = []
    for name in ordered:
        if not best or rows[name]["dsc"] > rows[best[-1]]["dsc"]:
            best.append(name)
    return best


def markdown(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the comparison as a table; a row of the front has an asterisk."""
    best = front(rows)
    lines = []
    for name, row in rows.items():
        scores = [row[key] for key in ("dsc", "nsd", "body_dsc")]
        cells = [f"{name} *" if name in best else name]
        cells += ["" if score is None else f"{score:.3f}" for score in scores]
        lines.append([*cells, *(f"{row[key]:.1f}" for key in ("encode", "decode", "mb"))])
    header = ["", "DSC", "NSD", "DSC of CT and MR", "encode, ms", "decode, ms", "MB"]
    return markdown_table(header, lines) + "\n"


def write_plot(path: Path, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw DSC against the time to encode a slice, with the front as a line, as PNG."""
    figure = Figure(figsize=(6, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes = figure.subplots()
    best = front(rows)
    axes.step(
        [rows[name]["encode"] for name in best],
        [rows[name]["dsc"] for name in best],
        where="post",
        color="0.7",
        zorder=0,
    )
    for name, row in rows.items():
        ahead = name in best
        axes.scatter(row["encode"], row["dsc"], 40, "#D55E00" if ahead else "#0072B2")
        axes.annotate(
            name,
            (row["encode"], row["dsc"]),
            (5, 4 if ahead else -11),
            textcoords="offset points",
            fontsize=8,
        )
    axes.margins(x=0.25, y=0.15)
    axes.set_xlabel("ms to encode a slice")
    axes.set_ylabel("DSC, mean of data sets")
    axes.spines[["top", "right"]].set_visible(False)
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png"))
