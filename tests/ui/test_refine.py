"""A key asks all three planes about the label in hand; what a person settled stays as it is."""

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from scripted_engine import CARRIER, inside_box

CONTROL = Qt.KeyboardModifier.ControlModifier
DRAWN = 12  # the slice with the box


@pytest.fixture
def carried(engine, dock):
    """A block through all slices but the ends, of a network that has learnt to carry."""
    engine.spec = replace(engine.spec, sha256=CARRIER)
    dock.drag((DRAWN, 16, 24), (DRAWN, 47, 55))
    dock.wait()
    block = np.zeros(dock.session.label.shape, bool)
    block[4:20, 16:48, 24:56] = True
    dock.session.operate(1, "grow", lambda _: block)
    dock.workspace.refresh()
    engine.answer = lambda image, box: inside_box(*box) - 20  # less than it is shown
    return dock


def refine(window):
    window.press(Qt.Key.Key_T)
    window.qtbot.waitUntil(lambda: not window.dock.controller.refine.active, timeout=60_000)
    window.wait()


def test_all_planes_are_asked_and_one_undo_takes_it_back(engine, carried):
    before = carried.session.label.copy()
    asked = engine.carried
    refine(carried)
    assert engine.carried - asked == 16 + 32 + 32
    after = carried.session.label
    assert "refine in 3d" in carried.dock.status
    assert (after != before).any()
    np.testing.assert_array_equal(after[DRAWN], before[DRAWN])
    carried.press(Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(carried.session.label, before)


def test_accepted_slices_stay(carried):
    session = carried.session
    before = session.label.copy()
    carried.press(Qt.Key.Key_F3)
    carried.viewer.dims.set_point(1, 30.0)
    carried.press(Qt.Key.Key_A)
    assert "accepted" in carried.dock.status
    index = carried.dock.controller.view.index
    refine(carried)
    assert (session.label != before).any()
    np.testing.assert_array_equal(session.label[:, index], before[:, index])


def test_escape_leaves_all_as_it_was(engine, carried):
    before = carried.session.label.copy()
    engine.open.clear()  # the first picture of another plane waits
    carried.press(Qt.Key.Key_T)
    assert carried.dock.controller.refine.active
    carried.press(Qt.Key.Key_Escape)
    engine.open.set()
    carried.wait()
    assert "nothing was changed" in carried.dock.status
    np.testing.assert_array_equal(carried.session.label, before)
    assert len(carried.session.history.edits) == 2


def test_a_brush_at_work_meanwhile_is_not_overwritten(engine, carried):
    engine.open.clear()
    carried.press(Qt.Key.Key_T)
    carried.session.operate(1, "shrink", lambda mask: mask & (np.arange(mask.shape[2]) > 30))
    changed = carried.session.label.copy()
    engine.open.set()
    carried.qtbot.waitUntil(lambda: not carried.dock.controller.refine.active, timeout=60_000)
    assert "was changed while" in carried.dock.status
    np.testing.assert_array_equal(carried.session.label, changed)


def test_a_locked_label_and_a_network_that_cannot_are_refused_at_once(engine, carried):
    before = carried.session.label.copy()
    style = carried.session.style(1)
    carried.session.set_style(1, replace(style, locked=True))
    carried.press(Qt.Key.Key_T)
    assert f"{style.name} is locked" in carried.dock.status
    carried.session.set_style(1, style)
    engine.spec = replace(engine.spec, sha256={})
    carried.press(Qt.Key.Key_T)
    assert "has not learnt to carry" in carried.dock.status
    assert not carried.dock.controller.refine.active
    np.testing.assert_array_equal(carried.session.label, before)
