"""What is seen and measured of a volume, and how one moves through it; none of it changes the label."""
