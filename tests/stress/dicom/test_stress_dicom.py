"""The comparison with dcm2niix notices what is wrong, goes on, and says what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer

from tests.helpers.grids import ALL_48, grid_affine
from tests.stress.dicom import command
from tests.stress.dicom.image_comparison import Image, compare
from tests.stress.dicom.readings import Reading, read_ours

needs_dcm2niix = pytest.mark.skipif(shutil.which(command.PROGRAM) is None, reason="no dcm2niix")
VALUES = np.random.default_rng(0).integers(0, 4000, (4, 5, 6)).astype(float)


@needs_dcm2niix
def test_a_short_run_meets_its_goal_and_is_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.dicom(count=1, folder=tmp_path, processes=1)
    command.dicom(count=4, folder=tmp_path)
    said = capsys.readouterr().out
    assert "1 series were read before" in said
    assert said.count("series with unexplained disagreements: 0 (goal 0) met") == 2


def _brighter(image: Image) -> list[Image]:
    values = image.values.copy()
    values[0, 0, 0] += 1
    return [replace(image, values=values)]


@needs_dcm2niix
@pytest.mark.parametrize("change", [_brighter, lambda _: [], lambda image: [image, image]])
def test_what_is_read_wrong_is_never_explained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Image], list[Image]],
) -> None:
    def wrong(folder: Path) -> Reading:
        found = read_ours(folder)
        return replace(found, images=[*change(found.images[0]), *found.images[1:]])

    monkeypatch.setattr(command, "read_ours", wrong)
    with pytest.raises(typer.Exit) as ended:
        command.dicom(count=1, folder=tmp_path)
    assert ended.value.exit_code == 1
    said = capsys.readouterr().out
    assert "  wrong: " in said
    assert "unexplained disagreements: 1 (goal 0) missed" in said


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        (
            "which",
            lambda _: None,
            "dcm2niix is missing: install it by `sudo apt-get install dcm2niix`",
        ),
        ("disk_usage", lambda _: SimpleNamespace(free=1), "200 MB have to be free"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    given: Callable[[str], object],
    said: str,
) -> None:
    monkeypatch.setattr(command.shutil, "which", lambda _: __file__)
    monkeypatch.setattr(command.shutil, name, given)
    with pytest.raises(typer.Exit) as ended:
        command.dicom(folder=tmp_path)
    assert ended.value.exit_code == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert said in line


@pytest.mark.parametrize(("axes", "signs"), ALL_48[::5])
def test_images_are_the_same_whichever_way_their_axes_go(
    axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    one = Image(VALUES, grid_affine((0, 1, 2), (1, 1, 1), (10, -20, 5)))
    place = np.eye(4)
    place[:3, :3] = np.eye(3)[:, list(axes)] * signs
    sizes = np.array(VALUES.shape)[list(axes)]
    place[:3, 3] = [0 if signs[axes.index(n)] > 0 else VALUES.shape[n] - 1 for n in range(3)]
    flipped = [n for n in range(3) if signs[n] < 0]
    other = Image(np.flip(VALUES.transpose(axes), flipped), one.affine @ place)
    assert other.values.shape == tuple(sizes)
    assert compare(one, other).same()
    moved = other.affine.copy()
    moved[2, 3] += 2e-3
    assert not compare(one, replace(other, affine=moved)).same()
    changed = other.values.copy()
    changed[0, 0, 0] += 0.5
    assert compare(one, replace(other, values=changed)).values == 1
