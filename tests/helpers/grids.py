"""Voxel grids in every position a scanner or a converter may leave them in."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

ALL_48 = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotation (3, 3) about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        rows = [n for n in range(3) if n != axis]
        turn[np.ix_(rows, rows)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        matrix = turn @ matrix
    return matrix


def grid_affine(
    axes: tuple[int, ...],
    signs: tuple[int, ...],
    degrees: tuple[float, float, float] = (0, 0, 0),
    sizes: tuple[float, float, float] = (0.5, 0.7, 3.0),
) -> np.ndarray:
    """Affine (4, 4) whose index axis n runs along world axis `axes[n]`, forwards or backwards."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) @ (np.eye(3)[:, list(axes)] * signs * sizes)
    affine[:3, 3] = [11.5, -22.25, 333.125]
    return affine
