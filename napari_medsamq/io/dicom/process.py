"""Runs what reads DICOM in a process of its own, so that its crash is an error and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from types import TracebackType
from typing import IO, Any

import numpy as np

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.source import Array

# A file, or a frame of one, takes far less; one that takes longer hangs.
PATIENCE_S = 60.0

# The modules are found where this process finds them, in whichever way it was started. Without
# `requests`, which pydicom has for downloads of its own, it starts in two thirds of the time.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); sys.modules['requests'] = None; "
    "from napari_medsamq.io.dicom.process_main import serve; serve()"
)


class Decoder:
    """The process; it ends with the `with` block, or with this program.

    Parameters
    ----------
    where : Path
        What is read, for the text of errors.
    """

    def __init__(self, where: Path) -> None:
        self._where = where
        self._at = where
        self._heard = monotonic()
        self._ended = Event()
        self._hung = False
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # On Windows a console would flash up.
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._watch = Thread(target=self._end_if_hung, name="medsamq-decoder", daemon=True)
        self._watch.start()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._process.kill()
        # Closes both pipes and waits.
        self._process.communicate()
        self._watch.join()

    def headers(self, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """Yield what each file says; `error` is its only entry where that is nothing of use.

        Raises
        ------
        VolumeError
            If the process crashes or hangs at a file.
        """
        self._ask(paths[0] if paths else self._where, do="headers", paths=[str(p) for p in paths])
        for path in paths:
            self._at = path
            yield self._answer()

    def frame(self, path: Path, number: int, working_bytes: int) -> Array:
        """Return a frame, counted from 0, as (rows, columns) or (rows, columns, 3) array.

        Parameters
        ----------
        path : Path
        number : int
        working_bytes : int
            What decoding it may take, by its header.

        Raises
        ------
        VolumeError
            If it cannot be decoded, or the process crashes or hangs at it.
        """
        self._ask(path, do="frame", path=str(path), number=number, bytes=working_bytes)
        answer = self._answer()
        if "error" in answer:
            raise VolumeError(
                f"{path}: its pixels cannot be decoded ({answer['error']}). Copy the file again, "
                "or export it uncompressed."
            )
        array = np.empty(answer["shape"], np.dtype(answer["dtype"]))
        view = memoryview(array.reshape(-1).view(np.uint8).data)
        while view:
            count = self._output.readinto(view)
            if not count:
                raise self._crash()
            view = view[count:]
        return array

    @property
    def _output(self) -> Any:
        return self._process.stdout

    def _ask(self, at: Path, **request: Any) -> None:
        self._at = at
        self._heard = monotonic()
        pipe: IO[bytes] | None = self._process.stdin
        try:
            if pipe is not None:
                pipe.write(json.dumps(request).encode() + b"\n")
                pipe.flush()
        except OSError as error:
            raise self._crash() from error

    def _answer(self) -> dict[str, Any]:
        line = self._output.readline()
        if not line.endswith(b"\n"):
            raise self._crash()
        self._heard = monotonic()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _crash(self) -> VolumeError:
        if self._hung:
            what = f"made the DICOM reader hang for {PATIENCE_S:.0f} s"
        else:
            what = f"made the DICOM reader crash (exit status {self._process.wait()})"
        return VolumeError(
            f"{self._at}: {what}. The file is damaged: copy or export it again, or take it out of "
            "the folder."
        )

    def _end_if_hung(self) -> None:
        while not self._ended.wait(min(1.0, PATIENCE_S / 4)):
            if monotonic() - self._heard > PATIENCE_S:
                self._hung = True
                self._process.kill()
                return
