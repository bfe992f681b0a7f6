"""Closing the window says what is unsaved, and does not ask where nothing is."""

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_medsamq.ui import dock as dock_module

BOX = ((12, 16, 24), (12, 47, 55))


@pytest.fixture
def asked(monkeypatch):
    """What was asked about; `answers` are given in turn."""
    found, answers = [], []

    def ask(parent, changed, *, kept):
        found.append((list(changed), kept))
        return answers.pop(0)

    monkeypatch.setattr(dock_module, "ask_unsaved", ask)
    return found, answers


def test_nothing_is_asked_where_nothing_was_done(dock, asked):
    assert dock.dock.may_close()
    assert asked[0] == []


def test_what_was_not_saved_is_named_and_saved(dock, asked, tmp_path, monkeypatch):
    found, answers = asked
    target = tmp_path / "liver.nii.gz"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    dock.drag(*BOX)
    dock.wait()
    answers[:] = [None, False, True]
    assert not dock.dock.may_close()
    assert found == [(["Label 1"], True)]
    assert dock.dock.may_close(), "closed without saving"
    assert not dock.dock.may_close(), "first it is saved"
    dock.wait()
    assert np.count_nonzero(nib.load(target).dataobj)
    assert dock.dock.may_close()
    assert len(found) == 3
    # What was saved is taken back: that is a change, too.
    dock.dock.controller.undo.undo()
    answers[:] = [False]
    assert dock.dock.may_close()
    assert found[-1] == (["Label 1"], True)
    dock.dock.controller.undo.redo()
    assert dock.workspace.unsaved == []
