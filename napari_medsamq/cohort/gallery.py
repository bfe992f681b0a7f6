"""Pictures of the masks of a cohort, and one page to look through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import numpy.typing as npt

from napari_medsamq.analysis.slice_pictures import Picture, draw_outline
from napari_medsamq.annotation.history import LabelStyle
from napari_medsamq.errors import SaveError
from napari_medsamq.geometry import PLANE_NAMES
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.io.volume import Volume
from napari_medsamq.plain_text import as_html

_SIDE = 176  # pixels of one slice's picture
# Outlines are thin and bright: their colours are kept for each pixel.
_JPEG = (
    *(cv2.IMWRITE_JPEG_QUALITY, 85),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)
_SHARES = (0.25, 0.5, 0.75)

Label = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Card:
    """What the page shows of a case.

    Attributes
    ----------
    name : str
    picture, label_file : str
        Relative to the page.
    alt : str
        What the picture shows, for those who do not see it.
    labels : sequence of (name, colour, mL)
    seconds : float
    warnings : sequence of str
    confidence : float or None
        How sure its masks are, 0 to 1; None where that was not asked for.
    """

    name: str
    picture: str
    label_file: str
    alt: str
    labels: Sequence[tuple[str, str, float]]
    seconds: float
    warnings: Sequence[str]
    confidence: float | None = None

    @property
    def sureness(self) -> float:
        """What cards are sorted by: those of which it is not known come last."""
        return 2.0 if self.confidence is None else self.confidence


def thumbnail(
    volume: Volume, label: Label, window: WindowLevel, styles: Mapping[int, LabelStyle], axis: int
) -> tuple[bytes, str]:
    """Draw the outlines of all labels on up to three slices, cut to what lies around them.

    Parameters
    ----------
    volume : Volume
    label : (z, y, x) unsigned integers
    window : WindowLevel
    styles : mapping of int to LabelStyle
        By label id; the usual style for those that have none.
    axis : int
        Array axis normal to the slices.

    Returns
    -------
    jpeg : bytes
    alt : str
        What it shows.
    """
    across = [label.any(tuple({0, 1, 2} - {n})) for n in (0, 1, 2)]
    # A label on one slice is shown there.
    axis = next((n for n in (axis, 0, 1, 2) if np.count_nonzero(across[n]) == 1), axis)
    planes = np.moveaxis(label, axis, 0)
    used = np.flatnonzero(across[axis])
    shown = (
        sorted({int(used[round(share * (len(used) - 1))]) for share in _SHARES})
        if len(used)
        else [len(planes) // 2]
    )
    rows, columns = _around(np.asarray(planes.any(0)), volume.pixel_size(axis))
    pictures = []
    for index in shown:
        grey = window.apply(volume.slice(axis, index)[rows, columns])
        picture = _draw(grey, planes[index, rows, columns], volume.pixel_size(axis), styles)
        # The head is up, as in the window.
        pictures.append(_framed(picture if axis == 0 else np.flipud(picture)))
    done, encoded = cv2.imencode(".jpg", np.hstack(pictures), _JPEG)
    if not done:
        raise SaveError(f"{volume.name}: its picture could not be made.")
    numbers = ", ".join(map(str, shown))
    slices = "slice" if len(shown) == 1 else "slices"
    return (
        encoded.tobytes(),
        f"Outlines of the labels on the {PLANE_NAMES[axis]} {slices} {numbers}",
    )


def _around(mask: npt.NDArray[np.bool_], pixel: tuple[float, float]) -> tuple[slice, slice]:
    """Return rows and columns of a square in mm, twice as wide as the mask."""
    if not mask.any():
        return slice(None), slice(None)
    size = [count * mm for count, mm in zip(mask.shape, pixel, strict=True)]
    ends = [np.flatnonzero(mask.any(other))[[0, -1]] for other in (1, 0)]
    widest = max(float(high - low + 1) * mm for (low, high), mm in zip(ends, pixel, strict=True))
    side = min(max(2 * widest, max(size) / 3), max(size))
    found = []
    for (low, high), mm, count in zip(ends, pixel, mask.shape, strict=True):
        pixels = min(round(side / mm), count)
        start = min(max(0, round((low + high + 1 - pixels) / 2)), count - pixels)
        found.append(slice(start, start + pixels))
    return found[0], found[1]


def _draw(
    grey: npt.NDArray[np.uint8],
    label: Label,
    pixel: tuple[float, float],
    styles: Mapping[int, LabelStyle],
) -> Picture:
    height, width = (count * mm for count, mm in zip(label.shape, pixel, strict=True))
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    code = cv2.COLOR_GRAY2BGR if shown.ndim == 2 else cv2.COLOR_RGB2BGR
    picture = np.ascontiguousarray(cv2.cvtColor(shown, code))
    for label_id in np.unique(label[label > 0]).tolist():
        color = styles.get(label_id, LabelStyle.default(label_id)).color
        mask = (label == label_id).astype(np.uint8)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        draw_outline(picture, mask, color, 1)
    return np.asarray(picture, np.uint8)


def _framed(picture: Picture) -> Picture:
    """Put a picture in the middle of a black square."""
    frame = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    height, width = picture.shape[:2]
    top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
    frame[top : top + height, left : left + width] = picture
    return frame


def page(cards: Sequence[Card], failures: Sequence[tuple[str, str]]) -> str:
    """Return the page: cards in their order, which its reader can change, and what failed.

    Where it is known how sure masks are, the least sure ones come first.

    Parameters
    ----------
    cards : sequence of Card
    failures : sequence of (case, error)
    """
    ordered = sorted(enumerate(cards), key=lambda own: own[1].sureness)
    cases = "\n".join(_card(number, card) for number, card in ordered)
    first = "" if all(card.confidence is None for card in cards) else _BY_CONFIDENCE
    items = "\n".join(
        f"<li><b>{as_html(name)}</b>: {as_html(error)}</li>" for name, error in failures
    )
    failed = f"<h2>{len(failures)} failed</h2>\n<ul>\n{items}\n</ul>" if failures else ""
    return _PAGE.format(count=len(cards), first=first, cases=cases, failed=failed)


def _card(number: int, card: Card) -> str:
    numbers: dict[str, Any] = {
        "order": number,
        "volume": f"{sum(ml for _, _, ml in card.labels):.4f}",
        "time": f"{card.seconds:.3f}",
        "warnings": len(card.warnings),
        "confidence": f"{card.sureness:.4f}",
    }
    data = " ".join(f'data-{name}="{value}"' for name, value in numbers.items())
    labels = "<br>".join(
        f'<span style="color:{as_html(color)}" aria-hidden="true">&#9632;</span> '
        f"{as_html(name)} {ml:.2f} mL"
        for name, color, ml in card.labels
    )
    warnings = "".join(f'<p class="warning">{as_html(text)}</p>' for text in card.warnings)
    picture, label_file = (as_html(quote(path)) for path in (card.picture, card.label_file))
    name, alt = as_html(card.name), as_html(f"{card.name}: {card.alt}")
    sure = "" if card.confidence is None else f", confidence {card.confidence:.2f}"
    return (
        f'<figure {data}><img src="{picture}" alt="{alt}" loading="lazy" height="{_SIDE}">\n'
        f'<figcaption><a href="{label_file}">{name}</a>, {card.seconds:.1f} s{sure}<br>{labels}'
        f"{warnings}</figcaption></figure>"
    )


_BY_CONFIDENCE = '<option value="confidence-">least sure first</option>\n'

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Masks to review</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 14px sans-serif; background: #111; color: #ddd; margin: 1em }}
main {{ display: flex; flex-wrap: wrap; gap: 8px }}
figure {{ margin: 0; background: #222; padding: 4px; max-width: 540px }}
img {{ display: block; max-width: 100% }}
a {{ color: #8cf }}
.warning {{ color: #fc6; margin: 2px 0; max-width: 520px }}
</style></head><body>
<h1>Masks to review</h1>
<p>{count} cases. For research, not a medical device: every mask has to be checked. Axial and
coronal slices show the patient's right on the left.</p>
<p><label>Sort by <select id="sort">
{first}<option value="order">order of the table</option>
<option value="volume">volume, largest first</option>
<option value="volume-">volume, smallest first</option>
<option value="time">time, longest first</option>
<option value="warnings">warnings, most first</option>
</select></label></p>
<main>
{cases}
</main>
{failed}
<script>
document.getElementById("sort").addEventListener("change", event => {{
  const key = event.target.value.replace("-", "");
  const up = key === "order" || event.target.value.endsWith("-");
  const main = document.querySelector("main");
  const of = (card, name) => Number(card.dataset[name]);
  main.append(...[...main.children].sort((a, b) =>
    (up ? 1 : -1) * (of(a, key) - of(b, key)) || of(a, "order") - of(b, "order")));
}});
</script>
</body></html>
"""
