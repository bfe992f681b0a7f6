"""The two volumes that come along."""

from __future__ import annotations

from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "resources" / "samples"
