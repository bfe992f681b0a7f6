"""The dock and its window: all of Qt and napari."""
