"""A page about a label for people: what it measures, how it came about, and pictures of it.

One HTML file that needs nothing else: no script, no other file, no network. All text from files is
escaped, and the page forbids its browser to load anything.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medsamq.analysis.slice_pictures import (
    Mark,
    marks,
    png,
    representative_slices,
    slice_picture,
    surroundings,
    swatch,
)
from napari_medsamq.errors import ProvenanceError, VolumeError
from napari_medsamq.inference.preprocess import WindowLevel, default_window
from napari_medsamq.io.files import beside, file_hash, write_whole
from napari_medsamq.io.label_format import used_ids
from napari_medsamq.io.labels import LabelFile, bring_onto, read_label_file
from napari_medsamq.io.volume import Volume, volume_hash
from napari_medsamq.plain_text import as_html
from napari_medsamq.records.provenance import read_provenance

# What tells a report from other pages, which are never replaced unasked.
MARK = '<meta name="generator" content="napari-medsamq report">'
# So that all of it fits a page of A4.
_MOST_LABELS, _MOST_LINES, _MOST_SETTINGS, _MOST_CLICKS = 8, 6, 2, 4
_STYLE = """
@page { size: A4; margin: 12mm }
body { font: 8pt/1.25 system-ui, sans-serif; color: #111; background: #fff; max-width: 186mm;
  margin: 0 auto }
h1 { font-size: 14pt; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 10pt; margin: 1.5mm 0 .5mm }
p, ul { margin: .7mm 0 } ul { padding-left: 5mm }
p, li, code, td { overflow-wrap: anywhere } code { font-size: 7pt }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #bbb; padding: .3mm 1mm; text-align: right }
th { font-size: 7.5pt } th:nth-child(2) { width: 24% } td { white-space: nowrap }
td:nth-child(2) { white-space: normal }
th:nth-child(2), td:nth-child(2), th:first-child, td:first-child { text-align: left }
td img { vertical-align: middle; height: 5mm }
.row { display: flex; gap: 3mm } .row > * { margin: 0; flex: 1 1 0; min-width: 0 }
figure img { width: 100%; max-height: 58mm; object-fit: contain; background: #000 }
figcaption { font-size: 8pt }
.warning { border: 2px solid #a00; padding: 1.5mm; font-weight: bold }
@media print { * { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""


@dataclass(frozen=True)
class Report:
    """A report, and what the reader has to know of it.

    Attributes
    ----------
    html : str
    changed : bool
        Whether the label file is another one than was saved.
    """

    html: str
    changed: bool


def report_path(label: Path) -> Path:
    """Return where the report about a label file lies unless a name is given."""
    return beside(label, ".report.html")


def make_report(label: Path, image: Volume | None = None) -> Report:
    """Make the report about a label file from what lies beside it.

    Parameters
    ----------
    label : Path
    image : Volume, optional
        That it was drawn on; without it the pictures show the label alone.

    Raises
    ------
    ProvenanceError
        If nothing tells how the label came about.
    VolumeError
        If the label cannot be read, or the image is another one.
    """
    content, drawn = read_provenance(label), read_label_file(label, image)
    found = file_hash(label)
    try:
        changed = content["label"]["sha256"] != found
        if image is not None:
            _check_image(image, content)
        return Report(_page(label.name, content, changed, _figures(content, drawn, image)), changed)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ProvenanceError(
            f"What lies beside {label} is not as this program writes it ({error!r}). Save the "
            "label again."
        ) from error


def write_report(path: Path, report: Report, *, replace: bool = False) -> None:
    """Write a report; another program's file of that name is replaced only if `replace` says so.

    Raises
    ------
    SaveError
        If it cannot be written; whatever was there before is still there.
    """
    write_whole(path, report.html, "" if replace else MARK)


def _check_image(image: Volume, content: Mapping[str, Any]) -> None:
    if volume_hash(image) != content["image"]["voxels_sha256"]:
        raise VolumeError(
            f"{image.path or image.name} is not the image that this label was drawn on: their "
            "voxels or geometry differ. Give that image, or none."
        )


def _figures(content: Mapping[str, Any], drawn: LabelFile, image: Volume | None) -> str:
    grid = drawn.volume if image is None else image
    label = drawn.label if image is None else bring_onto(drawn, image).label
    shown = _marks(content["labels"], label)
    window = _window(content, image)
    figures, part = [], surroundings(label)
    # Not all formats of labels can say that the image left it open.
    known = grid.orientation_known and content["image"].get("orientation_known", True)
    for index in representative_slices(label):
        picture = slice_picture(image, window, label[index], index, grid.pixel_size(0), shown, part)
        caption = _caption(grid, index, known)
        names = {entry["id"]: str(entry["name"]) for entry in content["labels"]}
        here = [f"{shown[n].letter} {names.get(n, f'Label {n}')}" for n in used_ids(label[index])]
        alt = f"{caption}. Labels: {', '.join(here) or 'none'}"
        figures.append(
            f'<figure><img src="{_data(png(picture))}" alt="{as_html(alt)}">'
            f"<figcaption>{as_html(caption)}</figcaption></figure>"
        )
    return "".join(figures)


def _marks(labels: Sequence[Mapping[str, Any]], label: npt.NDArray[np.uint16]) -> dict[int, Mark]:
    colors = {int(entry["id"]): _color(entry["color"]) for entry in labels}
    for label_id in used_ids(label):
        # A file that was changed may have labels of which nothing is known.
        colors.setdefault(label_id, "#FFFFFF")
    return marks(colors)


def _color(text: str) -> str:
    if not re.fullmatch("#[0-9A-Fa-f]{6}", text):
        raise ValueError(f"the colour {text!r}")
    return text


def _window(content: Mapping[str, Any], image: Volume | None) -> WindowLevel:
    if image is None:
        return WindowLevel(128, 256)
    settings = content["settings"]
    return WindowLevel(*settings[-1]["window"]) if settings else default_window(image)


def _caption(volume: Volume, index: int, known: bool) -> str:
    side = "the patient's right is on the left" if known else "left and right are unknown"
    axis = volume.source.axes[0]
    corner, _ = volume.box_to_source((index, 0, 0), (index, 0, 0))
    return f"Axial slice, voxel {'ijk'[axis]} = {corner[axis]}; {side}"


def _data(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _page(name: str, content: Mapping[str, Any], changed: bool, figures: str) -> str:
    title = as_html(f"Label {name}")
    warning = (
        '<p class="warning">The label file was changed since it was saved: its SHA-256 is another '
        "one. The pictures show the file as it is now; all numbers and steps are those of the "
        "label as it was saved.</p>"
        if changed
        else "<p>The label file is the one that was saved: its SHA-256 is the same.</p>"
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
{MARK}
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>{_STYLE}</style></head><body>
<h1>{title}</h1>
<p>For research. Not a medical device: every mask has to be checked by a person who can judge it.
</p>
{warning}
<h2>Labels</h2>
{_labels(content["labels"])}
<h2>Pictures</h2>
<div class="row">{figures}</div>
<h2>How it came about</h2>
<div class="row">
{_listed("Boxes (first and last voxel i,j,k)", map(_prompt, content["prompts"]))}
{_listed("Steps", map(_step, content["steps"]))}
</div>
{_settings(content["settings"])}
<h2>Image and programs</h2>
{_facts(content)}
</body></html>
"""


def _labels(entries: Sequence[Mapping[str, Any]]) -> str:
    if not entries:
        return "<p>The label is empty.</p>"
    shown = marks({int(entry["id"]): _color(entry["color"]) for entry in entries})
    rows = []
    for entry in entries[:_MOST_LABELS]:
        mark, found = shown[int(entry["id"])], entry["statistics"]
        share = entry["origin"]["share"]
        cells = (
            f"{int(found['voxels']):,}",
            f"{found['millilitres']:,.2f}",
            f"{found['mean']:.1f} ± {found['sd']:.1f}",
            f"{found['plane_mm']:.1f}",
            f"{found['longest_mm']:.1f}",
            *(f"{share[key]:.1%}" for key in ("model", "hand", "operation", "removed")),
        )
        alt = f"drawn with {mark.hatching} hatching"
        rows.append(
            f'<tr><td><img src="{_data(png(swatch(mark)))}" alt="{as_html(alt)}"> '
            f"<b>{mark.letter}</b></td><td>{as_html(str(entry['id']))} "
            f"{as_html(str(entry['name']))}</td>"
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    heads = ("", "Label", "Voxels", "mL", "Mean ± SD", "Longest in plane, mm", "Longest, mm")
    origins = ("Network", "Hand", "Operation", "Removed")
    head = "".join(f'<th scope="col">{text}</th>' for text in (*heads, *origins))
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "<p>Network, hand, operation: share of the label's voxels by what set them last. Removed: "
        "share of what the network gave that was taken away by hand or by an operation.</p>"
        + _more(len(entries) - _MOST_LABELS)
    )


def _more(count: int) -> str:
    return f"<p>And {count} more, in the provenance file.</p>" if count > 0 else ""


def _listed(what: str, texts: Iterable[str]) -> str:
    lines = list(texts)
    if not lines:
        return f"<div><p>{what}: none.</p></div>"
    items = "".join(f"<li>{as_html(line)}</li>" for line in lines[:_MOST_LINES])
    return (
        f"<div><p>{what}: {len(lines)}</p><ul>{items}</ul>{_more(len(lines) - _MOST_LINES)}</div>"
    )


def _prompt(entry: Mapping[str, Any]) -> str:
    box = ",".join(str(int(index)) for index in entry["box"])
    text = f"{box}, {entry['plane']}, label {entry['label']}"
    if "lasso" in entry:
        text += f", lasso of {len(entry['lasso'])} corners"
    clicks = [
        ",".join(map(str, click[:4])) + " (scribble)" * (len(click) > 4)
        for click in entry.get("clicks", ())
    ]
    if len(clicks) > _MOST_CLICKS:
        clicks = [*clicks[:_MOST_CLICKS], f"and {len(clicks) - _MOST_CLICKS} more"]
    return f"{text}; clicks {' '.join(clicks)}" if clicks else text


def _step(entry: Mapping[str, Any]) -> str:
    times = int(entry["times"])
    return f"{entry['name']}, by {entry['by']}" + (f", {times} times" if times > 1 else "")


def _settings(entries: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for entry in entries:
        level, width = entry["window"]
        # The whole of them is in the provenance file.
        hashes = entry["model_sha256"].items()
        files = ", ".join(f"{name} {text[:16]}…" for name, text in hashes)
        lines.append(
            f"<p>Model {as_html(str(entry['model']))}, {as_html(str(entry['modality']))}, level "
            f"{level:g}, width {width:g}. SHA-256: <code>{as_html(files)}</code></p>"
        )
    return "".join(lines[:_MOST_SETTINGS]) + _more(len(lines) - _MOST_SETTINGS)


def _facts(content: Mapping[str, Any]) -> str:
    image, cpu = content["image"], content["cpu"]
    size = " x ".join(str(count) for count in image["shape"])
    spacing = " x ".join(f"{value:.3g}" for value in image["spacing_mm"])
    versions = ", ".join(f"{name} {text}" for name, text in content["software"].items())
    named = f"{image['name']}: " if "name" in image else ""
    named += "".join(f"{kind} {image[kind]}, " for kind in ("volume", "series") if kind in image)
    lines = (
        f"Image: {named}{size} voxels of {spacing} mm, {image['modality']} "
        f"({image['modality_source']})",
        f"Saved {content['saved']} by {versions}, on {cpu['name']} with "
        f"{', '.join(cpu['instructions'])}",
    )
    hashes = (
        ("of the saved label", content["label"]["sha256"]),
        ("of the image's voxels", image["voxels_sha256"]),
        ("of its geometry", image["geometry_sha256"]),
    )
    listed = ", ".join(f"{what} <code>{as_html(str(text))}</code>" for what, text in hashes)
    return "".join(f"<p>{as_html(line)}</p>" for line in lines) + f"<p>SHA-256 {listed}</p>"
