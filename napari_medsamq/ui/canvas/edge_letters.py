"""Towards which side of the patient the edges of a picture lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_medsamq.geometry import axis_codes
from napari_medsamq.io.volume import Volume
from napari_medsamq.ui.canvas.planes import Plane

_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "I": "S", "S": "I"}


@dataclass(frozen=True)
class EdgeLetters:
    """Towards which side of the patient each edge of the canvas lies: R, L, A, P, I or S."""

    left: str
    right: str
    top: str
    bottom: str


def edge_letters(
    affine: npt.ArrayLike, right: npt.NDArray[np.floating], down: npt.NDArray[np.floating]
) -> EdgeLetters:
    """Name the edges of the canvas by the patient axes nearest to them.

    Parameters
    ----------
    affine : (4, 4) float
        Of the volume.
    right, down : (3,) float
        Steps to the right and down on the canvas, along the array axes (z, y, x).

    Examples
    --------
    An axial slice in radiological convention, with the patient's right on the left:

    >>> edge_letters(np.eye(4)[[2, 1, 0, 3]], np.array([0, 0, 1]), np.array([0, 1, 0]))
    EdgeLetters(left='R', right='L', top='A', bottom='P')
    """
    codes = axis_codes(affine)

    def letter(step: npt.NDArray[np.floating]) -> str:
        axis = int(np.abs(step).argmax())
        return codes[axis] if step[axis] > 0 else _OPPOSITE[codes[axis]]

    return EdgeLetters(letter(-right), letter(right), letter(-down), letter(down))


UNKNOWN = EdgeLetters("?", "?", "?", "?")


def plane_letters(volume: Volume, plane: Plane) -> EdgeLetters:
    """Name the edges of a picture of a plane."""
    if not volume.orientation_known:
        return UNKNOWN
    down, right = np.eye(3)[list(plane.order[1:])]
    vertical, _ = plane.orientation
    return edge_letters(volume.affine, right, down if vertical == "down" else -down)
