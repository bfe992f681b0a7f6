"""Reads files that are named on standard input, one a line, within limits: a process of the run.

Each answer is a line of JSON: `outcome`, `text`, and by how much the memory in use has grown.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path
from time import perf_counter
from typing import Any

from napari_medsamq.errors import MedSAMQError
from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.io.volume import read_volume
from napari_medsamq.records.journal import check_volume
from napari_medsamq.records.journal_format import read_journal
from napari_medsamq.records.recording import restore
from tests.stress.samples import KEY, SHAPE

SPARE = 200 << 20
_PAGE = resource.getpagesize()


def main() -> None:
    """Read and answer until standard input ends."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    # What is loaded when it is first needed has to be there before memory is counted.
    warm_up = Path(sys.argv[1])
    for path in sorted(warm_up.iterdir()):
        _read(path)
    # Libraries print; only answers may reach the pipe.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    print("ready", file=out, flush=True)
    base = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
    for line in sys.stdin:
        path = Path(line.strip())
        honest = _size(path)
        resource.setrlimit(resource.RLIMIT_AS, (base + 2 * honest + SPARE, hard))
        Path("/proc/self/clear_refs").write_text("5")
        before, start = _peak(), perf_counter()
        answer = _read(path)
        answer["seconds"] = perf_counter() - start
        answer["grown"] = (_peak() - before) * 1024
        answer["allowed"] = 2 * honest + SPARE
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        print(json.dumps(answer), file=out, flush=True)


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(part.stat().st_size for part in path.iterdir())
    return path.stat().st_size


def _peak() -> int:
    """Return the most memory in use since it was last reset, in kB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.name == "model.json":
            ModelSpec.read(path.parent)
        elif path.suffix == ".journal":
            content = read_journal(path)
            check_volume(path, content, KEY)
            restore(content.records, SHAPE, str(path))
        else:
            read_volume(path)
    except MedSAMQError as error:
        text = str(error)
        if _out_of_memory(error):
            return {"outcome": "memory", "text": text}
        return {"outcome": "refused" if str(path) in text else "unnamed", "text": text}
    except MemoryError as error:
        return {"outcome": "memory", "text": repr(error)}
    except Exception:  # noqa: BLE001 (whatever else comes is what is looked for)
        return {"outcome": "escaped", "text": traceback.format_exc()}
    return {"outcome": "read", "text": ""}


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "alloc" in str(error).lower():
            return True
        error = error.__cause__
    return False


if __name__ == "__main__":
    main()
