"""Work that was not saved is there when its volume is opened again."""

import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox
from typer.testing import CliRunner

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.cli.main import app
from napari_medsamq.io.volume import volume_hash
from napari_medsamq.plugin import SAMPLES, VOLUME
from napari_medsamq.records.journal import Journal, journal_path
from napari_medsamq.records.journal_format import read_journal
from napari_medsamq.records.recording import Recorder, restore
from napari_medsamq.ui.forms.tool_rail import WAYS

BOX = ((12, 16, 24), (12, 47, 55))


@pytest.fixture
def answer(monkeypatch):
    """Answers the question whether to go on, and remembers what was asked."""
    asked = []

    def take(wanted):
        def execute(box):
            asked.append((box.text(), box.informativeText()))
            (button,) = [b for b in box.buttons() if box.buttonRole(b) == wanted]
            monkeypatch.setattr(QMessageBox, "clickedButton", lambda _: button)

        monkeypatch.setattr(QMessageBox, "exec", execute)
        return asked

    return take


def journals(window, tmp_path):
    return sorted((tmp_path / "journals").glob("*.journal"))


def forget(window):
    """End the program as a crash does: nothing is saved, nothing asked."""
    window.close_dock()
    for workspace in [*window.dock.workspaces]:
        workspace.close()
    window.viewer.layers.clear()
    window.open_dock()


@pytest.fixture
def worked(dock):
    """A box, another one of a named label that was undone, and a brush stroke."""
    dock.drag(*BOX)
    dock.wait()
    dock.dock.form.label.new_requested.emit("Spleen")
    dock.drag((12, 20, 10), (12, 40, 20))
    dock.wait()
    dock.dock.controller.undo.undo()
    labels = dock.workspace.labels
    dock.viewer.layers.selection.active = labels
    labels.mode = "paint"
    dock.drag((12, 50, 60), (12, 50, 70))
    dock.wait()
    return dock


def test_everything_comes_back_and_can_still_be_undone(worked, phantom, answer):
    label = worked.session.label.copy()
    assert np.unique(label).tolist() == [0, 1, 2]
    asked = answer(QMessageBox.ButtonRole.AcceptRole)
    forget(worked)
    worked.open(phantom.volume.path)
    assert len(asked) == 1
    assert f"phantom in {phantom.volume.path.parent} was worked on before" in asked[0][0]
    assert "Label 1 (1.08 mL), Spleen" in asked[0][1]
    np.testing.assert_array_equal(worked.session.label, label)
    assert len(worked.workspace.boxes.data) == 1
    assert worked.session.style(2).name == "Spleen"
    assert worked.workspace.labels.metadata[VOLUME] is worked.session.volume
    worked.dock.controller.undo.undo()
    worked.dock.controller.undo.undo()
    assert not worked.session.label.any()
    worked.dock.controller.undo.redo()
    assert np.count_nonzero(worked.session.label == 1) == 1024


def test_work_that_was_gone_on_with_comes_back_again(worked, phantom, answer):
    answer(QMessageBox.ButtonRole.AcceptRole)
    forget(worked)
    worked.open(phantom.volume.path)
    worked.viewer.dims.set_point(0, 8 * 3.0)
    worked.workspace.image.contrast_limits = (-500, 700)
    worked.press(Qt.Key.Key_B)
    worked.drag((8, 20, 20), (8, 40, 40))
    worked.wait()
    label = worked.session.label.copy()
    forget(worked)
    worked.open(phantom.volume.path)
    np.testing.assert_array_equal(worked.session.label, label)
    # What was seen, too.
    assert worked.session.window.limits == (-500, 700)
    assert tuple(worked.workspace.image.contrast_limits) == (-500, 700)


def test_what_another_window_does_while_the_question_is_open_is_asked_about_again(
    worked, phantom, answer, tmp_path, monkeypatch
):
    asked = answer(QMessageBox.ButtonRole.AcceptRole)
    forget(worked)
    (path,) = journals(worked, tmp_path)
    click = QMessageBox.exec

    def work_elsewhere(box):
        monkeypatch.setattr(QMessageBox, "exec", click)
        content, volume = read_journal(path), phantom.volume
        past = restore(content.records, volume.data.shape)
        session = AnnotationSession(volume, worked.dock.engines.for_modality("CT"))
        session.restore(past.history, past.styles)
        other = Journal(path, volume, volume_hash(volume), content, lambda error: None)
        recorder = Recorder(session, other, past)
        session.history.change("a", np.arange(5), np.full(5, 9, np.uint16), session.history.prompts)
        recorder.close()
        click(box)

    monkeypatch.setattr(QMessageBox, "exec", work_elsewhere)
    worked.open(phantom.volume.path)
    assert len(asked) == 2
    assert "Label 9" not in asked[0][1]
    assert "Label 9 (0.01 mL)" in asked[1][1]
    assert np.count_nonzero(worked.session.label == 9) == 5
    worked.dock.controller.undo.undo()
    assert np.unique(worked.session.label).tolist() == [0, 1, 2]


def test_starting_anew_keeps_the_earlier_work_in_a_file(worked, phantom, answer, tmp_path):
    (path,) = journals(worked, tmp_path)
    before = len(read_journal(path).records)
    answer(QMessageBox.ButtonRole.RejectRole)
    forget(worked)
    worked.open(phantom.volume.path)
    assert not worked.session.label.any()
    assert len(journals(worked, tmp_path)) == 2
    (kept,) = [other for other in journals(worked, tmp_path) if other != path]
    assert len(read_journal(kept).records) == before


def style(window, label_id=1, **changes):
    """Set what the form sets of a label."""
    own = replace(window.session.style(label_id), **changes)
    window.dock.form.label.style_requested.emit(label_id, own)
    return own


@pytest.mark.parametrize("draws", [False, True])
def test_what_was_set_comes_back_whether_or_not_anything_was_drawn(dock, phantom, answer, draws):
    asked = answer(QMessageBox.ButtonRole.AcceptRole)
    tumour = style(dock, name="Tumour", color="#123456", locked=True)
    hidden = style(dock, 4, name="Vein", visible=False)
    dock.workspace.image.contrast_limits = (-500, 700)
    dock.dock.form.volume.zoom_requested.emit(False)
    if draws:
        dock.drag(*BOX)
        dock.wait()
        dock.press(Qt.Key.Key_A)
    label, accepted = dock.session.label.copy(), set(dock.session.history.accepted)
    for count in (1, 2):
        forget(dock)
        dock.open(phantom.volume.path)
        assert len(asked) == count
        assert f"Tumour ({'1.08' if draws else '0.00'} mL), Vein (0.00 mL)" in asked[-1][1]
        session = dock.session
        assert (session.style(1), session.style(4)) == (tumour, hidden)
        assert session.locked_ids == [1]
        np.testing.assert_array_equal(session.label, label)
        assert session.history.accepted == accepted
        assert session.window.limits == (-500, 700)
        assert tuple(dock.workspace.image.contrast_limits) == (-500, 700)
        assert session.zoom is None
        assert not dock.dock.form.volume._zoom.isChecked()


def test_what_is_seen_comes_back_without_a_question(dock, phantom, answer):
    asked = answer(QMessageBox.ButtonRole.AcceptRole)
    window = dock.workspace.image
    for low in range(-500, -400, 20):
        window.contrast_limits = (low, 700)
    forget(dock)
    dock.open(phantom.volume.path)
    assert asked == []
    assert dock.session.window.limits == tuple(dock.workspace.image.contrast_limits) == (-420, 700)
    assert dock.session.zoom is not None


def test_a_window_of_the_users_alone_comes_back_as_such(dock, phantom, answer):
    answer(QMessageBox.ButtonRole.AcceptRole)
    dock.workspace.image.contrast_limits = (-500, 700)
    dock.dock.controller.window_level.share(False)
    standard = dock.session.window
    assert standard == dock.session.standard_window
    for _ in range(2):
        forget(dock)
        dock.open(phantom.volume.path)
        assert not dock.workspace.shares_window
        dock.workspace.image.contrast_limits = (-300, 300)
        assert dock.session.window == standard


def test_names_do_not_come_back_where_one_starts_anew(dock, phantom, answer):
    answer(QMessageBox.ButtonRole.RejectRole)
    style(dock, name="Tumour", locked=True)
    for _ in range(2):
        forget(dock)
        dock.open(phantom.volume.path)
        assert dock.session.styles == {}


def test_a_volume_that_nothing_was_done_to_is_not_asked_about(dock, phantom, answer):
    asked = answer(QMessageBox.ButtonRole.AcceptRole)
    forget(dock)
    dock.open(phantom.volume.path)
    assert asked == []


def test_a_cut_off_journal_gives_what_it_has_and_says_so(worked, phantom, answer, tmp_path):
    (path,) = journals(worked, tmp_path)
    answer(QMessageBox.ButtonRole.AcceptRole)
    forget(worked)
    path.write_bytes(path.read_bytes()[:-9])
    worked.open(phantom.volume.path)
    assert np.unique(worked.session.label).tolist() == [0, 1]
    assert not read_journal(path).damaged


def test_a_journal_of_a_newer_version_is_kept_and_told(worked, phantom, answer, tmp_path):
    (path,) = journals(worked, tmp_path)
    answer(QMessageBox.ButtonRole.AcceptRole)
    forget(worked)
    raw = bytearray(path.read_bytes())
    raw[15] = 9
    path.write_bytes(raw)
    worked.open(phantom.volume.path)
    assert not worked.session.label.any()
    assert any(other.read_bytes() == raw for other in journals(worked, tmp_path))


def test_a_volume_open_in_another_window_is_worked_on_with_a_warning(
    worked, phantom, answer, tmp_path
):
    answer(QMessageBox.ButtonRole.AcceptRole)
    forget(worked)
    shutil.rmtree(tmp_path / "journals")
    volume = phantom.volume
    path = journal_path(tmp_path / "journals", volume_hash(volume))
    other = Journal(path, volume, volume_hash(volume), None, lambda error: None)
    worked.open(volume.path)
    assert worked.session.volume.name == "phantom"
    worked.press(Qt.Key.Key_B)
    worked.viewer.dims.set_point(0, 12 * 3.0)
    worked.drag(*BOX)
    worked.wait()
    assert worked.session.label.any()
    other.close()
    assert len(read_journal(path).records) == 1  # the volume's own


def test_a_journal_of_the_window_replays_to_the_same_voxels(window, tmp_path):
    """Boxes, a click, an improved mask, a propagation, brush strokes, undo and redo."""
    window.open(SAMPLES / "ct.nii.gz")
    window.viewer.dims.set_point(0, 10 * 2.0)
    window.press(Qt.Key.Key_B)
    window.drag((10, 192, 110), (10, 384, 268))
    window.wait()
    window.drag((10, 300, 150), (10, 340, 190))
    window.wait()
    assert "refined" in window.dock.form.messages.line.toolTip()
    window.press(Qt.Key.Key_C)
    window.wait()
    window.click((10, 250, 260))
    window.wait()
    window.press(Qt.Key.Key_R)
    window.wait()
    corrected = window.session.history.prompts
    assert any(prompt.box.clicks for prompt in corrected)
    assert any(prompt.start is not None for prompt in corrected)
    window.viewer.dims.set_point(0, 13 * 2.0)
    ways = window.button("Propagate").menu().actions()
    ways[WAYS.index("to the slice in view")].trigger()
    window.qtbot.waitUntil(lambda: not window.dock.controller.propagate.active, timeout=60_000)
    window.wait()
    window.viewer.dims.set_point(0, 10 * 2.0)
    labels = window.workspace.labels
    window.viewer.layers.selection.active = labels
    labels.mode = "paint"
    window.drag((10, 120, 100), (10, 120, 120))
    labels.mode = "erase"
    window.drag((10, 290, 170), (10, 290, 180))
    steps = window.dock.controller.undo
    for action in (steps.undo,) * 3 + (steps.redo,) * 2:
        action()
    window.wait()
    label = window.session.label.copy()
    assert len(np.unique(np.nonzero(label)[0])) > 1
    (path,) = journals(window, tmp_path)
    window.workspace._recorder.close()
    output = tmp_path / "again.nii.gz"
    arguments = ["replay", path, SAMPLES / "ct.nii.gz", "-o", output, "--verify"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    count = int(result.stdout.split(" of ")[0].splitlines()[-1])
    assert count > 4
    assert f"{count} of {count} masks are the same" in result.stdout
    saved = np.asarray(nib.load(output).dataobj)
    np.testing.assert_array_equal(window.session.volume.from_source(saved), label)
