"""What else a user could pick, side by side."""
