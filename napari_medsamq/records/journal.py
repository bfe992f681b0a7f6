"""Writes down what is done to a volume while it is done, so that nothing of it is lost.

A journal lies in the user's data folder under the hash of its volume. It holds the voxels of every
edit, so that label, undo and redo come back exactly, without a network.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from threading import Event, Lock
from typing import Any, BinaryIO

from filelock import FileLock, Timeout
from platformdirs import user_data_path

from napari_medsamq import __version__
from napari_medsamq.errors import JournalChangedError, JournalError
from napari_medsamq.io.volume import Volume
from napari_medsamq.records.journal_format import Arrays, Content, Record, append_record, write_head

_NOTHING: Arrays = {}
_MOMENT_S = 0.3


def journal_folder() -> Path:
    """Return the folder of the user's journals; it need not be there yet."""
    return user_data_path("napari-medsamq") / "journals"


def journal_path(folder: Path, key: str) -> Path:
    """Return where the journal of a volume with that hash lies."""
    return folder / f"{key[:32]}.journal"


class Journal:
    """The journal of one volume, open for writing by this program alone.

    Records are written in a thread of their own, in the order in which they came.

    Parameters
    ----------
    path : Path
    volume : Volume
    key : str
        The volume's hash.
    content : Content or None
        What was read from the file, whose whole part is gone on with. Without it a new journal is
        begun, and one that is there gets another name.
    fail : callable
        Told once, in whichever thread finds out, why nothing more can be written; work may go on.

    Attributes
    ----------
    kept : Path or None
        Where an earlier journal was put, or the copy of one that was damaged.

    Raises
    ------
    JournalChangedError
        If another window has gone on with it since `content` was read.
    JournalError
        If another program writes to it, or it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        volume: Volume,
        key: str,
        content: Content | None,
        fail: Callable[[JournalError], None],
    ) -> None:
        self.path = path
        self._fail = fail
        self._broken = False
        # Whichever thread sees the last of the journal gives the lock back.
        self._lock = FileLock(path.with_suffix(".lock"), thread_local=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise JournalError(
                f"{volume.name} is open in another window, which keeps its journal. What you do "
                "here is not recorded: save your label yourself, or close the other window first."
            ) from error
        except OSError as error:
            raise _unwritable(path, error) from error
        self.kept: Path | None = None
        try:
            self._file = self._begin() if content is None else self._go_on(content)
        except OSError as error:
            self._lock.release()
            raise _unwritable(path, error) from error
        except JournalChangedError:
            self._lock.release()
            raise
        # By kind; whichever thread holds the lock may change it.
        self._last: dict[str, Record] = {}
        self._lasting, self._hurry, self._moment_s = Lock(), Event(), _MOMENT_S
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="medsamq-journal")
        if content is None:
            self.write("volume", _describe(volume, key))

    def write(self, kind: str, content: Mapping[str, Any], arrays: Arrays = _NOTHING) -> None:
        """Queue a record; its arrays must not change any more."""
        record = Record({"kind": kind, **content}, arrays)
        self._hurry.set()
        self._writer.submit(self._append, record).add_done_callback(self._check)
        self._writer.submit(self._hurry.clear)

    def write_last(self, kind: str, content: Mapping[str, Any]) -> None:
        """Queue a record that counts only until the next of its kind, which takes its place."""
        record = Record({"kind": kind, **content}, _NOTHING)
        with self._lasting:
            waits = kind in self._last
            self._last[kind] = record
        if not waits:
            self._writer.submit(self._append_last, kind).add_done_callback(self._check)

    @property
    def broken(self) -> bool:
        """Whether something could not be written, and nothing more is."""
        return self._broken

    def close(self) -> None:
        """Wait until everything is written, and let others write, whether it could be or not."""
        # Also where what is queued would clear `_hurry` again.
        self._moment_s = 0.0
        self._hurry.set()
        try:
            self._writer.shutdown(wait=True)
            self._file.close()
        except OSError as error:
            # Only what is left of a record that could not be written, which has been told of.
            if not self._broken:
                self._broken = True
                self._fail(_unwritable(self.path, error))
        finally:
            self._lock.release()

    def _begin(self) -> BinaryIO:
        if self.path.exists():
            self.kept = _name_aside(self.path)
            self.path.rename(self.kept)
        # New, so that it is no link to somewhere else.
        file = self.path.open("xb")
        write_head(file)
        return file

    def _go_on(self, content: Content) -> BinaryIO:
        # What was read before the lock was held may be old by now.
        if self.path.stat().st_size != content.total:
            raise JournalChangedError(
                f"{self.path} has been gone on with in another window since it was read. Open the "
                "volume again."
            )
        if content.damaged:
            # A kill leaves half a record; but if a disk has altered one, whole ones may follow.
            self.kept = _name_aside(self.path)
            shutil.copyfile(self.path, self.kept)
        file = self.path.open("r+b")
        file.truncate(content.size)
        file.seek(content.size)
        return file

    def _append_last(self, kind: str) -> None:
        # Others may come within a moment; whoever has a record to be written does not wait for it.
        self._hurry.wait(self._moment_s)
        with self._lasting:
            record = self._last.pop(kind)
        self._append(record)

    def _append(self, record: Record) -> None:
        if not self._broken:
            append_record(self._file, record)

    def _check(self, done: Future[None]) -> None:
        # Whatever it was: a record is missing, and those after it would not fit without it.
        error = done.exception()
        if error is not None:
            self._broken = True
            self._fail(_unwritable(self.path, error))


def check_volume(path: Path, content: Content, key: str) -> None:
    """Check that a journal is that of the volume with a hash.

    Raises
    ------
    JournalError
        If it is of another one, or does not say.
    """
    first = content.records[0].content if content.records else {}
    if first.get("kind") != "volume" or first.get("sha256") != key:
        other = first.get("name", "an unknown volume")
        raise JournalError(
            f"{path} is the journal of {other}, not of this image: their voxels or geometry "
            "differ. Give the image that it was written for."
        )


def _name_aside(path: Path) -> Path:
    """Return a name beside a journal under which nothing lies."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S-%f")
    return path.with_name(f"{path.stem}-{stamp}{path.suffix}")


def _describe(volume: Volume, key: str) -> dict[str, Any]:
    return {
        "sha256": key,
        "name": volume.name,
        "path": None if volume.path is None else str(volume.path),
        "shape": list(volume.data.shape[:3]),
        "spacing": volume.spacing.tolist(),
        **{part.option: part.value for part in volume.parts},
        "version": __version__,
        "time": time.time(),
    }


def _unwritable(path: Path, error: BaseException) -> JournalError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return JournalError(
        f"The journal {path} cannot be written ({reason}). What you do from now "
        "on is not recorded: save your label yourself, and free space there."
    )
