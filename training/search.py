"""Compares designs of the fast encoder by what they score and how long they take.

python -m training.search DATA... --val VAL_DIR --out DIR
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.catalog import size_mb
from napari_medsamq.inference.engine import OpenVINOEngine
from training.checkpoint import lite_medsam_checkpoint
from training.checkpoints.network_file import StoredNetwork
from training.config import load_config
from training.console import error_message, progress_bar
from training.errors import ConfigError
from training.evaluation.protocol import Protocol
from training.evaluation.scores import summarise
from training.evaluation.scoring import score_models
from training.export import convert_lite_medsam, describe_network, write_model
from training.files import replace_file
from training.latency import measure
from training.learning.config import TrainConfig
from training.learning.run_folder import Run
from training.models.fast_vit import DESIGNS
from training.processes import Processes, join_processes, keep_memory
from training.quantize import CalibrationConfig, quantize_network
from training.student import student_network
from training.train import train

CONFIGS = Path(__file__).parent / "configs/fast"
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
        run = Run(path, config, resume=path.exists(), leads=processes.leads)
        network = train(config, run, run.read_start() if path.exists() else network, processes)
    data = [text for text in overrides if text.startswith("data=")]
    calibration = load_config(CalibrationConfig, CONFIGS / "3-ptq.yaml", data)
    network = quantize_network(calibration, network)
    bits, provenance = describe_network(network)
    encoder, decoder = convert_lite_medsam(network.net)
    write_model(directory, encoder, decoder, name=design, bits=bits, provenance=provenance)
    return directory


def compare(
    directories: Mapping[str, Path], val: Path, limit: int | None, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Score and time models: by name, `dsc` and `nsd` of CT and MR and of all, ms and MB."""
    engines = {name: OpenVINOEngine(path) for name, path in directories.items()}
    with progress_bar("objects") as report:
        evaluation = score_models(val, engines, Protocol.slices, seed, limit, report)
    if evaluation.failed:
        raise ModelError(f"Not scored: {'; '.join(evaluation.failed.values())}")
    summary = summarise(evaluation.scores, seed)["models"]
    times = measure(list(directories.values()), ROUNDS)
    found = {}
    for name, path in directories.items():
        sets = summary[name]["datasets"]
        modality = {s.target.case.data_set: s.target.case.modality for s in evaluation.scores[name]}
        body = [own for data_set, own in sets.items() if modality[data_set] in ("CT", "MR")]
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
    lines = [
        "| | DSC | NSD | DSC of CT and MR | encode, ms | decode, ms | MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        scores = [row[key] for key in ("dsc", "nsd", "body_dsc")]
        cells = [f"{name} *" if name in best else name]
        cells += ["" if score is None else f"{score:.3f}" for score in scores]
        cells += [f"{row[key]:.1f}" for key in ("encode", "decode", "mb")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


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


def main(
    data_train: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA|key=value",
            help="Caches of training cases (`training.cache --full`, all axes); and in place of "
            "what the stages' configurations say: counts, teacher_cache, ...",
        ),
    ],
    val: Annotated[Path, typer.Option(help="Folder of cases to score on; never trained on.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; given again, it goes on.")],
    design: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this design, of {', '.join(DESIGNS)}. Repeatable."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Score at most so many objects of each data set.")
    ] = 5,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Float weights (.pth). Default: the published LiteMedSAM.")
    ] = None,
) -> None:
    """Train each design of the fast encoder shortly, and compare them.

    Every design starts from the published weights and gets one epoch of
    medsamq-fast's first two stages, by the same samples, then post-training
    quantisation. OUT gets the models, search.json, search.md and search.png.

    2 CPU cores: 6 minutes for each design.

    Example: python -m training.search cases-full/train cases-full/images
    --val val --out search
    """
    keep_memory()
    with error_message():
        names = design or list(DESIGNS)
        unknown = sorted(set(names) - set(DESIGNS))
        if unknown:
            raise ConfigError(
                f"There is no design {', '.join(unknown)}; there are {', '.join(DESIGNS)}."
            )
        overrides = [text for text in data_train if "=" in text]
        folders = [text for text in data_train if text not in overrides]
        overrides = [f"data={json.dumps(folders)}", *overrides] if folders else overrides
        source = checkpoint or lite_medsam_checkpoint()
        with join_processes("cpu") as processes:
            directories = {}
            for number, name in enumerate(names, start=1):
                typer.echo(f"[{number}/{len(names)}] {name}", err=True)
                start = student_network(source, name)
                directories[name] = make_model(name, start, out, overrides, processes)
        rows = compare(directories, val, limit)
        replace = partial(_write_text, out)
        replace("search.json", json.dumps(rows, indent=1) + "\n")
        replace("search.md", markdown(rows))
        write_plot(out / "search.png", rows)
    typer.echo(markdown(rows))


def _write_text(folder: Path, name: str, text: str) -> None:
    replace_file(folder / name, lambda path: path.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
