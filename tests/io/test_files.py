"""Whatever is written is there whole or not at all, and to be read by whom it was before."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sources import label_at, names_in, volume_of, write_nifti
from typer.testing import CliRunner

from napari_medsamq.cli.common import write_csv
from napari_medsamq.cli.main import app
from napari_medsamq.errors import SaveError
from napari_medsamq.io.files import replacing, write_whole
from napari_medsamq.io.label_writer import write_label

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and limits")


def save_numbers(path: Path) -> None:
    """Compare a label with itself, as the command line does."""
    label = write_nifti(path.parent / ".label.nii", np.eye(4, dtype=np.uint8)[None])
    result = CliRunner().invoke(app, ["compare", str(label), str(label), "--json", str(path)])
    label.unlink()
    if result.exit_code:
        raise SaveError(result.output)


def save_label(path: Path) -> None:
    volume = volume_of(path.parent / ".image.nii")
    (path.parent / ".image.nii").unlink()
    write_label(path.with_suffix(".nii"), label_at(volume, (0, 0, 0)), volume)


def save_table(path: Path) -> None:
    write_csv(path, [{"label": 1, "name": "Liver"}] * 9)


WRITERS = [save_numbers, save_label, save_table]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
@pytest.mark.parametrize("write", WRITERS)
def test_who_may_read_a_file_stays_the_same(
    write: Callable[[Path], None], mode: int, tmp_path: Path
) -> None:
    path = tmp_path / "old.nii"
    path.write_bytes(b"old")
    path.chmod(mode)
    write(path)
    assert path.read_bytes() != b"old"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert names_in(tmp_path) == ["old.nii"]


@posix
@pytest.mark.parametrize("umask", [0o022, 0o027])
@pytest.mark.parametrize("write", WRITERS)
def test_a_new_file_is_as_the_user_has_new_ones(
    write: Callable[[Path], None], umask: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "new.nii")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.nii").stat().st_mode) == 0o666 & ~umask


@posix
@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_leaves_the_old_file(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    path = tmp_path / "old.nii"
    path.write_bytes(b"old")
    written = Path.open

    def limited(own: Path, mode: str = "r", *rest: object, **more: object) -> object:
        # From here on, so that what a test needs besides is written.
        if own.name.endswith("part") or own == path:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
        return written(own, mode, *rest, **more)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(Path, "open", limited)
    try:
        with pytest.raises(SaveError, match=r"old\.nii.*(cannot be written|not saved)"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert not list(tmp_path.glob("*.part"))


@posix
def test_what_is_being_written_is_not_open_to_others(tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    path.write_bytes(b"old")
    path.chmod(0o400)
    with replacing(path) as part:
        part.write_bytes(b"new")
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o400)


@posix
@pytest.mark.parametrize("write", WRITERS)
def test_a_link_is_replaced_and_not_what_it_leads_to(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    other, path = tmp_path / "disk" / "other", tmp_path / "new.nii"
    other.write_bytes(b"mine")
    other.chmod(0o606)
    path.symlink_to(other)
    write(path)
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
    assert (other.read_bytes(), names_in(tmp_path / "disk")) == (b"mine", ["other"])


@posix
def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    write_whole(pipe, b"numbers")
    assert os.read(reader, 99) == b"numbers"
    os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_an_error_within_leaves_nothing(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "n.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (Path, "replace")), fail)
    with pytest.raises(SaveError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["n.json"]


def test_bytes_of_names_that_are_no_utf_8_are_written_as_numbers(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"case": os.fsdecode(b"M\xfcller")}])
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "case\nM\\udcfcller\n"
