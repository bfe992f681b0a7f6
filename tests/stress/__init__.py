"""Checks that take minutes: `python -m tests.stress COMMAND`."""
