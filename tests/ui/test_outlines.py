"""Structures are filled, outlined or hidden by a key."""

from qtpy.QtCore import Qt

BOX = ((12, 16, 24), (12, 47, 55))


def looks(window):
    labels, boxes = window.workspace.labels, window.workspace.boxes
    return labels.contour, labels.visible, boxes.opacity > 0


def test_a_key_changes_how_structures_are_shown(dock):
    dock.drag(*BOX)
    dock.wait()
    label = dock.session.label.copy()
    assert looks(dock) == (0, True, True)
    dock.press(Qt.Key.Key_O)
    assert looks(dock) == (1, True, True)
    dock.press(Qt.Key.Key_O)
    assert looks(dock) == (0, False, False)
    assert "hidden" in dock.dock.status
    dock.press(Qt.Key.Key_O)
    assert looks(dock) == (0, True, True)
    assert (dock.session.label == label).all()


def test_what_is_drawn_is_seen(dock):
    for _ in range(2):
        dock.press(Qt.Key.Key_O)
    assert looks(dock) == (0, False, False)
    dock.drag(*BOX)
    dock.wait()
    assert looks(dock) == (0, True, True)
