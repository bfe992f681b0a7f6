"""`medsamq`: the plugin's session without a display, and the window with a volume already open."""

from __future__ import annotations

import gc
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_medsamq import __version__
from napari_medsamq.cli.common import (
    LABEL_HELP,
    Axis,
    Device,
    Modality,
    Model,
    Resample,
    Series,
    VolumeNumber,
    WithName,
    chosen_model,
    no_window,
    say,
    user_errors,
)
from napari_medsamq.errors import PromptError, SaveError, VolumeError
from napari_medsamq.geometry import PLANE_NAMES
from napari_medsamq.inference.backend import CPU
from napari_medsamq.inference.engine import Engines
from napari_medsamq.inference.model_choice import (
    explain_default,
    find_model,
    personal_models,
    shipped_models,
)
from napari_medsamq.inference.model_list import describe_model, time_steps
from napari_medsamq.io.label_writer import check_target
from napari_medsamq.io.modality import modality_of
from napari_medsamq.io.source import Selection
from napari_medsamq.io.volume import read_volume
from napari_medsamq.plugin import SAMPLES
from napari_medsamq.workflows.labels import check_new
from napari_medsamq.workflows.open_session import open_session, with_known_modality
from napari_medsamq.workflows.parsing import (
    parse_box,
    parse_labels,
    parse_lasso,
    parse_point,
    read_scribbles,
)
from napari_medsamq.workflows.segment import SegmentReport, segment_boxes

# The modules of the other commands. They come after gui, segment, demo and models, which are asked
# for most.
_OTHERS = {
    "replay": "replay",
    "report": "report",
    "doctor": "doctor",
    "batch": "batch",
    "compare": "compare",
    "followup": "follow_up",
    "benchmark": "benchmark",
}


class _Commands(TyperGroup):
    """The commands; a module of `_OTHERS` is imported when it or the list of all is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(dict.fromkeys([*super().list_commands(ctx), *_OTHERS]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in _OTHERS and cmd_name not in self.commands:
            found = getattr(import_module(f"napari_medsamq.cli.{_OTHERS[cmd_name]}"), cmd_name)
            if not isinstance(found, typer.Typer):
                alone = typer.Typer(add_completion=False)
                alone.command()(found)
                found = alone
            self.add_command(typer.main.get_command(found), cmd_name)
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    cls=_Commands,
    name="medsamq",
    help="Segment CT and MR volumes by boxes, on the CPU. For research, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
)


class SampleName(StrEnum):
    """The volumes that come with the program."""

    ct = "ct"
    mr = "mr"


SAMPLE_FILES = {SampleName.ct: "ct.nii.gz", SampleName.mr: "mr.nrrd"}


BOX_HELP = (
    "Voxel indices I0,J0,K0,I1,J1,K1 in the file's own axis order, from 0, both corners included. "
    "One pair equal: a box on that slice; all different: a box through slices. Repeatable."
)
Boxes = Annotated[list[str], typer.Option("--box", help=BOX_HELP)]
Labels = Annotated[
    list[str],
    typer.Option(
        "--label",
        help="Number, name or both (1=Liver) of the label of all boxes, or one for each in order.",
    ),
]


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False,
) -> None:
    """Segment CT and MR volumes by boxes, on the CPU. For research, not a medical device."""
    if version:
        typer.echo(f"napari-medsamq {__version__}")
        raise typer.Exit


@app.command()
def gui(
    path: Annotated[Path | None, typer.Argument(help="A volume or DICOM folder.")] = None,
    sample: Annotated[
        SampleName | None, typer.Option(help="Open a volume that comes along.")
    ] = None,
    box: Boxes = [],  # noqa: B006 (typer reads it, nobody writes it)
    label: Labels = ["1"],  # noqa: B006
    axis: Annotated[Axis, typer.Option(help="Direction of 3D boxes.")] = Axis.axial,
    screenshot: Annotated[
        Path | None, typer.Option(help="Save a picture of the window and close it.")
    ] = None,
    modality: Annotated[
        Modality | None, typer.Option(help="What the image is, where the file does not say.")
    ] = None,
    series: Series = None,
    volume: VolumeNumber = None,
    resample: Resample = False,
    model: Model = None,
    device: Device = CPU,
) -> None:
    """Open napari with the dock, and a volume if one is named."""
    with user_errors():
        if path is not None and sample is not None:
            raise VolumeError("Name a file or a sample, not both.")
        if box and path is None and sample is None:
            raise PromptError("A box needs a volume: name a file or --sample ct.")
        labels = parse_labels(label, len(box))
        gc.disable()  # modules stay: looking for what could go takes .4 s, and later holds up
        try:
            from napari_medsamq.ui.app import run
        except ImportError as error:
            raise no_window(error) from error
        finally:
            gc.freeze()
            gc.enable()
        source = path if sample is None else SAMPLES / SAMPLE_FILES[sample]
        if screenshot is not None and not screenshot.parent.is_dir():
            raise SaveError(f"There is no folder {screenshot.parent} for the screenshot. Make it.")
        said = None if modality is None else modality_of(modality)
        chosen = chosen_model(model)
        selection = Selection(series, volume, resample)
        boxes = list(zip(box, labels, strict=True)) if box else []
        run(
            source,
            boxes,
            PLANE_NAMES.index(axis.value),
            screenshot,
            chosen,
            device,
            said,
            selection,
        )


@app.command()
def segment(
    image: Annotated[Path, typer.Argument(help="NIfTI, NRRD, MHA, DICOM folder, picture, npz.")],
    output: Annotated[Path, typer.Option("-o", "--output", help=LABEL_HELP)],
    box: Boxes = [],  # noqa: B006
    label: Labels = ["1"],  # noqa: B006
    axis: Annotated[Axis, typer.Option(help="Direction of 3D boxes.")] = Axis.axial,
    window: Annotated[
        str | None,
        typer.Option(help="LEVEL,WIDTH in the image's unit, or a preset: lung, bone, brain..."),
    ] = None,
    modality: Annotated[
        Modality | None, typer.Option(help="What the image is, where the file does not say.")
    ] = None,
    series: Series = None,
    volume_number: VolumeNumber = None,
    resample: Resample = False,
    model: Model = None,
    device: Device = CPU,
    point: Annotated[
        list[str],
        typer.Option(
            help="I,J,K,+ or I,J,K,-: a voxel that belongs to the structure, or does not; corrects "
            "the mask on its slice. With several labels I,J,K,+,LABEL. Repeatable."
        ),
    ] = [],  # noqa: B006
    scribble: Annotated[
        list[Path],
        typer.Option(
            help="A text file with a line I,J,K,+ or I,J,K,- for each voxel of a line on a slice, "
            "which corrects its mask as points do; an empty line begins another one. Repeatable."
        ),
    ] = [],  # noqa: B006
    lasso: Annotated[
        list[str],
        typer.Option(
            help="I,J,K;I,J,K;I,J,K and so on: corners of an outline around the structure on a "
            "slice, beside or in place of boxes; its label comes after theirs. Repeatable."
        ),
    ] = [],  # noqa: B006
    with_name: WithName = False,
    zoom: Annotated[bool, typer.Option(help="Show the network small structures enlarged.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output file.")] = False,
) -> None:
    """Segment boxes of an image and save the label on the image's own grid."""
    with user_errors():
        if not box and not lasso:
            raise PromptError("There is nothing to segment: give a --box or a --lasso.")
        check_new(output, overwrite)
        labels = parse_labels(label, len(box) + len(lasso))
        volume = read_volume(image, series=series, volume=volume_number, resample=resample)
        check_target(output, volume.path, volume.source)
        volume = with_known_modality(volume, modality)
        prompts = [parse_box(text, volume, PLANE_NAMES.index(axis.value)) for text in box]
        prompts += [parse_lasso(text, volume) for text in lasso]
        label_ids = [label_id for label_id, _ in labels]
        known = sorted(set(label_ids))
        strokes = [parse_point(text, volume, axis, known) for text in point]
        strokes += [own for path in scribble for own in read_scribbles(path, volume, known)]
        session = open_session(volume, window=window, zoom=zoom, model=model, device=device)
        boxes = list(zip(prompts, label_ids, strict=True))
        names = {label_id: name for label_id, name in labels if name}
        say(
            *_summary(
                segment_boxes(
                    session, boxes, output, names=names, strokes=strokes, with_name=with_name
                )
            )
        )


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder for the results.")],
    model: Model = None,
    device: Device = CPU,
) -> None:
    """Segment liver and spleen on the sample CT and show what came out."""
    from napari_medsamq.workflows.demo import run_demo

    with user_errors():
        start = perf_counter()
        found = run_demo(output, chosen_model(model), device)
        say(*_summary(found))
        say(f"{perf_counter() - start:.1f} s in all. Look at {output / 'overlay.png'}.")


@app.command()
def models(
    model: Annotated[
        list[str] | None, typer.Option(help="Also this model directory. Repeatable.")
    ] = None,
    device: Device = CPU,
) -> None:
    """List the models: size, hash, DSC on cases that none was trained on, ms on this computer."""
    with user_errors():
        engines = Engines(device=device)
        others = [find_model(name) for name in model or []]
        for directory in dict.fromkeys([*shipped_models(), *personal_models(), *others]):
            engine = engines.load(directory)
            say(*describe_model(engine, time_steps(engine)))
        say(f"Without --model: {explain_default()}")


def _summary(report: SegmentReport) -> list[str]:
    scored = "" if report.dsc is None else f" (DSC {report.dsc:.2f})"
    volume, ms, slices = report.volume, report.ms, report.slices
    lines = [f"{part.option.capitalize()} {part}" for part in volume.parts]
    model = f"{report.session.model}{scored}"
    lines.append(f"{volume.modality}, {volume.modality_source}; model {model}")
    for label_id, measured in report.statistics.items():
        name = report.model.style(label_id).name
        size = f"{measured.voxels:,} voxels, {measured.millilitres:.2f} mL"
        lines.append(f"{label_id} {name}: {size}")
    lines.append(
        f"{slices} slice{'s' if slices > 1 else ''}: encode {ms['encode_per_slice']:.0f} ms, "
        f"decode {ms['decode_per_slice']:.0f} ms each (medians)"
    )
    lines.extend(f"Note: {warning}" for warning in report.warnings)
    lines.append(f"Saved and verified: {report.saved.receipt.path}")
    return lines
