"""The walk: a box dragged with the mouse on a real volume becomes a NIfTI label on disk."""

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medsamq.plugin import SAMPLES
from napari_medsamq.prompts import BoxPrompt3D
from napari_medsamq.ui.prompt_list import Request

pytestmark = pytest.mark.shown


def test_a_drag_on_the_sample_becomes_a_saved_liver_mask(window, tmp_path):
    window.open(SAMPLES / "ct.nii.gz")
    window.viewer.dims.set_point(0, 10 * 2.0)
    window.press(Qt.Key.Key_B)
    assert window.workspace.boxes.mode == "add_rectangle"
    window.drag((10, 192, 110), (10, 384, 268))
    window.wait()

    (prompt,) = window.session.history.prompts
    assert prompt.box.axis == 0
    assert prompt.box.index == 10
    np.testing.assert_allclose(prompt.box.xyxy, (110, 192, 268, 384), atol=2)
    label = window.session.label
    assert 15_000 < np.count_nonzero(label) < 23_000
    assert label[10, 290, 160] == 1, "the middle of the liver"
    assert not label[10, 290, 380], "the spleen, on the other side"
    assert np.count_nonzero(label) == np.count_nonzero(label[10])
    told = window.dock.form.messages.line.toolTip()
    assert "encode" in told
    assert "ms" in told
    assert "mL on this slice" in window.dock.status

    target = tmp_path / "liver.nii.gz"
    window.dock.controller.save_load.save(target)
    window.wait()
    saved, source = nib.load(target), nib.load(SAMPLES / "ct.nii.gz")
    assert saved.shape == source.shape
    np.testing.assert_allclose(saved.affine, source.affine, atol=1e-4)
    assert saved.header.get_xyzt_units() == source.header.get_xyzt_units()
    voxels = np.asarray(saved.dataobj)
    assert voxels.dtype.kind == "u"
    np.testing.assert_array_equal(window.session.volume.from_source(voxels), label)
    assert str(target) in window.dock.status


def test_closing_the_dock_while_the_network_works_loses_no_box(window):
    window.open(SAMPLES / "mr.nrrd")
    window.workspace.prompts.ask(Request(BoxPrompt3D((14, 139, 158), (17, 173, 198)), 1))
    QTest.qWait(20)
    assert window.dock.busy
    window.close_dock()
    window.open_dock()
    window.wait()
    assert len(window.session.history.prompts) == 1
    assert np.count_nonzero(window.session.label[16]) > 300
