"""The process that `process` runs.

Nothing in it has to survive a damaged file: a crash ends this process alone, and its memory is
limited by the size of the file.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from pydicom import config
from pydicom.errors import InvalidDicomError

from napari_medsamq.io.dicom.header import read_header

try:
    import resource
except ImportError:  # Windows, which has no such limits
    resource = None  # type: ignore[assignment]

# What pydicom raises on damaged files.
_READ_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, InvalidDicomError, LookupError),
    *(MemoryError, OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error),
)
_SPARE = 200 << 20
_STATISTICS = Path("/proc/self/statm")


def serve() -> None:
    """Answer the requests on standard input until it ends."""
    # Libraries print; only answers may reach the pipe.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    warnings.simplefilter("ignore")
    config.settings.reading_validation_mode = config.IGNORE
    outer = _address_limit()
    limit = _allow_beyond_now(outer)
    with TemporaryDirectory() as folder:
        pixels = None
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if request["do"] == "headers":
                for name in request["paths"]:
                    limit(2 * Path(name).stat().st_size)
                    _say(out, attempt(read_header, Path(name)))
                continue
            if pixels is None:
                limit(2 * _SPARE)
                # Here, because files that are not compressed do without decoders.
                from napari_medsamq.io.dicom.pixels import Pixels

                pixels, limit = Pixels(Path(folder)), _allow_beyond_now(outer)
            path = Path(request["path"])
            limit(3 * path.stat().st_size + request["bytes"])
            answer = attempt(pixels.frame, path, request["number"])
            if isinstance(answer, dict):
                _say(out, answer)
            else:
                _say(out, {"shape": answer.shape, "dtype": answer.dtype.str})
                out.write(answer.tobytes())
                out.flush()


def _say(out: BinaryIO, answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer).encode() + b"\n")
    out.flush()


def attempt(job: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a job gives, or what to answer where the file is damaged: its `error`."""
    try:
        return job(*arguments)
    except MemoryError:
        return {"error": "that takes more memory than a file of its size is given"}
    except _READ_ERRORS as error:
        # The last line says what happened; a C++ class may be named before it.
        text = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        return {"error": text.rpartition("ERROR: ")[2][:300]}


def _address_limit() -> tuple[int, int] | None:
    """Return the limits of memory that this process was started with; None where it has none."""
    if resource is None or not _STATISTICS.exists():
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    return (sys.maxsize if soft == resource.RLIM_INFINITY else soft), hard


def _allow_beyond_now(outer: tuple[int, int] | None) -> Callable[[int], None]:
    """Return a function that allows this process so many bytes more than it has now."""
    if resource is None or outer is None:
        return lambda _: None
    now = int(_STATISTICS.read_text().split()[0]) * resource.getpagesize()

    def limit(count: int) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (min(outer[0], now + count + _SPARE), outer[1]))

    return limit
