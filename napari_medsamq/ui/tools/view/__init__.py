"""What is seen and measured of a volume, and how one moves through it; no label changes by it."""
