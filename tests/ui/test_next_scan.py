"""From one scan of a folder to the next."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.utils.history import get_open_history

from napari_medsamq.io.readers import scans_beside
from napari_medsamq.records.journal_format import Record, append_record, write_head
from napari_medsamq.records.work_list import BEGUN, NEW, SAVED, WorkList
from napari_medsamq.ui import dock as dock_module

BOX = ((12, 16, 24), (12, 47, 55))


@pytest.fixture
def folder(phantom, tmp_path):
    where = tmp_path / "scans"
    where.mkdir()
    for name in ("a", "b", "c"):
        # Journals belong to voxels.
        image = nib.load(phantom.volume.path)
        voxels = np.asarray(image.dataobj).copy()
        voxels[0, 0, 0] += ord(name)
        nib.save(nib.Nifti1Image(voxels, image.affine, image.header), where / f"{name}.nii.gz")
    (where / "b_label.nii.gz").write_bytes(b"")
    (where / "b_label.provenance.json").write_text("{}")
    (where / "b_notes.txt").write_text("")
    return where


def lines(window, words):
    """What a menu in the volume's menu lists once it is opened: text, and what stands beside it."""
    menu = window.entry(words).menu()
    menu.aboutToShow.emit()
    return {entry.text().split("\t")[0]: entry for entry in menu.actions()}


def marks(window):
    return {name: entry.text().split("\t")[1] for name, entry in lines(window, "Scans").items()}


def test_scans_follow_by_name_without_labels_and_notes(folder):
    wanted = [folder / f"{name}.nii.gz" for name in ("a", "b", "c")]
    assert scans_beside(folder / "b.nii.gz") == wanted


def test_the_scans_of_a_folder_are_marked_and_chosen_from(engine, window, folder, monkeypatch):
    monkeypatch.setattr(dock_module, "ask_unsaved", lambda *_, **__: False)
    window.open(folder / "b.nii.gz")
    assert marks(window) == {"a.nii.gz": "new", "b.nii.gz": "new", "c.nii.gz": "new"}
    assert not lines(window, "Scans")["b.nii.gz"].isEnabled(), "it is open"
    window.dock.controller.draw(True)
    window.viewer.dims.set_point(0, 12 * 3.0)
    window.drag(*BOX)
    window.wait()
    assert marks(window)["b.nii.gz"] == "begun"
    lines(window, "Scans")["c.nii.gz"].trigger()
    window.wait()
    assert window.session.volume.path == folder / "c.nii.gz"
    assert len(window.dock.workspaces) == 1
    window.dock.controller.draw(True)
    window.drag(*BOX)
    window.wait()
    window.dock.controller.save_load.save(folder / "c_label.nii.gz")
    window.wait()
    assert marks(window) == {"a.nii.gz": "new", "b.nii.gz": "begun", "c.nii.gz": "saved"}
    window.dock.controller.undo.undo()
    assert marks(window)["c.nii.gz"] == "begun"
    window.dock.controller.undo.redo()
    assert marks(window)["c.nii.gz"] == "saved"
    window.dock.controller.save_load.save(folder / "c_label.nii.gz")
    window.wait()
    lines(window, "Scans")["a.nii.gz"].trigger()
    window.wait()
    assert marks(window) == {"a.nii.gz": "new", "b.nii.gz": "begun", "c.nii.gz": "saved"}


def test_what_was_opened_last_is_opened_again(engine, window, folder):
    window.wait()
    assert [*lines(window, "Recent")] == ["Nothing was opened yet"]
    for name in ("a", "b"):
        window.open(folder / f"{name}.nii.gz")
    assert Path(get_open_history()[0]) == folder, "where dialogs begin"
    window.close_dock()
    window.open_dock()
    window.wait()
    listed = lines(window, "Recent")
    assert [*listed] == ["b.nii.gz", "a.nii.gz"]
    assert listed["a.nii.gz"].text().endswith(f"\t{folder}")
    window.dock.workspaces[0].close()
    listed["a.nii.gz"].trigger()
    window.wait()
    assert window.session.volume.path == folder / "a.nii.gz"
    (folder / "b.nii.gz").unlink()
    assert [*lines(window, "Recent")] == ["a.nii.gz"]


def test_a_work_list_asks_the_journals_and_begins_anew_where_it_is_damaged(tmp_path):
    work = WorkList(tmp_path / "journals")
    scans = [tmp_path / name for name in ("a", "b", "c", "d")]
    assert work.latest(9) == []
    for scan in scans:
        scan.touch()
        work.note(scan, f"{scan.name}.journal")
    assert {work.progress(scan) for scan in scans} == {NEW}, "there is no journal"
    kept = tmp_path / "journals" / "scans.json"
    for scan, kinds in zip(
        scans, ("begin", "edit", "edit save", "edit save undo seen"), strict=True
    ):
        with (kept.parent / f"{scan.name}.journal").open("wb") as file:
            write_head(file)
            for kind in kinds.split():
                append_record(file, Record({"kind": kind, "name": '{"kind": "edit"'}, {}))
            file.write(b"\x09\0\0\0 cut off")
    assert [work.progress(scan) for scan in scans] == [NEW, BEGUN, SAVED, BEGUN]
    assert work.latest(9) == scans[::-1]
    assert work.latest(1) == scans[3:]
    for text in ("[1]", '{"a": 3', '{"/a": "lost"}'):
        kept.write_text(text)
        assert work.progress(scans[1]) == NEW
        assert work.latest(9) == []
    for name in (3, "\0", "lost", ""):
        kept.write_text(json.dumps({str(scans[1]): name}))
        assert work.progress(scans[1]) == NEW
    kept.unlink()
    kept.mkdir()
    work.note(scans[1], "b.journal")
    assert work.progress(scans[1]) == NEW


def test_the_next_scan_takes_the_place_of_this_one(engine, window, folder, monkeypatch):
    answers = [None, False]
    monkeypatch.setattr(dock_module, "ask_unsaved", lambda *_, **__: answers.pop(0))
    window.open(folder / "a.nii.gz")
    window.entry("Next scan").trigger()
    window.wait()
    assert window.session.volume.path == folder / "b.nii.gz"
    assert len(window.dock.workspaces) == 1
    window.dock.controller.draw(True)
    window.viewer.dims.set_point(0, 12 * 3.0)
    window.drag(*BOX)
    window.wait()
    window.entry("Next scan").trigger()
    window.wait()
    assert window.session.volume.path == folder / "b.nii.gz", "it is not left unsaved unasked"
    window.entry("Next scan").trigger()
    window.wait()
    assert window.session.volume.path == folder / "c.nii.gz"
    window.entry("Next scan").trigger()
    assert "last scan" in window.dock.status
