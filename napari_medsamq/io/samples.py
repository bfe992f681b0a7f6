"""The two volumes that come along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

SAMPLES = Path(__file__).parents[1] / "resources" / "samples"
