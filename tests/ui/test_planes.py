"""Which way the patient lies on the canvas: planes by key, and the letters at the edges."""

import nibabel as nib
import numpy as np
import pytest
from grids import grid_affine
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLabel

from napari_medsamq.ui.canvas.planes import PLANES
from napari_medsamq.ui.canvas.slice_bar import BAR_HEIGHT

ALT, CONTROL = Qt.KeyboardModifier.AltModifier, Qt.KeyboardModifier.ControlModifier
KEYS = (Qt.Key.Key_F2, Qt.Key.Key_F3, Qt.Key.Key_F4)
# Left, right, top and bottom of axial, coronal and sagittal slices in radiological convention.
LETTERS = ("RLAP", "RLSI", "APSI")
# LPS directions of the letters.
TOWARDS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
# Voxels of a box on the axial slice in view.
BOX = ((6, 4, 4), (6, 10, 11))


def labels(window):
    found = {label.objectName(): label for label in window.native.findChildren(QLabel)}
    return [found[f"patient side: {edge}"] for edge in ("left", "right", "top", "bottom")]


def letters(window):
    """What is read at the left, right, top and bottom edge; nothing where nothing is shown."""
    return "".join(label.text() for label in labels(window) if label.isVisibleTo(window.native))


def badge(window):
    (found,) = window.native.findChildren(QLabel, "oblique badge")
    return found


def save(path, affine, *, coded=True, shape=(13, 14, 15)):
    """Write a volume whose file says, or does not say, how the patient lies in it."""
    values = np.random.default_rng(0).integers(0, 200, shape).astype(np.int16)
    image = nib.Nifti1Image(values, np.diag([-1.0, -1, 1, 1]) @ affine)
    image.set_qform(image.affine, code=int(coded))
    image.set_sform(image.affine, code=int(coded))
    nib.save(image, path)
    return path


@pytest.fixture
def straight(engine, window, tmp_path):
    window.open(save(tmp_path / "straight.nii.gz", grid_affine((0, 1, 2), (1, 1, 1))))
    return window


def patient_letters(window):
    """Find the letters by a road of their own: screen to voxel to millimetres in the patient."""
    affine = window.session.volume.affine[:3, :3]
    shown = list(window.viewer.dims.displayed)
    centre = np.array(window.session.label.shape) / 2
    steps = []
    for axis in shown:
        step = np.zeros(3)
        step[axis] = 2
        steps.append(window.pixel(centre + step) - window.pixel(centre))
    # Which combination of the two axes leads one pixel right, and one pixel down.
    right, down = np.linalg.inv(np.array(steps).T).T * 2
    found = ""
    for weights in (-right, right, -down, down):
        voxels = np.zeros(3)
        voxels[shown] = weights
        direction = affine @ voxels
        world = int(np.abs(direction).argmax())
        sign = np.sign(direction[world])
        found += next(letter for letter, place in TOWARDS.items() if place == (world, sign))
    return found


@pytest.mark.canvas
@pytest.mark.parametrize(
    ("axes", "signs", "degrees"),
    [
        ((0, 1, 2), (1, 1, 1), (0, 0, 0)),
        ((0, 1, 2), (-1, -1, 1), (0, 0, 0)),
        ((2, 0, 1), (-1, 1, -1), (0, 0, 0)),
        ((1, 2, 0), (-1, -1, 1), (-20, 5, 12)),
    ],
    ids=["straight", "mirrored", "permuted", "oblique"],
)
def test_each_plane_has_a_key_and_its_letters(engine, window, tmp_path, axes, signs, degrees):
    window.open(save(tmp_path / "image.nii.gz", grid_affine(axes, signs, degrees)))
    for number in (1, 2, 0):
        window.press(KEYS[number])
        assert window.viewer.dims.order[0] == PLANES[number].axis
        assert letters(window) == LETTERS[number] == patient_letters(window)


@pytest.mark.parametrize("layer", ["labels", "boxes", "image"])
def test_the_keys_of_the_planes_work_on_every_layer(straight, layer):
    straight.viewer.layers.selection.active = getattr(straight.workspace, layer)
    for key, plane in zip(KEYS, PLANES, strict=True):
        straight.press(key)
        assert straight.viewer.dims.order == plane.order
    assert straight.workspace.boxes.mode == "pan_zoom"


@pytest.mark.canvas
def test_the_letters_follow_napari_when_it_flips_the_view(straight):
    camera = straight.viewer.scene.camera
    camera.orientation2d = ("up", "right")
    assert letters(straight) == "RLPA" == patient_letters(straight)
    camera.orientation2d = ("up", "left")
    assert letters(straight) == "LRPA" == patient_letters(straight)


@pytest.mark.parametrize(
    ("key", "modifier", "expected", "presses"),
    [
        (Qt.Key.Key_T, CONTROL, "APRL", 2),
        (Qt.Key.Key_E, CONTROL, "APIS", 3),
        (Qt.Key.Key_T, CONTROL | ALT, "APLR", 4),
    ],
    ids=["transposed", "rolled", "rotated"],
)
def test_the_letters_follow_napari_when_it_turns_the_view(
    straight, key, modifier, expected, presses
):
    straight.press(key, modifier)
    assert letters(straight) == expected
    for _ in range(presses - 1):
        straight.press(key, modifier)
    assert letters(straight) == "RLAP"


def test_in_3d_there_are_no_letters(straight):
    straight.viewer.dims.ndisplay = 3
    assert letters(straight) == ""
    straight.viewer.dims.ndisplay = 2
    assert letters(straight) == "RLAP"


def test_no_letters_stay_behind_without_a_volume(straight):
    straight.viewer.layers.clear()
    assert letters(straight) == ""
    straight.press(KEYS[0])
    assert letters(straight) == "RLAP"
    straight.close_dock()
    QTest.qWait(20)
    assert not [
        label for label in straight.native.findChildren(QLabel) if "patient" in label.objectName()
    ]


@pytest.mark.shown
def test_letters_stay_at_the_edges_of_the_canvas(straight):
    for size in ((1200, 800), (900, 600)):
        straight.viewer.window.resize(*size)
        QTest.qWait(50)
        width, height = straight.native.width(), straight.native.height()
        left, right, top, bottom = (label.geometry() for label in labels(straight))
        assert 0 < left.left() < 15
        assert 0 < width - right.right() < 15
        assert 0 < top.top() < 15
        # Below it is room for the bar of slices.
        assert 0 < height - BAR_HEIGHT - bottom.bottom() < 15
        for beside in (left, right):
            assert abs(beside.center().y() - height / 2) <= 2
        for above in (top, bottom):
            assert abs(above.center().x() - width / 2) <= 2


@pytest.mark.shown
def test_a_box_may_begin_under_a_letter(straight):
    straight.press(Qt.Key.Key_B)
    spot = labels(straight)[0].geometry().center()
    assert straight.native.childAt(spot) is None
    assert straight.native.childAt(QPoint(5, 5)) is None


def test_an_oblique_volume_says_so(engine, window, tmp_path):
    window.open(save(tmp_path / "tilted.nii.gz", grid_affine((0, 1, 2), (1, 1, 1), (12, 0, 0))))
    assert badge(window).isVisibleTo(window.native)
    assert badge(window).text() == "oblique 12°"
    assert "tilted by 12.0 degrees" in badge(window).toolTip()
    window.open(save(tmp_path / "nearly.nii.gz", grid_affine((0, 1, 2), (1, 1, 1), (0.5, 0, 0))))
    QApplication.sendPostedEvents()
    QTest.qWait(20)
    assert not badge(window).isVisibleTo(window.native)


def test_an_unknown_orientation_is_a_question_mark(engine, window, tmp_path):
    window.open(save(tmp_path / "unknown.nii.gz", np.eye(4), coded=False))
    assert not window.session.volume.orientation_known
    assert letters(window) == "????"


def test_a_picture_has_no_letters(engine, window, tmp_path):
    import cv2

    picture = np.random.default_rng(2).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "skin.png"), picture)
    window.open(tmp_path / "skin.png")
    assert letters(window) == ""
    assert not badge(window).isVisibleTo(window.native)


def test_letters_belong_to_the_volume_in_use(straight, tmp_path):
    first = straight.workspace
    straight.open(save(tmp_path / "unknown.nii.gz", np.eye(4), coded=False))
    assert letters(straight) == "????"
    straight.dock.form.volume.layer_requested.emit(first.image)
    straight.wait()
    assert letters(straight) == "RLAP"


def test_a_floating_dock_keeps_the_letters(engine, window, tmp_path):
    window.wait()
    window.dock_frame.setFloating(True)
    window.open(save(tmp_path / "straight.nii.gz", grid_affine((0, 1, 2), (1, 1, 1))))
    assert letters(window) == "RLAP"


def test_a_volume_opens_on_its_own_plane_and_comes_back_to_the_one_it_was_left_in(
    engine, window, tmp_path
):
    values = np.random.default_rng(0).integers(0, 200, (40, 12, 40)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([1.2, 3.3, 1.2, 1])), tmp_path / "coronal.nii.gz")
    window.open(tmp_path / "coronal.nii.gz")
    coronal = window.workspace
    assert window.dock.controller.view.plane.name == "Coronal"
    assert window.dock.form.volume._planes.checkedId() == 1
    assert window.viewer.dims.not_displayed == (1,)
    window.press(Qt.Key.Key_F4)
    window.open(save(tmp_path / "axial.nii.gz", grid_affine((0, 1, 2), (1, 1, 1))))
    assert window.dock.controller.view.plane.name == "Axial"
    window.dock.form.volume.layer_requested.emit(coronal.image)
    window.wait()
    assert window.dock.controller.view.plane.name == "Sagittal"
