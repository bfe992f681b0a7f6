"""DICOM folders and files: one even stack, or a reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import rotation

from napari_medsamq.errors import VolumeError
from napari_medsamq.io.volume import Volume, read_volume

AXIAL = np.eye(3)
UID = "1.2.826.0.1.3680043.2.1125.1"


def write_slices(
    folder: Path,
    positions: Sequence[Sequence[float]],
    *,
    turn: np.ndarray = AXIAL,
    uid: str = UID,
    modality: str = "CT",
    size: tuple[int, int] = (6, 7),
    tags: dict[str, str] | None = None,
) -> None:
    """Write one slice per position (LPS mm); slice n holds n * 100 - 1000 + a ramp."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    ramp = np.arange(np.prod(size), dtype=np.int16).reshape(size)
    for n, position in enumerate(positions):
        image = sitk.GetImageFromArray((ramp + n * 100 - 1000)[None])
        image.SetSpacing((0.5, 0.7, 1))
        image.SetOrigin([float(value) for value in position])
        image.SetDirection(turn.ravel().tolist())
        wanted = {
            "0008|0060": modality,
            "0008|103e": f"{modality} test",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.9",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{n + 1}",
            "0020|0013": str(n),
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": "\\".join(f"{value:.8f}" for value in turn[:, :2].T.ravel()),
            **(tags or {}),
        }
        for tag, value in wanted.items():
            image.SetMetaData(tag, value)
        # Names that sort against the slices, as on many exports.
        writer.SetFileName(str(folder / f"{uid[-3:]}_{999 - n}.dcm"))
        writer.Execute(image)


def stack(count: int, step: Sequence[float] = (0, 0, 2.5)) -> list[np.ndarray]:
    return [np.array([-10.0, 20.0, -300.0]) + n * np.array(step) for n in range(count)]


def test_a_series_is_stacked_along_its_normal(tmp_path: Path) -> None:
    write_slices(tmp_path, stack(5))
    volume = read_volume(tmp_path)
    assert volume.data.shape == (5, 6, 7)
    np.testing.assert_array_equal(volume.data[:, 0, 0], [-1000, -900, -800, -700, -600])
    np.testing.assert_allclose(volume.affine[:3, 3], [-10, 20, -300])
    assert volume.spacing == pytest.approx([2.5, 0.7, 0.5])
    assert (volume.modality, volume.modality_source) == ("CT", "dicom")
    assert volume.name == tmp_path.name
    assert volume.warnings == ()


@pytest.mark.parametrize("degrees", [(90, 0, 0), (0, 90, 0), (15, -20, 5), (180, 0, 0)])
def test_slices_in_any_direction_keep_their_places(
    tmp_path: Path, degrees: tuple[float, float, float]
) -> None:
    turn = rotation(degrees)
    positions = stack(4, turn[:, 2] * 3.0)
    write_slices(tmp_path, positions, turn=turn)
    volume = read_volume(tmp_path)
    for n, position in enumerate(positions):
        for row, column in [(0, 0), (3, 5)]:
            (index,) = np.argwhere(volume.data == n * 100 - 1000 + row * 7 + column)
            expected = position + turn[:, 0] * 0.5 * column + turn[:, 1] * 0.7 * row
            np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], expected, atol=1e-4)


def test_values_are_rescaled(tmp_path: Path) -> None:
    write_slices(tmp_path, stack(3), tags={"0028|1052": "-24", "0028|1053": "2"})
    whole = read_volume(tmp_path).data
    write_slices(tmp_path, stack(3))
    # The writer drops halves when it divides by the slope.
    np.testing.assert_allclose(whole, read_volume(tmp_path).data, atol=1)


@pytest.mark.parametrize(("modality", "expected"), [("MR", "MR"), ("PT", "other"), ("CT", "CT")])
def test_the_modality_is_that_of_the_file(tmp_path: Path, modality: str, expected: str) -> None:
    write_slices(tmp_path, stack(3), modality=modality)
    volume = read_volume(tmp_path)
    assert (volume.modality, volume.modality_source) == (expected, "dicom")


def test_a_single_file_is_one_slice_as_thick_as_it_says(tmp_path: Path) -> None:
    write_slices(tmp_path, stack(3), tags={"0018|0050": "4.5"})
    volume: Volume = read_volume(tmp_path / "5.1_998.dcm")
    assert volume.data.shape == (1, 6, 7)
    assert volume.data[0, 0, 0] == -900
    assert volume.spacing == pytest.approx([4.5, 0.7, 0.5])
    assert any("open its folder" in warning for warning in volume.warnings)


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path: Path) -> None:
    write_slices(tmp_path, stack(3))
    write_slices(tmp_path / "sub", stack(4), uid=UID + ".7", modality="MR")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "report.dcm").write_bytes(bytes(128) + b"DICM" + bytes(40))
    with pytest.raises(VolumeError, match="holds 2 series") as error:
        read_volume(tmp_path)
    assert f"{UID}: CT test, CT, 3 slices" in str(error.value)
    assert f"{UID}.7: MR test, MR, 4 slices" in str(error.value)
    assert "--series" in str(error.value)
    assert read_volume(tmp_path, series=UID + ".7").data.shape == (4, 6, 7)
    with pytest.raises(VolumeError, match=r"has no series 1\.2\.3(?s:.*)MR, 4 slices"):
        read_volume(tmp_path, series="1.2.3")


TILT = (0, 2.5 * np.sin(0.2), 2.5 * np.cos(0.2))


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        (stack(3) + stack(6)[4:], "5 mm between slices 3 and 4; slices are missing"),
        ([*stack(4), (-10, 20, -291.9)], "unevenly spaced"),
        (stack(3) + stack(3), "are 2 volumes at the same places"),
        (stack(3) + stack(2), "several slices of series .* lie at one place"),
        (stack(5, TILT), r"gantry tilt of 11\.5 degrees"),
        ([(0, 0, 0), (0, 3, 2), (0, 0, 4)], "shifted sideways"),
    ],
)
def test_stacks_that_are_no_even_volume_are_refused(
    tmp_path: Path, positions: list[Sequence[float]], reason: str
) -> None:
    write_slices(tmp_path, positions)
    with pytest.raises(VolumeError, match=reason) as error:
        read_volume(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert UID in str(error.value)


def test_a_damaged_slice_is_never_passed_over_in_silence(tmp_path: Path) -> None:
    write_slices(tmp_path, stack(5))
    last, middle = tmp_path / "5.1_995.dcm", tmp_path / "5.1_998.dcm"
    last.write_bytes(last.read_bytes()[:-30])
    (warning,) = read_volume(tmp_path).warnings
    assert "5.1_995.dcm" in warning
    middle.write_bytes(middle.read_bytes()[:-30])
    with pytest.raises(VolumeError, match="slices are missing"):
        read_volume(tmp_path)
