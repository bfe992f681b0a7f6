"""No save ever breaks a file, whatever fails while it runs."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nifti_oracle
import numpy as np
import pytest
from sources import COUNTING, label_at, names_in, volume_of

from napari_medsamq.errors import SaveError
from napari_medsamq.io import nifti
from napari_medsamq.io.files import as_file_name, provenance_path
from napari_medsamq.io.label_writer import write_label


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("label.nrrd", r"ends in \.nii\.gz or \.nii"),
        ("gone/label.nii", "there is no folder"),
        ("a.nii", "is the image that was segmented"),
        ("link.nii", "is the image that was segmented"),
        ("long" * 80 + ".nii", "was not saved"),
        ("folder.nii", "it is a folder"),
    ],
)
def test_targets_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    volume = volume_of(tmp_path / "a.nii")
    (tmp_path / "link.nii").symlink_to(tmp_path / "a.nii")
    (tmp_path / "folder.nii").mkdir()
    before = (tmp_path / "a.nii").read_bytes()
    with pytest.raises(SaveError, match=message) as error:
        write_label(tmp_path / name, label_at(volume, (0, 0, 0)), volume)
    assert str(tmp_path / name) in str(error.value)
    assert (tmp_path / "a.nii").read_bytes() == before
    assert names_in(tmp_path) == ["a.nii", "folder.nii", "link.nii"]


def test_a_label_can_replace_another_when_the_image_is_gone(tmp_path: Path) -> None:
    volume = volume_of(tmp_path / "a.nii")
    (tmp_path / "a.nii").unlink()
    for place in [(0, 0, 0), (1, 1, 1)]:
        write_label(tmp_path / "label.nii", label_at(volume, place), volume)
    assert names_in(tmp_path) == ["label.nii"]


@pytest.mark.parametrize(
    "label",
    [
        np.zeros((1, 2, 3), np.uint8),
        np.zeros((6, 5, 4), np.float32),
        np.full((6, 5, 4), -1),
        np.full((6, 5, 4), 65536),
    ],
    ids=["shape", "float", "negative", "large"],
)
def test_labels_that_do_not_belong_are_misuse(tmp_path: Path, label: np.ndarray) -> None:
    volume = volume_of(tmp_path / "a.nii")
    with pytest.raises(ValueError, match="label"):
        write_label(tmp_path / "label.nii", label, volume)


def failing(error: int) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(error, os.strerror(error))

    return fail


def wrong_voxels(write: Callable[..., None]) -> Callable[..., None]:
    return lambda file, header, array: write(file, header, array * 0)


def wrong_place(write: Callable[..., None]) -> Callable[..., None]:
    def moved(file: Any, header: Any, array: np.ndarray) -> None:
        header = header.copy()
        header["srow_x"][3] += 0.01
        write(file, header, array)

    return moved


def cut_short(write: Callable[..., None]) -> Callable[..., None]:
    return lambda file, header, array: write(file, header, array[..., :-1])


@pytest.mark.parametrize(
    ("target", "replacement", "message"),
    [
        ("io.files.os.fsync", failing(errno.ENOSPC), "the disk is full"),
        ("io.nifti.write_nifti", failing(errno.EDQUOT), "quota"),
        ("io.nifti.label_header", failing(errno.EROFS), "read-only"),
        ("io.label_writer.Path.replace", failing(errno.EACCES), "not allowed"),
        ("io.label_writer.Path.open", failing(errno.EACCES), "not allowed"),
        ("io.label_writer.TemporaryFile", failing(errno.EROFS), "read-only"),
        ("io.nifti.write_nifti", wrong_voxels(nifti.write_nifti), "other voxels"),
        ("io.nifti.write_nifti", wrong_place(nifti.write_nifti), "lies elsewhere"),
        ("io.nifti.write_nifti", cut_short(nifti.write_nifti), "cannot be read back"),
    ],
)
def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    replacement: Callable[..., None],
    message: str,
) -> None:
    volume = volume_of(tmp_path / "a.nii")
    path = tmp_path / "label.nii.gz"
    write_label(path, label_at(volume, (0, 0, 0)), volume)
    before = path.read_bytes()
    monkeypatch.setattr(f"napari_medsamq.{target}", replacement)
    with pytest.raises(SaveError, match=message) as error:
        write_label(path, label_at(volume, (1, 1, 1)), volume)
    monkeypatch.undo()
    assert str(path) in str(error.value)
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["a.nii", "label.nii.gz"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX resource limits")
def test_a_disk_that_takes_only_part_of_the_file(tmp_path: Path) -> None:
    import resource

    noise = np.random.default_rng(0).integers(0, 200, (40, 50, 60)).astype(np.int16)
    volume = volume_of(tmp_path / "a.nii", data=noise)
    label = volume.data.astype(np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(SaveError, match="was not saved: File too large"):
            write_label(tmp_path / "label.nii.gz", label, volume)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names_in(tmp_path) == ["a.nii"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    volume = volume_of(tmp_path / "a.nii")
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(SaveError, match="not allowed"):
        write_label(tmp_path / "out" / "label.nii", label_at(volume, (0, 0, 0)), volume)


SAVING = """
import os, sys, time
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.volume import read_volume
volume, stop_at, calls = read_volume(sys.argv[1]), int(sys.argv[3]), 0
sync = os.fsync
def fsync(descriptor):
    global calls
    sync(descriptor)
    calls += 1
    if calls == stop_at:
        print("now", flush=True)
        time.sleep(60)
os.fsync = fsync
write_label(sys.argv[2], (volume.data > 0).astype("uint8") * 2, volume)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("stop_at", "survivor"), [(1, 1), (2, 2)], ids=["before", "after"])
def test_a_killed_save_leaves_the_old_or_the_new_file(
    tmp_path: Path, stop_at: int, survivor: int
) -> None:
    """The first fsync is the file's, before it takes its name; the second one the folder's."""
    volume = volume_of(tmp_path / "a.nii")
    path = tmp_path / "label.nii.gz"
    write_label(path, (volume.data > 0).astype(np.uint8), volume)
    command = [sys.executable, "-c", SAVING, tmp_path / "a.nii", path, str(stop_at)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"now\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    saved = nifti_oracle.parse(path)
    np.testing.assert_array_equal(saved.data, (COUNTING > 0) * survivor)


def test_what_lies_beside_a_label_of_a_long_name_is_found_by_its_whole_name(
    tmp_path: Path,
) -> None:
    names = ["x" * 245 + ".nii.gz", "x" * 244 + "y.nii.gz"]
    found = [provenance_path(tmp_path / name).name for name in names]
    marks = [hashlib.sha256(name.encode()).hexdigest()[:8] for name in names]
    assert found == [f"{'x' * 230}-{mark}.provenance.json" for mark in marks]
    assert {len(name) for name in found} == {255}


def test_a_name_becomes_that_of_a_file_on_any_system() -> None:
    assert as_file_name("dce [2 of 3: ImageType M\\ND] 1/2?") == "dce [2 of 3_ ImageType M_ND] 1_2_"
