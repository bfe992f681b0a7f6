"""What is done is on disk, comes back exactly, and survives what happens to disks and programs."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.history import History, LabelStyle
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import JournalChangedError, JournalError
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.preprocess import IDENTITY, WindowLevel
from napari_medsamq.io.volume import Volume, volume_from_slices, volume_hash
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.records import journal as module
from napari_medsamq.records.journal import Journal, check_volume, journal_path
from napari_medsamq.records.journal_format import (
    Content,
    Record,
    append_record,
    read_journal,
    write_head,
)
from napari_medsamq.records.recording import Recorder, Replay, Restored, restore

SHAPE = (6, 16, 14)
BOX = BoxPrompt(0, 3, 3, 5, 10, 12)


def make_volume(shift: int = 0) -> Volume:
    array = np.full(SHAPE, 10, np.int16)
    array[1:5, 5:13, 3:11] = 200 + shift
    return volume_from_slices(array, (1, 1, 1), "block")


def never(error: JournalError) -> None:
    raise error


class Work:
    """A session that is recorded in a folder."""

    def __init__(self, folder: Path, content: Content | None = None) -> None:
        self.volume = make_volume()
        self.session = AnnotationSession(self.volume, ScriptedEngine(), IDENTITY)
        key = volume_hash(self.volume)
        self.path = journal_path(folder, key)
        self.restored: Restored | None = None
        if content is not None:
            self.restored = restore(content.records, SHAPE)
            self.session.restore(self.restored.history, self.restored.styles)
        self.journal = Journal(self.path, self.volume, key, content, never)
        self.recorder = Recorder(self.session, self.journal, self.restored)

    def box(self, label_id: int = 1, box: BoxPrompt | BoxPrompt3D = BOX) -> None:
        self.session.commit(box, list(self.session.segment(box)), label_id)

    def stroke(self, start: int, count: int, label_id: int) -> None:
        voxels = np.arange(start, start + count)
        flat = self.session.label.reshape(-1)
        before = flat[voxels].copy()
        flat[voxels] = label_id
        self.session.history.record("brush stroke", voxels, before)


def states(history: History) -> list[tuple[bytes, int]]:
    """The label and the number of prompts at each step back, and then again forwards."""
    found = [(history.label.tobytes(), len(history.prompts))]
    while history.undo():
        found.append((history.label.tobytes(), len(history.prompts)))
    while history.redo():
        found.append((history.label.tobytes(), len(history.prompts)))
    return found


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("box"), st.integers(1, 3), st.integers(1, 4)),
        st.tuples(st.just("stroke"), st.integers(0, 900), st.integers(0, 3)),
        st.tuples(st.sampled_from(["undo", "redo", "remove", "carry"]), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(actions=ACTIONS)
def test_whatever_was_done_comes_back_with_its_past_and_future(
    actions: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    work = Work(tmp_path_factory.mktemp("journals"))
    session, history = work.session, work.session.history
    for name, first, second in actions:
        if name == "box":
            work.box(first, replace(BOX, index=second))
        elif name == "stroke":
            work.stroke(first, 40, second)
        elif name == "remove":
            session.remove_label(1)
        elif name == "carry" and any(m.any() for m in history.anchors(0, 1).values()):
            group = object()
            for mask in session.carry(0, history.anchors(0, 1), 0, 5):
                if hasattr(mask, "iou"):
                    session.commit_carried(mask, 1, group)
        elif name in ("undo", "redo"):
            getattr(history, name)()
    session.set_style(2, LabelStyle("Spleen", "#123456", locked=True))
    work.recorder.close()
    found = restore(read_journal(work.path).records, SHAPE)
    assert [p.box for p in found.history.prompts] == [p.box for p in history.prompts]
    assert found.history.voxel_counts == history.voxel_counts
    assert found.styles == {2: LabelStyle("Spleen", "#123456", locked=True)}
    assert states(found.history) == states(history)


def seen(work: Work) -> Restored:
    return restore(read_journal(work.path).records, SHAPE)


def test_what_is_seen_is_written_whenever_it_changes(tmp_path: Path) -> None:
    """An edit says what the network saw, which may be older."""
    work = Work(tmp_path)
    window, zoom = WindowLevel(10, 20), Zoom()
    work.session.window = window
    asked = list(work.session.segment(BOX))
    work.session.window, work.session.zoom = WindowLevel(30, 40), zoom
    work.session.window = WindowLevel(30, 40)
    work.session.commit(BOX, asked, 1)
    work.recorder.close()
    assert seen(work).window == WindowLevel(30, 40)
    assert seen(work).seen.zoom == zoom
    kinds = [record.content["kind"] for record in read_journal(work.path).records]
    assert kinds.count("seen") <= 2
    # It goes on from there, and a change without any edit counts too.
    again = Work(tmp_path, read_journal(work.path))
    again.session.window = WindowLevel(30, 40)
    again.session.zoom = zoom
    again.session.zoom = None
    again.recorder.close()
    assert seen(again).window == WindowLevel(30, 40)
    assert seen(again).seen.zoom is None


def test_whether_the_network_sees_what_the_user_sees_is_written(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.session.event.emit("seen", {"shared": False})
    work.session.window = WindowLevel(30, 40)
    work.recorder.close()
    assert not seen(work).shared
    again = Work(tmp_path, read_journal(work.path))
    again.session.window = WindowLevel(50, 60)
    again.recorder.close()
    assert (seen(again).shared, seen(again).window) == (False, WindowLevel(50, 60))
    last = Work(tmp_path, read_journal(work.path))
    last.session.event.emit("seen", {"shared": True})
    last.recorder.close()
    assert seen(last).shared


def test_of_many_changes_at_once_the_last_one_is_written(tmp_path: Path) -> None:
    work = Work(tmp_path)
    for level in range(200):
        work.session.window = WindowLevel(level, 300)
    work.box(1)
    work.recorder.close()
    records = read_journal(work.path).records
    assert sum(record.content["kind"] == "seen" for record in records) <= 3
    assert seen(work).window == WindowLevel(199, 300)


def test_the_end_of_a_journal_waits_for_no_further_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOMENT_S", 60.0)
    work = Work(tmp_path)
    work.session.window = WindowLevel(30, 40)
    start = time.monotonic()
    work.recorder.close()
    assert time.monotonic() - start < 30
    assert seen(work).window == WindowLevel(30, 40)


def test_journals_of_before_tell_what_was_seen_by_their_edits(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.session.window = WindowLevel(10, 300)
    work.box(1)
    work.recorder.close()
    records = [r for r in read_journal(work.path).records if r.content["kind"] != "seen"]
    found = restore(records, SHAPE)
    assert found.window == WindowLevel(10, 300)
    assert restore(records[:2], SHAPE).window is None


def test_a_record_is_on_the_disk_when_it_has_been_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is only with the system is lost when the power fails."""
    safe: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda number: safe.append(os.fstat(number).st_size))
    with (tmp_path / "a.journal").open("wb") as file:
        write_head(file)
        for number in range(3):
            append_record(file, Record({"kind": "note", "number": number}, {}))
            assert safe[number] == (tmp_path / "a.journal").stat().st_size
    assert len(safe) == 3
    assert len(read_journal(tmp_path / "a.journal").records) == 3


def test_work_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Work(tmp_path)
    first.box(1)
    first.box(2, BoxPrompt3D((1, 5, 3), (4, 12, 6), 0))
    first.recorder.close()
    second = Work(tmp_path, read_journal(first.path))
    second.session.history.undo()
    second.stroke(0, 5, 4)
    second.recorder.close()
    third = restore(read_journal(first.path).records, SHAPE)
    np.testing.assert_array_equal(third.history.label, second.session.label)
    assert third.history.undo_name == "brush stroke"
    assert [prompt.box for prompt in third.history.prompts] == [BOX]


def recorded(folder: Path) -> tuple[bytes, list[bytes], Path]:
    """Return a journal's bytes, the label after each of its records, and where it lies."""
    work = Work(folder)
    work.box()
    work.stroke(0, 3, 2)
    work.session.history.undo()
    work.stroke(7, 2, 3)
    work.recorder.close()
    records = read_journal(work.path).records
    labels = [
        restore(records[:count], SHAPE).history.label.tobytes() for count in range(len(records) + 1)
    ]
    return work.path.read_bytes(), labels, work.path


def test_a_file_cut_off_anywhere_gives_all_that_came_before(tmp_path: Path) -> None:
    whole, labels, path = recorded(tmp_path)
    before = 0
    for size in range(19, len(whole) + 1):
        path.write_bytes(whole[:size])
        content = read_journal(path)
        count = len(content.records)
        assert count >= before
        before = count
        assert content.damaged == (content.size < size)
        assert restore(content.records, SHAPE).history.label.tobytes() == labels[count]
    assert before == len(labels) - 1


def test_an_altered_byte_is_noticed(tmp_path: Path) -> None:
    whole, labels, path = recorded(tmp_path)
    for place in range(19, len(whole), 7):
        altered = bytearray(whole)
        altered[place] ^= 0x40
        path.write_bytes(altered)
        content = read_journal(path)
        assert content.damaged
        assert restore(content.records, SHAPE).history.label.tobytes() in labels


def test_a_length_that_cannot_be_takes_no_memory(tmp_path: Path) -> None:
    whole, _, path = recorded(tmp_path)
    path.write_bytes(whole[:19] + struct.pack("<II", 2**31 - 2, 0) + whole[27:])
    assert read_journal(path).records == []


def hostile(path: Path, arrays: dict[str, np.ndarray], shape: tuple[int, ...] = SHAPE) -> Content:
    """Read a journal whose one edit has such arrays, and check that it takes no memory for them."""
    with path.open("wb") as file:
        write_head(file)
        append_record(file, Record({"kind": "volume", "shape": list(shape)}, {}))
        append_record(file, Record({"kind": "edit", "fresh": []}, arrays))
    assert path.stat().st_size < 400_000
    tracemalloc.start()
    try:
        return read_journal(path)
    finally:
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        tracemalloc.stop()


def test_an_array_of_more_voxels_than_the_volume_has_takes_no_memory(tmp_path: Path) -> None:
    for array in (np.zeros(2 << 20, np.int64), np.zeros(8 << 20, np.uint16)):
        content = hostile(tmp_path / "a.journal", {"voxels": array})
        assert len(content.records) == 1
        assert content.damaged


def test_nor_do_more_arrays_than_an_edit_has(tmp_path: Path) -> None:
    shape = (10, 100, 100)
    many = {f"prompt {n}": np.zeros(100_000, np.int64) for n in range(100)}
    content = hostile(tmp_path / "a.journal", many, shape)
    assert len(content.records) == 1
    assert content.damaged


@pytest.mark.parametrize("shape", [None, "x", [1, "x"], [-1, 5], [[3]], 7])
def test_a_journal_that_does_not_say_how_many_voxels_there_are(
    tmp_path: Path, shape: object
) -> None:
    path = tmp_path / "a.journal"
    with path.open("wb") as file:
        write_head(file)
        append_record(file, Record({"kind": "volume", "shape": shape}, {}))
        append_record(file, Record({"kind": "edit"}, {"voxels": np.arange(3)}))
    assert read_journal(path).damaged


def test_a_journal_that_takes_more_memory_than_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, path = recorded(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("napari_medsamq.records.journal_format.free_memory", lambda: 1000)
        with pytest.raises(JournalError, match="takes more memory than is free") as error:
            read_journal(path)
        assert str(path) in str(error.value)
        # Where the system does not say how much that is, memory may end on the way.
        patch.setattr("napari_medsamq.records.journal_format.free_memory", lambda: None)
        patch.setattr("napari_medsamq.records.journal_format.np.frombuffer", no_memory)
        with pytest.raises(JournalError, match="takes more memory than is free"):
            read_journal(path)
    content = read_journal(path)
    monkeypatch.setattr(Replay, "apply", no_memory)
    with pytest.raises(JournalError, match="takes more memory than is free"):
        restore(content.records, SHAPE)


def no_memory(*_: object, **__: object) -> None:
    raise MemoryError


def test_what_was_cut_off_is_written_over(tmp_path: Path) -> None:
    whole, _, path = recorded(tmp_path)
    path.write_bytes(whole[:-5])
    work = Work(tmp_path, read_journal(path))
    work.stroke(20, 4, 5)
    work.recorder.close()
    content = read_journal(path)
    assert not content.damaged
    assert restore(content.records, SHAPE).history.voxel_counts[5] == 4


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"not a journal of ours at all", "no journal"),
        (b"medsamq journal" + struct.pack("<I", 2), "newer version"),
        (b"", "no journal"),
    ],
)
def test_what_is_no_journal_of_ours_is_refused(tmp_path: Path, head: bytes, word: str) -> None:
    path = tmp_path / "a.journal"
    path.write_bytes(head)
    with pytest.raises(JournalError, match=word):
        read_journal(path)
    with pytest.raises(JournalError, match="cannot be read"):
        read_journal(tmp_path / "lost.journal")


def test_the_journal_of_another_volume_is_refused(tmp_path: Path) -> None:
    _, _, path = recorded(tmp_path)
    content = read_journal(path)
    check_volume(path, content, volume_hash(make_volume()))
    with pytest.raises(JournalError, match="the journal of block, not of this image"):
        check_volume(path, content, volume_hash(make_volume(shift=1)))


def test_the_hash_is_that_of_voxels_and_geometry() -> None:
    volume = make_volume()
    assert volume_hash(volume) == volume_hash(make_volume())
    moved = volume.affine.copy()
    moved[0, 3] += 1
    assert volume_hash(replace(volume, affine=moved)) != volume_hash(volume)
    assert volume_hash(volume.with_modality("MR")) == volume_hash(volume)


def test_a_second_window_is_told_and_the_first_goes_on(tmp_path: Path) -> None:
    first = Work(tmp_path)
    with pytest.raises(JournalError, match="open in another window"):
        Work(tmp_path)
    first.box()
    first.recorder.close()
    assert len(read_journal(first.path).records) == 3
    Work(tmp_path, read_journal(first.path)).recorder.close()


def test_a_disk_that_is_full_is_told_once_and_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    volume = make_volume()
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    journal = Journal(
        tmp_path / "a.journal", volume, "key", None, lambda error: told.append(str(error))
    )
    recorder = Recorder(session, journal, None)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "append_record", fail)
    for index in (1, 2, 3):
        box = replace(BOX, index=index)
        session.commit(box, list(session.segment(box)), 1)
    recorder.close()
    assert len(told) == 1
    assert "No space left" in told[0]
    assert "save your label yourself" in told[0]
    assert session.history.voxel_counts == {1: 3 * 64}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX resource limits")
def test_a_journal_that_cannot_be_ended_lets_others_write(tmp_path: Path) -> None:
    """What the disk did not take waits in the file's buffer until it is closed."""
    import resource

    told: list[str] = []
    path, volume = tmp_path / "a.journal", make_volume()
    journal = Journal(path, volume, "key", None, lambda error: told.append(str(error)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))
    try:
        for number in range(3):
            journal.write("note", {"text": f"{number}" * 900})
        journal.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(told) == 1
    assert "File too large" in told[0]
    Journal(path, volume, "key", read_journal(path), never).close()


@pytest.mark.parametrize("told_before", [False, True])
def test_an_error_at_the_end_of_a_journal_is_told_once(
    told_before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    told: list[str] = []
    path, volume = tmp_path / "a.journal", make_volume()
    journal = Journal(path, volume, "key", None, lambda error: told.append(str(error)))
    if told_before:
        monkeypatch.setattr(module, "append_record", fail)
        journal.write("note", {})
    own = journal._file
    journal._file = SimpleNamespace(close=fail)
    journal.close()
    own.close()
    assert len(told) == 1
    assert "No space left" in told[0]
    Journal(path, volume, "key", read_journal(path), never).close()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(JournalError, match="cannot be written"):
        Work(tmp_path / "journals")


_PLACES = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]
CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = {tests!r}
from test_journal import Work
from napari_medsamq.records.journal_format import read_journal
work = Work(Path({folder!r}))
def edits():
    if work.path.stat().st_size == 0:  # it is being begun
        return 0
    return [record.content["kind"] for record in read_journal(work.path).records].count("edit")
for number in range(10_000):
    work.stroke(number % 1000, 30, 1 + number % 5)
    while edits() == number:  # the user looks at it
        time.sleep(0.001)
    print(number + 1, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("delay", [0.0, 0.0031])
def test_a_program_killed_at_any_moment_loses_the_edit_in_hand_at_most(
    tmp_path: Path, delay: float
) -> None:
    code = CHILD.format(tests=_PLACES, folder=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while child.stdout.readline() != "20\n":
        assert child.poll() is None
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    finished = int(([20, *child.stdout.read().split("\n")[:-1]])[-1])
    child.wait()
    (path,) = tmp_path.glob("*.journal")
    content = read_journal(path)
    kinds = [record.content["kind"] for record in content.records]
    assert kinds.count("edit") in (finished, finished + 1)
    found = restore(content.records, SHAPE).history
    while found.undo() is not None:
        pass
    assert not found.label.any()
    Work(tmp_path, content).recorder.close()  # the lock died with the child


def test_a_large_edit_is_queued_at_once_and_many_are_read_quickly(tmp_path: Path) -> None:
    volume = volume_from_slices(np.arange(64**3).reshape(64, 64, 64), (1, 1, 1), "cube")
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    path = tmp_path / "a.journal"
    journal = Journal(path, volume, "key", None, never)
    recorder = Recorder(session, journal, None)
    history = session.history
    voxels = np.arange(200_000)
    start = time.perf_counter()
    history.change("large", voxels, np.full(voxels.size, 1, np.uint16), ())
    assert time.perf_counter() - start < 1
    for number in range(300):
        history.change("small", np.array([number]), np.array([2], np.uint16), ())
    recorder.close()
    start = time.perf_counter()
    found = restore(read_journal(path).records, volume.data.shape)
    assert time.perf_counter() - start < 10
    np.testing.assert_array_equal(found.history.label, history.label)


def test_a_stroke_under_way_does_not_keep_a_journal_from_being_read(tmp_path: Path) -> None:
    work = Work(tmp_path)
    history, flat = work.session.history, work.session.label.reshape(-1)
    stroke = np.arange(100, 110)
    before = flat[stroke].copy()
    flat[stroke] = 7  # painted, but the mouse button is still down
    history.change("propagation", np.arange(95, 105), np.full(10, 2, np.uint16), ())
    history.record("brush stroke", stroke, before)
    work.recorder.close()
    found = restore(read_journal(work.path).records, SHAPE)
    assert found.history.voxel_counts == {2: 10, 7: 5}
    assert states(found.history) == states(history)


def test_what_another_window_did_since_it_was_read_is_not_cut_off(tmp_path: Path) -> None:
    first = Work(tmp_path)
    first.stroke(0, 5, 1)
    first.recorder.close()
    old = read_journal(first.path)  # a question about it is on the screen
    other = Work(tmp_path, read_journal(first.path))
    other.stroke(10, 5, 2)
    other.recorder.close()
    whole = first.path.read_bytes()
    with pytest.raises(JournalChangedError, match="another window"):
        Work(tmp_path, old)
    assert first.path.read_bytes() == whole
    # It may be opened once it has been read again.
    Work(tmp_path, read_journal(first.path)).recorder.close()


def test_records_behind_an_altered_one_are_kept_in_a_copy(tmp_path: Path) -> None:
    whole, _, path = recorded(tmp_path)
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 1
    path.write_bytes(altered)
    work = Work(tmp_path, read_journal(path))
    work.stroke(20, 4, 5)
    work.recorder.close()
    assert work.journal.kept is not None
    assert work.journal.kept.read_bytes() == altered
    assert not read_journal(path).damaged


@pytest.mark.parametrize("error", [MemoryError(), TypeError("no such thing")])
def test_whatever_keeps_a_record_from_being_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    told: list[JournalError] = []
    journal = Journal(tmp_path / "a.journal", make_volume(), "key", None, told.append)
    original, calls = module.append_record, []

    def fail_once(file: BinaryIO, record: Record) -> None:
        calls.append(record)
        if record.content.get("number") == 1:
            raise error
        original(file, record)

    monkeypatch.setattr(module, "append_record", fail_once)
    for number in range(3):
        journal.write("save", {"number": number})
    journal.close()
    # One that came after the gap would not fit to what is there.
    written = [record.content.get("number") for record in read_journal(journal.path).records]
    assert written == [None, 0]
    assert len(told) == 1


def test_a_journal_is_given_back_by_any_thread(tmp_path: Path) -> None:
    work = Work(tmp_path)
    thread = Thread(target=work.recorder.close)
    thread.start()
    thread.join()
    Work(tmp_path, read_journal(work.path)).recorder.close()


def payload(head: object, *parts: bytes) -> bytes:
    text = json.dumps(head).encode()
    return b"".join([struct.pack("<I", len(text)), text, *parts])


def array(**said: object) -> bytes:
    packed = zlib.compress(np.arange(3).tobytes())
    described = {"dtype": "int64", "count": 3, "bytes": len(packed), **said}
    return payload({"kind": "edit", "arrays": {"voxels": described}}, packed)


@pytest.mark.parametrize(
    "altered",
    [
        b"",
        struct.pack("<I", 9) + b"{{{{{{{{{",
        payload(["kind"]),
        payload({"kind": "edit"}),
        array(dtype="object"),
        array(count=4),
        array(count=2),
        array(count=0),
        array(count=-3),
        array(count="3"),
        array(count=2**40),
        array(bytes=5),
    ],
)
def test_a_record_that_only_looks_whole_ends_the_journal(tmp_path: Path, altered: bytes) -> None:
    whole, _, path = recorded(tmp_path)
    path.write_bytes(whole + struct.pack("<II", len(altered), zlib.crc32(altered)) + altered)
    content = read_journal(path)
    assert content.size == len(whole)
    assert content.damaged


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "edit", "name": "of another version"},
        {"kind": "style", "label": 1, "style": {"name": "Liver", "colour": "#000000"}},
        {
            "kind": "edit",
            "name": "a",
            "by_hand": False,
            "group": None,
            "prompts": [7],
            "fresh": [],
        },
    ],
)
def test_a_record_that_makes_no_sense_is_told_in_words(content: dict[str, Any]) -> None:
    nothing = {
        "voxels": np.zeros(0, np.int64),
        "before": np.zeros(0, np.uint16),
        "after": np.zeros(0, np.uint16),
    }
    with pytest.raises(JournalError, match="makes no sense"):
        restore([Record(content, nothing)], SHAPE)


@pytest.mark.parametrize("in_vain", [0, 1])
def test_propagations_of_two_days_are_not_undone_together(tmp_path: Path, in_vain: int) -> None:
    """Also where propagations of which nothing came have had numbers of their own."""
    first = Work(tmp_path)
    group = object()
    for nothing_or_something in (*(object() for _ in range(in_vain)), group):
        first.session.event.emit("carry", {"group": nothing_or_something})
    first.session.history.change("a", np.array([1]), np.array([1], np.uint16), (), group=group)
    first.recorder.close()
    second, later = Work(tmp_path, read_journal(first.path)), object()
    second.session.event.emit("carry", {"group": later})
    second.session.history.change("b", np.array([2]), np.array([1], np.uint16), (), group=later)
    second.recorder.close()
    found = restore(read_journal(first.path).records, SHAPE).history
    found.undo()
    assert found.undo_name == "a"


def test_a_zero_of_either_sign_is_the_same_geometry() -> None:
    volume = make_volume()
    tilted = volume.affine.copy()
    tilted[0, 1] = -1e-9
    assert volume_hash(replace(volume, affine=tilted)) == volume_hash(volume)
