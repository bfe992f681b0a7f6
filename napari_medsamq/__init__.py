"""Segment CT and MR volumes in napari with a quantised LiteMedSAM, on the CPU."""

__version__ = "0.1.0"
