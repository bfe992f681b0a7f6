"""How two labels agree: overlap, surfaces and volumes, by label id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy

from napari_medsamq.analysis.metrics import dsc, surface_distances
from napari_medsamq.array_types import Bool
from napari_medsamq.geometry import voxel_ml
from napari_medsamq.io.label_format import used_ids

# Voxels of `difference_codes`: what one mask has alone, in two halves of its pattern, and what both
# have.
A_MARK, A_GAP, B_MARK, B_GAP, BOTH = 1, 2, 3, 4, 5
# Of the longest side of a volume; a stripe and the gap beside it are as wide.
_PATTERN = 85

# What TotalSegmentator and the MedSAM challenges score organs at, or near it.
DEFAULT_TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class Agreement:
    """How two masks, A and B, agree.

    Attributes
    ----------
    a_ml, b_ml : float
        Their volumes.
    dsc, nsd : float
        Dice coefficient, and normalised surface distance at a tolerance; see `metrics`.
    hausdorff95_mm : float
        Infinite where one of them is empty.
    """

    a_ml: float
    b_ml: float
    dsc: float
    nsd: float
    hausdorff95_mm: float

    @property
    def only_in(self) -> Literal["A", "B"] | None:
        """Which of both has the label alone; None if both have it."""
        if self.a_ml and self.b_ml:
            return None
        return "A" if self.a_ml else "B"

    @property
    def difference_ml(self) -> float:
        """B's volume less A's."""
        return self.b_ml - self.a_ml

    @property
    def difference_percent(self) -> float | None:
        """The same in % of A's volume; None where A has none."""
        return 100 * self.difference_ml / self.a_ml if self.a_ml else None

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it; None for what has no value."""
        far = self.hausdorff95_mm
        return {
            "only_in": self.only_in,
            "dsc": self.dsc,
            "nsd": self.nsd,
            "hausdorff95_mm": far if isfinite(far) else None,
            "a_ml": self.a_ml,
            "b_ml": self.b_ml,
            "difference_ml": self.difference_ml,
            "difference_percent": self.difference_percent,
        }


def compare_masks(a: Bool, b: Bool, spacing: Sequence[float], tolerance_mm: float) -> Agreement:
    """Compare two masks (z, y, x) bool on one grid.

    Surfaces are those of the image: of one that is a single slice they are contours; see `nsd`.

    Parameters
    ----------
    a, b : (z, y, x) bool
    spacing : (3,) float
        In mm, along the array axes.
    tolerance_mm : float
        Distance up to which surfaces agree.

    Raises
    ------
    ValueError
        If the arrays are not bool, or their shapes differ.
    """
    # Formats round sizes in ways of their own, and distances may be just the tolerance.
    surfaces = surface_distances(a, b, [float(f"{size:.6g}") for size in spacing])
    return Agreement(
        a_ml=int(np.count_nonzero(a)) * voxel_ml(spacing),
        b_ml=int(np.count_nonzero(b)) * voxel_ml(spacing),
        dsc=dsc(a, b),
        nsd=surfaces.within(tolerance_mm),
        hausdorff95_mm=surfaces.hausdorff(95),
    )


def compare_labels(
    a: npt.NDArray[np.unsignedinteger],
    b: npt.NDArray[np.unsignedinteger],
    spacing: Sequence[float],
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
) -> dict[int, Agreement]:
    """Compare two labels (z, y, x) on one grid, by each id that either has, in ascending order.

    Parameters
    ----------
    a, b : (z, y, x) unsigned integers
    spacing : (3,) float
        In mm, along the array axes.
    tolerance_mm : float
        Distance up to which surfaces agree.

    Raises
    ------
    ValueError
        If their shapes differ.
    """
    ids = sorted({*used_ids(a), *used_ids(b)})
    return {
        label_id: compare_masks(a == label_id, b == label_id, spacing, tolerance_mm)
        for label_id in ids
    }


def mean_agreement(found: Mapping[int, Agreement]) -> dict[str, float] | None:
    """Return the means of DSC, NSD and Hausdorff distance over the labels that both have.

    None where there is no such label: those that one alone has are no measure of agreement.
    """
    both = [own for own in found.values() if own.only_in is None]
    if not both:
        return None
    return {
        "dsc": float(np.mean([own.dsc for own in both])),
        "nsd": float(np.mean([own.nsd for own in both])),
        "hausdorff95_mm": float(np.mean([own.hausdorff95_mm for own in both])),
    }


def describe_agreement(own: Agreement, tolerance_mm: float) -> str:
    """Say in a line how two masks agree."""
    if own.only_in:
        return f"only {own.only_in} has it ({own.a_ml + own.b_ml:,.2f} mL)"
    return (
        f"DSC {own.dsc:.3f}, NSD {own.nsd:.3f} at {tolerance_mm:g} mm, "
        f"{describe_change(own.difference_ml, own.difference_percent)}"
    )


def describe_change(difference_ml: float, percent: float | None) -> str:
    """Say by how much a volume is another one: `+1.20 mL (+9.8 %)`."""
    share = "" if percent is None else f" ({percent:+.1f} %)"
    return f"{difference_ml:+,.2f} mL{share}"


def difference_codes(a: Bool, b: Bool) -> npt.NDArray[np.uint8]:
    """Tell for each voxel which of two masks has it, with patterns for eyes that see no colours.

    Parameters
    ----------
    a, b : (z, y, x) bool

    Returns
    -------
    codes : (z, y, x) uint8
        0 for neither, `BOTH`, or diagonal stripes of `A_MARK` and `A_GAP` for what A has alone,
        and chequers of `B_MARK` and `B_GAP` for what B has alone, on slices of every plane.
    """
    codes = np.zeros(a.shape, np.uint8)
    found = scipy.ndimage.find_objects((a | b).astype(np.uint8))
    if not found:
        return codes
    box = found[0]
    period = max(2, round(max(a.shape) / _PATTERN))
    z, y, x = np.ogrid[box]
    stripes = (z + y + x) // period % 2 == 0
    chequers = (z // period + y // period + x // period) % 2 == 0
    part, one, other = codes[box], a[box], b[box]
    part[one & ~other & stripes] = A_MARK
    part[one & ~other & ~stripes] = A_GAP
    part[other & ~one & chequers] = B_MARK
    part[other & ~one & ~chequers] = B_GAP
    part[one & other] = BOTH
    return codes


def differing_slices(codes: npt.NDArray[np.uint8], axis: int) -> list[int]:
    """Return the slices across an array axis on which two masks differ, from their codes."""
    differs = (codes > 0) & (codes < BOTH)
    across = tuple(other for other in range(3) if other != axis)
    return [int(index) for index in np.flatnonzero(differs.any(across))]
