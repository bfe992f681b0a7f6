"""From one scan of a folder to the next."""

import nibabel as nib
import numpy as np
import pytest

from napari_medsamq.io.readers import next_scan
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


def test_scans_follow_by_name_without_labels_and_notes(folder):
    assert next_scan(folder / "a.nii.gz") == folder / "b.nii.gz"
    assert next_scan(folder / "b.nii.gz") == folder / "c.nii.gz"
    assert next_scan(folder / "c.nii.gz") is None


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
