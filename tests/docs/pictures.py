"""Makes the pictures of the window anew: `python -m tests.docs.pictures`, on a screen of its own.

Each is what a user sees who does what its function does, with mouse and keys.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageColor
from pyvirtualdisplay import Display
from scipy.ndimage import binary_erosion

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "napari_medsamq" / "docs" / "pictures"
SIZE = 1280, 800
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

# Of the sample CT in `sheet`: the body, at half its size, in so many columns.
BODY, COLUMNS = np.s_[:, 128:404:2, 72:440:2], 5
# Corners (z, y, x) of boxes on the sample CT, and on the sample MR.
LIVER = (10, 192, 110), (10, 384, 268)
SPLEEN = (10, 243, 288), (10, 382, 402)
STOMACH = (10, 231, 270), (10, 336, 332)
TUMOUR = (
    ((15, 138, 158), (15, 172, 206)),
    ((16, 136, 156), (16, 176, 202)),
    ((17, 137, 161), (17, 169, 200)),
)


class Waiter:
    """Waits as the fixture of that name does in tests."""

    def waitUntil(self, holds, timeout):  # noqa: N802 (pytest-qt's name)
        from qtpy.QtTest import QTest

        for _ in range(timeout // 50):
            if holds():
                return
            QTest.qWait(50)
        raise TimeoutError


def rename(window, name):
    """Give the structure in hand a name, as the list of structures does."""
    session, label_id = window.session, window.workspace.label_id
    style = replace(session.style(label_id), name=name)
    window.dock.form.label.style_requested.emit(label_id, style)


def draws(window, name, corners):
    """Draw a box for the structure in hand, and name it."""
    from qtpy.QtCore import Qt

    rename(window, name)
    window.viewer.dims.set_point(0, corners[0][0] * window.session.volume.spacing[0])
    if window.dock.controller.tool != "box":
        window.press(Qt.Key.Key_B)
    window.drag(*corners)
    window.wait()


def carries(window):
    """Propagate the structure in hand, and wait until all slices are checked."""
    from qtpy.QtCore import Qt

    controller = window.dock.controller
    window.press(Qt.Key.Key_P)
    window.qtbot.waitUntil(lambda: not controller.propagate.active, 300_000)
    window.wait()


def checked(window):
    controller = window.dock.controller
    window.qtbot.waitUntil(lambda: not controller.review.pending, 300_000)
    window.qtbot.waitUntil(lambda: not controller.measure.pending, 300_000)


def sheet(session) -> Image.Image:
    """All slices, with the outlines of their labels."""
    grey, label = session.window.apply(session.volume.data)[BODY], session.label[BODY]
    # A few greys are enough, and a fifth of the size.
    tiles = np.repeat(grey[..., None] // 24 * 24, 3, axis=-1)
    for label_id in session.history.voxel_counts:
        edge = [own & ~binary_erosion(own) for own in label == label_id]
        tiles[np.array(edge)] = ImageColor.getrgb(session.style(label_id).color)
    rows = [np.hstack(tiles[at : at + COLUMNS]) for at in range(0, len(tiles), COLUMNS)]
    return Image.fromarray(np.vstack(rows))


def save(name: str, picture: Image.Image) -> None:
    path = FOLDER / f"{name}.png"
    # Colours that are rare, as in the list of structures, stay what they are.
    few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def pictures(window) -> Iterator[str]:
    """Bring the window to what each picture shows, and name that."""
    from qtpy.QtCore import QEvent, Qt
    from qtpy.QtTest import QTest

    from napari_medsamq.plugin import SAMPLES

    form = window.dock.form
    window.open(SAMPLES / "ct.nii.gz")
    rename(window, "Liver")
    # Half way, as the button is not let go.
    window.viewer.dims.set_point(0, LIVER[0][0] * 2.0)
    begin, end = (window.pixel(corner) for corner in LIVER)
    none = Qt.MouseButton.NoButton
    window.mouse(QEvent.Type.MouseMove, begin, none, none)
    window.mouse(QEvent.Type.MouseButtonPress, begin)
    for share in np.linspace(0, 1, 6)[1:]:
        QTest.qWait(300)
        window.mouse(QEvent.Type.MouseMove, begin + share * (end - begin), none)
    QTest.qWait(2000)
    window.wait()
    yield "drag"
    window.mouse(QEvent.Type.MouseButtonRelease, end, buttons=none)
    window.wait()

    draws(window, "Liver", LIVER)
    carries(window)
    form.label.new_requested.emit("Spleen")
    draws(window, "Spleen", SPLEEN)
    carries(window)
    checked(window)
    save("slices", sheet(window.session))
    yield "window"

    form.label.new_requested.emit("Stomach")
    draws(window, "Stomach", STOMACH)
    carries(window)
    checked(window)
    window.press(Qt.Key.Key_N)
    checked(window)
    yield "review"

    # Another reading of the liver, by a worse box.
    liver = window.session.label.copy()
    form.label.label_requested.emit(1)
    window.workspace.remove_label(1)
    window.workspace.refresh()
    (z, top, left), (_, bottom, right) = LIVER
    draws(window, "Liver", ((z, top - 8, left - 16), (z, bottom + 6, right - 30)))
    carries(window)
    window.viewer.add_labels(
        liver, name="second reader", scale=window.workspace.labels.scale, visible=False
    )
    window.viewer.dims.set_point(0, z * 2.0)
    compare = window.dock.form.compare
    form.show_tab(compare)
    compare.choose(1, window.viewer.layers["second reader"])
    for _ in range(4):
        window.press(Qt.Key.Key_D)
        window.wait()
    yield "compare"

    window.press(Qt.Key.Key_Escape)
    window.viewer.layers.remove("second reader")
    form.show_tab(form.check)
    window.open(SAMPLES / "mr.nrrd")
    for corners in TUMOUR:
        draws(window, "Tumour", corners)
    window.press(Qt.Key.Key_PageUp)
    window.press(Qt.Key.Key_F5)
    window.viewer.dims.set_point(2, 182 * window.session.volume.spacing[2])
    window.viewer.dims.set_point(1, 156 * window.session.volume.spacing[1])
    QTest.qWait(4000)
    checked(window)
    yield "planes"


def main() -> None:
    """Make all pictures, with preferences and journals that nobody else sees."""
    with TemporaryDirectory() as aside, Display(size=SIZE):
        os.environ |= {
            "NAPARI_CONFIG": str(Path(aside) / "settings.yaml"),
            "XDG_DATA_HOME": aside,
            "QT_QPA_PLATFORM": "xcb",
        }
        import napari
        from napari.utils.notifications import notification_manager
        from window import Window

        from napari_medsamq.ui.app_window import AppWindow

        viewer = napari.Viewer(title="MedSAM-Q", show=False)
        window = Window(viewer, Waiter())
        window.close_dock()
        window.open_dock(prefetch=True, ask=False, draws=True)
        frame = AppWindow(window.dock_frame, viewer.window.window_menu)
        with notification_manager.notification_ready.blocker():
            viewer.window.show()
        frame.show(SIZE)
        for name in pictures(window):
            seen = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False))
            save(name, seen.convert("RGB"))
        viewer.close()


if __name__ == "__main__":
    main()
