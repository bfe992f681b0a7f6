"""Long runs against what users and disks do: `python -m tests.stress`."""
