"""What lies on the canvas."""
