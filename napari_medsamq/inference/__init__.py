"""From a slice and a prompt to a mask."""
