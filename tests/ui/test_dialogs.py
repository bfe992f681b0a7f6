"""Opening what holds more than one volume: the dock asks, in real dialogs."""

import numpy as np
import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QComboBox, QInputDialog, QMessageBox
from stress.samples import save, slice_of

VOXELS = np.random.default_rng(3).integers(-900, 1200, (5, 20, 24)).astype(np.int16)


@pytest.fixture
def answer(qtbot):
    """Answer the dialogs that come up, one after the other; return what they asked."""
    timers = []

    def begin(*choices):
        asked, left = [], list(choices)

        def look():
            dialog = QApplication.activeModalWidget()
            if not left or not isinstance(dialog, QInputDialog | QMessageBox):
                return
            choice = left.pop(0)
            if isinstance(dialog, QMessageBox):
                asked.append(dialog.text())
                dialog.button(choice).click()
                return
            menu = dialog.findChild(QComboBox)
            asked.append([menu.itemText(n) for n in range(menu.count())])
            if choice is None:
                dialog.reject()
            else:
                menu.setCurrentIndex(choice)
                dialog.accept()

        timer = QTimer()
        timer.timeout.connect(look)
        timer.start(30)
        timers.append(timer)
        return asked

    yield begin
    for timer in timers:
        timer.stop()


def write(folder, heights, **tags):
    folder.mkdir(parents=True)
    for n, height in enumerate(heights):
        dataset = slice_of(VOXELS, n)
        dataset.ImagePositionPatient = [-10, 20, height]
        for name, value in tags.items():
            setattr(dataset, name, value)
        save(dataset, folder / f"{n}.dcm")


def test_one_of_several_series_is_chosen_from_a_list(engine, window, tmp_path, answer):
    write(tmp_path / "study/a", [0, 3, 6], SeriesInstanceUID="1.2.3.2", SeriesDescription="thick")
    write(tmp_path / "study/b", [0, 1, 2, 3], SeriesInstanceUID="1.2.3.3", SeriesDescription="thin")
    asked = answer(1)
    window.open(tmp_path / "study")
    assert asked == [["thick, CT, 3 slices  (1.2.3.2)", "thin, CT, 4 slices  (1.2.3.3)"]]
    np.testing.assert_array_equal(window.session.volume.data, VOXELS[:4])


def test_no_answer_opens_nothing_and_says_why(engine, window, tmp_path, answer):
    write(tmp_path / "study/a", [0, 3, 6], SeriesInstanceUID="1.2.3.2")
    write(tmp_path / "study/b", [0, 1, 2, 3], SeriesInstanceUID="1.2.3.3")
    answer(None)
    window.wait()
    window.dock.open_path(tmp_path / "study")
    window.wait()
    assert window.dock.controller is None
    assert "holds 2 series" in window.dock.status


def test_uneven_slices_are_resampled_if_the_user_agrees(engine, window, tmp_path, answer):
    write(tmp_path / "gap", [0, 3, 6, 12])
    asked = answer(QMessageBox.StandardButton.Yes)
    window.open(tmp_path / "gap")
    assert "slices are missing" in asked[0]
    assert window.session.volume.data.shape == (5, 20, 24)
    assert any("resampled" in warning for warning in window.session.volume.warnings)
