"""Layers in floating point and in integers."""
