"""Where what this program and dcm2niix read differs, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.stress.dicom.breaks import LOST
from tests.stress.dicom.draw import NO_SLOPE, Made
from tests.stress.dicom.image_comparison import (
    ROUNDING,
    TOLERANCE_MM,
    Difference,
    Image,
    aligned,
    pair,
)
from tests.stress.dicom.readings import Reading

_UNEVEN = "UnevenSlicesError"


@dataclass(frozen=True, eq=False)
class Disagreement:
    """One difference.

    Attributes
    ----------
    kind : str
    text : str
        What it is.
    ours, theirs : Image or None
        Of whom there is one.
    difference : Difference or None
        Of two images.
    """

    kind: str
    text: str = ""
    ours: Image | None = None
    theirs: Image | None = None
    difference: Difference | None = None


@dataclass(frozen=True)
class Case:
    """What was made and what two programs read of it."""

    made: Made
    ours: Reading
    theirs: Reading


def disagreements(case: Case) -> Iterator[Disagreement]:
    """Yield where two programs differ, and where this one reads what the files do not say."""
    yield from (Disagreement("wrong", text) for text in _wrong(case.made, case.ours))
    ours, theirs = case.ours.images, case.theirs.images
    pairs, alone, others = pair(ours, theirs)
    for m, n, found in pairs:
        if found.mm > TOLERANCE_MM:
            yield Disagreement("geometry", str(found), ours[m], theirs[n], found)
        if found.values:
            yield Disagreement("values", str(found), ours[m], theirs[n], found)
    for m in alone:
        yield Disagreement("only ours", f"{ours[m].values.shape}", ours[m])
    for n in others:
        yield Disagreement("only theirs", f"{theirs[n].values.shape}", None, theirs[n])
    yield from (Disagreement("refused", text) for text in case.ours.refusals)


def _wrong(made: Made, ours: Reading) -> Iterator[str]:
    """Yield where this program does not do what the files ask for."""
    if made.refusal:
        if not any(made.refusal in text for text in ours.refusals):
            yield f"should be refused: {made.refusal}"
        return
    pairs, alone, lost = pair(ours.images, made.volumes)
    for m in alone:
        yield f"a volume {ours.images[m].values.shape} that the files do not have"
    for n in lost:
        yield f"no volume {made.volumes[n].values.shape}, which the files have"
    for *_, found in pairs:
        if not found.same(made.said_mm + TOLERANCE_MM):
            yield f"a volume that differs from that of the files: {found}"
    uneven = [text for text in ours.refusals if text.startswith(_UNEVEN)]
    if len(uneven) != len(made.uneven) or len(uneven) != len(ours.refusals):
        yield f"{len(made.uneven)} volumes should be refused as uneven: {'; '.join(ours.refusals)}"
    made_even = [_pages(image) for image in ours.resampled]
    for kept in made.uneven:
        if not any(_are_among(kept, pages) for pages in made_even):
            yield "slices are not the same when uneven ones are resampled"


def _pages(image: Image) -> list[np.ndarray]:
    return list(image.values.transpose(2, 1, 0))


def _are_among(some: Sequence[np.ndarray], pages: Sequence[np.ndarray]) -> bool:
    """Tell whether slices have the same values, in whatever order, as each one of others has."""
    left = [np.sort(page, axis=None) for page in pages]
    for page in some:
        values = np.sort(page, axis=None)
        # Far below what tells random pictures apart.
        allowed = 8 * ROUNDING * (np.abs(values).max() + 1)
        same = [
            n
            for n, other in enumerate(left)
            if other.shape == values.shape and np.abs(other - values).max() <= allowed
        ]
        if not same:
            return False
        left.pop(same[0])
    return True


# --- what is known ---


@dataclass(frozen=True)
class Reason:
    """A kind of disagreements that is explained.

    Attributes
    ----------
    text : str
        Why they differ.
    applies : callable
        Tells whether it explains one.
    """

    text: str
    applies: Callable[[Case, Disagreement], bool]


def _is_rounded(case: Case, one: Disagreement) -> bool:
    # What the first two slices miss grows from slice to slice.
    steps = 2.0 if one.ours is None else max(one.ours.values.shape)
    found = one.difference
    return found is not None and found.mm <= case.made.said_mm * steps


def _shows(case: Case, one: Disagreement, told: Callable[[np.ndarray, np.ndarray], bool]) -> bool:
    """Tell whether each slice of theirs, and that of one of ours at its place, are related so."""
    if one.theirs is None:
        return False
    for ours in case.ours.images:
        turned = aligned(ours, one.theirs)
        if turned is not None and all(map(told, _pages(ours), _pages(turned))):
            return True
    return False


def _differ_by_one(case: Case, one: Disagreement) -> bool:
    """Tell whether the values of a slice that differ do so by one and the same number."""

    def told(ours: np.ndarray, theirs: np.ndarray) -> bool:
        off = np.abs(theirs - ours)
        return bool(np.ptp(off[off >= off.max() / 2]) <= 1e-4 * off.max())

    return _shows(case, one, told)


def _largest_differ(case: Case, one: Disagreement) -> bool:
    """Tell whether a slice's largest values differ, and all by one and the same number."""

    def told(ours: np.ndarray, theirs: np.ndarray) -> bool:
        off = ours - theirs
        large = off > max(off.max() / 2, 0)
        lost = off.max() - off[large].min(initial=off.max()), np.abs(off[~large]).max(initial=0)
        apart = ours[~large].max(initial=-np.inf) < ours[large].min(initial=np.inf)
        return bool(apart and max(lost) <= 1e-4 * off.max())

    return _shows(case, one, told)


def _add_up(case: Case, one: Disagreement) -> bool:
    """Tell whether the values of a slice add up to one and the same number."""

    def told(ours: np.ndarray, theirs: np.ndarray) -> bool:
        return bool(np.ptp(ours + theirs) <= 1e-4 * np.ptp(ours))

    return _shows(case, one, told)


def _same_slices(case: Case, one: Disagreement) -> bool:
    """Tell whether all slices of theirs are among ours."""
    if case.made.kind == "enhanced" and case.made.traits.get("scale") == "per slice":
        return _same_but_for_scale(case, one)  # they take those of other frames
    theirs, ours = _all_pages(case.theirs), _all_pages(case.ours)
    if _takes_other_values(case.made):
        # As to their size.
        theirs, ours = ([np.ones_like(page) for page in pages] for pages in (theirs, ours))
    return _are_among(theirs, ours)


def _takes_other_values(made: Made) -> bool:
    """Tell whether dcm2niix takes values otherwise than we do, for what is known of."""
    twelve = made.traits["stored"] == "12 bits signed"
    return twelve or bool(made.traits.keys() & {"junk", "MONOCHROME1"})


def _no_other_slices(case: Case, _: Disagreement) -> bool:
    """Tell whether each slice of theirs is one of ours."""
    ours = _all_pages(case.ours)
    return all(_are_among([page], ours) for page in _all_pages(case.theirs))


def _same_but_for_scale(case: Case, _: Disagreement) -> bool:
    """Tell whether all slices of theirs are among ours, whatever slope and intercept they have."""
    theirs, ours = (
        [(page - page.mean()) / (page.std() or 1) for page in _all_pages(reading)]
        for reading in (case.theirs, case.ours)
    )
    return _are_among(theirs, ours)


def _all_pages(reading: Reading) -> list[np.ndarray]:
    return [page for image in reading.images for page in _pages(image)]


def _has(name: str, *values: object) -> Callable[[Made], bool]:
    return lambda made: made.traits.get(name) in values


def _any_order(made: Made) -> bool:
    """Tell whether files or frames come in no order that goes through each volume in turn."""
    mixed = ("instance numbers", ("shuffled", "alike", "none")), ("slice by slice", (True,))
    frames = made.kind == "enhanced" and bool(made.traits.keys() & {"by", "frames"})
    return frames or any(made.traits.get(name) in values for name, values in mixed)


def _is_incomplete(made: Made) -> bool:
    """Tell whether not all of several volumes have a slice at each place."""
    lost = ("a slice missing", "a slice of another size", "a slice without pixels")
    return made.kind == "several" and made.traits.get("broken") in lost


def _none_by_them(case: Case, _: Disagreement) -> bool:
    return not case.theirs.images


def _no_repeats(made: Made) -> bool:
    return "lie" in made.traits or made.traits.get("varying") == "places"


def _when(
    kinds: Sequence[str],
    made: Callable[[Made], bool],
    shown: Callable[[Case, Disagreement], bool] = lambda *_: True,
) -> Callable[[Case, Disagreement], bool]:
    return lambda case, one: one.kind in kinds and made(case.made) and shown(case, one)


_COPY = "copy with another UID"
_COUNTS = ("only ours", "only theirs")
# By what they are called in the table. None explains what is wrong of ours.
REASONS = {
    "mosaic": Reason(
        "we refuse pictures of all slices side by side, and name dcm2niix, which takes them apart",
        _when(("refused", "only theirs"), lambda made: made.kind == "mosaic"),
    ),
    "uneven": Reason(
        "we refuse slices that are missing, uneven or tilted until the user has them resampled; "
        "dcm2niix writes them as if they were even, and an interpolated copy",
        _when(("refused", *_COUNTS), lambda made: bool(made.uneven)),
    ),
    "no place": Reason(
        "we refuse a series of which slices do not say where they lie; dcm2niix guesses, or makes "
        "a volume of them alone",
        _when(("refused", *_COUNTS), lambda made: made.refusal == LOST),
    ),
    "slope of 0": Reason(
        "we refuse a Rescale Slope of 0; dcm2niix takes 1",
        _when(("refused", *_COUNTS), lambda made: made.refusal == NO_SLOPE),
    ),
    "inexact places": Reason(
        "positions or directions have few decimals, or vary a bit: we fit the grid to all slices, "
        "dcm2niix takes the first ones; what was meant is as near to ours as the text allows",
        _when(("geometry",), lambda made: made.said_mm > 0, _is_rounded),
    ),
    "12 bits": Reason(
        "dcm2niix takes signed values of 12 bits for unsigned ones, too large by 4096",
        _when(("values",), _has("stored", "12 bits signed"), _differ_by_one),
    ),
    "32 bits": Reason(
        "dcm2niix takes unsigned values of 32 bits for signed ones: the upper half is too small by "
        "2^32 times the slope",
        _when(("values",), _has("stored", "32 bits unsigned"), _largest_differ),
    ),
    "bits above": Reason(
        "dcm2niix takes along what lies in the bits above the stored ones",
        _when(("values",), _has("junk", True), _differ_by_one),
    ),
    "inverted": Reason(
        "we invert what is shown inverted (MONOCHROME1), and say so; dcm2niix keeps it",
        _when(("values",), _has("MONOCHROME1", True), _add_up),
    ),
    "other order": Reason(
        "dcm2niix stacks slices by Instance Number or order of frames: where these do not go "
        "through one volume after the other, it mixes, splits or joins volumes, or leaves slices",
        _when(("geometry", "values", *_COUNTS), _any_order, _same_slices),
    ),
    "places that do not repeat": Reason(
        "dcm2niix takes volumes apart by places that repeat; these lie between or above each "
        "other, or not quite at the same places, which it joins, or gives up at",
        _when(_COUNTS, _no_repeats, _same_slices),
    ),
    "incomplete volumes": Reason(
        "we read volumes of which another one lacks a slice; dcm2niix mixes or gives up all",
        _when(("geometry", "values", *_COUNTS), _is_incomplete, _same_slices),
    ),
    "copies": Reason(
        "we leave out copies, also with another UID; dcm2niix takes them for further slices",
        _when(("geometry", "values", *_COUNTS), _has("beside", _COPY), _no_other_slices),
    ),
    "no preamble": Reason(
        "dcm2niix takes no file without the preamble of 132 bytes for DICOM",
        _when(("only ours",), _has("beside", "no preamble"), _none_by_them),
    ),
    "scales of frames": Reason(
        "dcm2niix takes slopes and intercepts of frames in another order than the frames",
        _when(("values", *_COUNTS), _has("scale", "per slice"), _same_but_for_scale),
    ),
}


def explain(case: Case, one: Disagreement) -> str:
    """Return the name of the reason for a disagreement; empty where there is none."""
    return next((name for name, reason in REASONS.items() if reason.applies(case, one)), "")
