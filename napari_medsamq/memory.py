"""How much memory is free, so that what a file claims is refused before it takes all."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LINUX = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Return how many bytes new arrays may take; None where the system does not say.

    Linux promises more than it has, and ends programs that take it at their word. Other systems
    refuse by themselves, or say how much memory there is at all.
    """
    try:
        if _LINUX.exists():
            found = re.search(r"MemAvailable:\s+(\d+) kB", _LINUX.read_text())
            if found is not None:
                return int(found[1]) * 1024
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
