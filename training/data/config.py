"""Which slices are trained on, as YAML files say it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from training.config import Config, Probability, Several, require

# The folder names that tell what kind of image a case is.
MODALITIES = (
    *("CT", "MR", "PET", "US", "XRay", "Dermoscopy", "Endoscopy", "Fundus", "Mammography"),
    *("Microscopy", "OCT", "other"),
)


class DataConfig(Config):
    """Which slices are trained on, how they are drawn, and how they are varied.

    Attributes
    ----------
    data : tuple of Path
        Folders <modality>/<data set>/<case>.npz of cases, or of their cache.
    left_out : tuple of str
        Data sets that are not looked into, as in "MR/Heart".
    unlabelled : bool
        Whether cases without `gts` are taken too: all their slices, with an empty mask, label 0
        and the whole slice as box. Without it they are an error.
    anywhere : bool
        Whether slices without `gts` get a box of any size at any place instead.
    axes : tuple of "axial", "coronal", "sagittal"
        Across which axes volumes are cut into slices; single slices and 2D images always across
        the first one.
    min_pixels : int
        Objects that cover fewer pixels of the slice are left out.
    box_jitter : int
        The box's sides are moved by 0 to so many pixels of the 256 px frame.
    jitter : "outwards" or "symmetric"
        Symmetric also moves them inwards, by at most a quarter of the box.
    tight : float
        Probability that the box stays as it is.
    loose : float
        Half of the other boxes' sides are moved outwards by 0 to this part of the box instead.
    flip : float
        Probability of mirroring, for each of the two axes.
    turn : float
        Probability of exchanging rows and columns.
    crop : float
        Probability of showing a part of the slice instead: a square of 1 to `crop_most` times the
        object's longer side, somewhere around it. Parts are sharp only from cases, or from a cache
        made with --full.
    crop_most : float
    intensity : float
        How far grey levels are varied, by another window and gamma: 0 (not at all) to 1.
    colour : float
        Probability of other colours: channels exchanged, each with a gamma of its own. Grey images
        are tinted.
    variants : int
        After so many epochs, slices come in the same variants again, so that a teacher's answers
        can be kept; 0 varies them for ever.
    strategy : "min", "fraction", "all", "power" or "counts"
        What each group contributes to an epoch: as much as the smallest one; `fraction` of its
        own, but not less than the smallest has; everything; of `samples_per_epoch`, a part in
        proportion to a power of its number of slices; or what `counts` says.
    fraction : float
    power : float
        0 takes as much of each group, 1 of each slice.
    samples_per_epoch : int
    counts : dict of str to int
        Slices of each group per epoch; more than there are repeats them, a group left out gives
        none.
    balance : "modality" or "data_set"
        What a group is.
    memory_mb : int
        Decoded cases kept in the memory of each process.
    seed : int
    """

    data: Several[Path] = Field(min_length=1)
    left_out: Several[str] = ()
    unlabelled: bool = False
    anywhere: bool = False
    axes: Several[Literal["axial", "coronal", "sagittal"]] = Field(default=("axial",), min_length=1)
    min_pixels: PositiveInt = 100
    box_jitter: int = Field(default=10, ge=0, le=128)
    jitter: Literal["outwards", "symmetric"] = "outwards"
    tight: Probability = 0.0
    loose: NonNegativeFloat = 0.0
    flip: Probability = 0.5
    turn: Probability = 0.0
    crop: Probability = 0.0
    crop_most: float = Field(default=8.0, gt=1)
    intensity: Probability = 0.0
    colour: Probability = 0.0
    variants: NonNegativeInt = 0
    strategy: Literal["min", "fraction", "all", "power", "counts"] = "min"
    fraction: float = Field(default=0.1, gt=0, le=1)
    power: float = Field(default=0.2, ge=0, le=1)
    samples_per_epoch: PositiveInt = 512
    counts: dict[str, NonNegativeInt] = Field(default={})
    balance: Literal["modality", "data_set"] = "modality"
    memory_mb: NonNegativeInt = 256
    seed: int = 0

    @model_validator(mode="after")
    def _axes_and_counts_fit(self) -> Self:
        require(len(set(self.axes)) == len(self.axes), "`axes` names an axis twice")
        require(
            (self.strategy == "counts") == any(self.counts.values()),
            "`counts` needs slices of at least one group with `strategy: counts`, and is empty "
            "with any other strategy",
        )
        strangers = sorted(set(self.counts) - set(MODALITIES))
        require(
            self.balance != "modality" or not strangers,
            f"`counts` names {', '.join(strangers)}; modalities are {', '.join(MODALITIES)}",
        )
        return self
