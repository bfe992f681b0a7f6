"""The network is shown small structures enlarged."""

import numpy as np
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QCheckBox
from test_preview_and_prefetch import Drag

from napari_medsamq.plugin import SAMPLES

SMALL = ((12, 30, 40), (12, 38, 48))
LARGE = ((12, 16, 24), (12, 47, 55))


def switch(window):
    (box,) = [b for b in window.dock.findChildren(QCheckBox) if "Zoom" in b.text()]
    return box


def drag_and_see(window, start, stop):
    """Let go once the preview is seen."""
    drag = Drag(window, start)
    drag.to(stop, steps=4)
    window.wait()
    drag.release()


def test_a_small_box_is_zoomed_in_on_when_the_mouse_lets_go(dock, engine):
    shown = []
    dock.dock.controller.preview.shown.connect(lambda request: shown.append(engine.encoded))
    drag_and_see(dock, *SMALL)
    dock.wait()
    assert shown
    assert set(shown) == {1}, "previews are of the whole slice, encoded once"
    assert engine.encoded == 2
    assert "refined by zooming in" in dock.dock.form.messages.line.toolTip()
    found = np.argwhere(dock.session.label)
    np.testing.assert_allclose(found.min(0), SMALL[0], atol=1)
    np.testing.assert_allclose(found.max(0), SMALL[1], atol=1)


def test_the_preview_pales_where_the_refined_mask_takes_its_place(dock, engine):
    layer = dock.workspace.preview
    seen = []
    layer.events.opacity.connect(lambda: seen.append((layer.visible, layer.opacity)))
    opacity = layer.opacity
    drag_and_see(dock, *SMALL)
    dock.wait()
    dock.qtbot.waitUntil(lambda: not layer.visible)
    shown = [value for visible, value in seen if visible]
    assert len(shown) >= 3
    assert shown == sorted(shown, reverse=True)
    assert layer.opacity == opacity
    # A mask that the network sees as it was previewed needs no change.
    seen.clear()
    drag_and_see(dock, *LARGE)
    dock.wait()
    assert not layer.visible
    assert seen == []


def test_a_new_drag_does_not_wait_for_the_old_preview(dock, engine):
    layer = dock.workspace.preview
    opacity = layer.opacity
    drag_and_see(dock, *SMALL)
    dock.qtbot.waitUntil(lambda: layer.opacity < opacity)
    dock.mouse(QEvent.Type.MouseButtonPress, dock.pixel(LARGE[0]))
    dock.mouse(QEvent.Type.MouseMove, dock.pixel(LARGE[1]))
    assert layer.opacity == opacity
    dock.mouse(
        QEvent.Type.MouseButtonRelease, dock.pixel(LARGE[1]), buttons=Qt.MouseButton.NoButton
    )


def test_a_click_asks_the_network_for_no_more_than_it_needs(dock, engine):
    """What `benchmark gui` takes as needed."""

    def asked(voxel):
        before = engine.encoded, engine.decoded
        dock.click(voxel)
        dock.wait()
        return engine.encoded - before[0], engine.decoded - before[1]

    dock.drag(*SMALL)
    dock.wait()
    dock.press(Qt.Key.Key_C)
    dock.wait()
    low, high = np.array(SMALL)
    assert asked((low + high) // 2) == (0, 1)
    # Outside: another part of the slice, on which the box and both clicks are asked about.
    assert asked(high + np.array([0, 3, 0])) == (1, 3)
    assert asked((low + high) // 2 + np.array([0, 1, 1])) == (0, 1)


def test_a_large_box_is_not(dock, engine):
    dock.drag(*LARGE)
    dock.wait()
    assert engine.encoded == 1
    assert "refined" not in dock.dock.form.messages.line.toolTip()


def test_it_can_be_switched_off_for_a_volume(dock, engine):
    assert switch(dock).isChecked()
    switch(dock).click()
    dock.drag(*SMALL)
    dock.wait()
    assert engine.encoded == 1
    first = dock.workspace
    dock.open(SAMPLES / "mr.nrrd")
    assert switch(dock).isChecked()
    dock.dock.form.volume.layer_requested.emit(first.image)
    dock.wait()
    assert not switch(dock).isChecked()
