"""Numbers about labels."""
