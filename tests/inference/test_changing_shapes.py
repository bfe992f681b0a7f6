"""Structures that grow sideways, divide, or get a hole from slice to slice are followed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from napari_medsamq.analysis.metrics import dsc
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.engine import OpenVINOEngine
from napari_medsamq.inference.model_choice import MODELS
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.volume import volume_from_slices
from napari_medsamq.prompts import BoxPrompt

SIZE, SLICES = 128, 21


def disc(y: float, x: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside: np.ndarray = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 <= 1
    return inside


def with_lobe(share: float) -> np.ndarray:
    """A lobe comes out of its side, outside of the box before."""
    grown = max(0.0, share - 0.3)
    return disc(60, 45, 18, 16) | disc(55, 45 + 60 * grown, 9, 8 + 30 * grown)


def divided(share: float) -> np.ndarray:
    """One becomes two that have nothing in common."""
    return disc(64, 64 - 26 * share, 12, 13) | disc(64, 64 + 26 * share, 12, 13)


def with_hole(share: float) -> np.ndarray:
    radius = max(0.1, 8 * np.sin(np.pi * share))
    return disc(64, 60, 24, 26) & ~disc(64, 60, radius, radius)


def picture(structure: np.ndarray) -> np.ndarray:
    """CT values of a structure in a body: soft edges, and noise."""
    values = np.where(disc(64, 64, 52, 58), 40.0, -900.0) + 90.0 * structure
    noise = np.random.default_rng(0).normal(0, 15, structure.shape)
    return (ndimage.gaussian_filter(values, (0, 1, 1)) + noise).astype(np.float32)


@pytest.fixture(scope="module")
def engine() -> OpenVINOEngine:
    return OpenVINOEngine(MODELS / "medsamq-fast")


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "least"), [(with_lobe, 0.9), (divided, 0.9), (with_hole, 0.88)])
def test_a_structure_is_followed_as_its_shape_changes(
    engine: OpenVINOEngine, shape: Callable[[float], np.ndarray], least: float
) -> None:
    structure = np.stack([shape(index / (SLICES - 1)) for index in range(SLICES)])
    volume = volume_from_slices(picture(structure), (3, 1, 1), "phantom").with_modality("CT")
    session = AnnotationSession(volume, engine, zoom=Zoom())
    rows, columns = np.nonzero(structure[0])
    box = BoxPrompt(0, 0, columns.min() - 2, rows.min() - 2, columns.max() + 2, rows.max() + 2)
    (first,) = session.segment(box)
    found = session.carry(0, {0: first.mask}, 0, SLICES - 1)
    masks = {item.index: item.mask for item in found if isinstance(item, SliceMask)}
    scores = {index: dsc(mask, structure[index]) for index, mask in masks.items()}
    assert sorted(scores) == [*range(1, SLICES)]
    assert min(scores.values()) >= least
