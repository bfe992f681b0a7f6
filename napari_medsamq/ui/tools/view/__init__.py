"""What is seen of a volume, and how one moves through it; none of it changes the label."""
