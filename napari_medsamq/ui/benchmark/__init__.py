"""Times from the mouse to the mask."""
