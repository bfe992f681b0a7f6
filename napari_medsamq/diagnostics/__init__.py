"""What this computer can do, and how fast."""
