from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from grids import grid_affine

from napari_medsamq.errors import SaveError, VolumeError
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.io.volume import Volume, volume_from_slices
from napari_medsamq.plugin import (
    VOLUME,
    _read_layers,
    foreign_volume,
    get_reader,
    image_layer,
    sample_ct,
    sample_mr,
    write_labels,
)

SHAPE = (6, 20, 30)


def volume_of(shape: tuple[int, ...], name: str = "image") -> Volume:
    return volume_from_slices(np.arange(np.prod(shape)).reshape(shape), (3, 0.7, 0.5), name)


# -- image layers ---------------------------------------------------------------------------------


def test_an_image_layer_is_scaled_and_windowed_and_keeps_its_volume(phantom: Any) -> None:
    data, arguments, kind = image_layer(phantom.volume)
    assert kind == "image"
    assert data is phantom.volume.data
    assert arguments["scale"] == pytest.approx((3, 0.7, 0.5))
    assert arguments["contrast_limits"] == (-160, 240)
    assert arguments["metadata"][VOLUME] is phantom.volume
    assert {"translate", "rotate", "affine"}.isdisjoint(arguments)
    _, arguments, _ = image_layer(phantom.volume, WindowLevel(-600, 1500))
    assert arguments["contrast_limits"] == (-1350, 150)


def test_a_coloured_volume_becomes_an_rgb_layer() -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[0] = 9
    _, arguments, _ = image_layer(volume_from_slices(picture, (1, 1), "photo"))
    assert arguments["rgb"] is True
    assert len(arguments["scale"]) == 3


@pytest.mark.parametrize(
    ("shape", "scale", "expected"),
    [((4, 5, 6), (3, 2, 1), (3, 2, 1)), ((5, 6), (0.5, 0.25), (1, 0.5, 0.25))],
)
def test_a_layer_that_something_else_opened_becomes_a_volume(
    shape: tuple[int, ...], scale: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    napari_layers = pytest.importorskip("napari.layers")
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    volume = foreign_volume(napari_layers.Image(array, scale=scale, name="theirs"))
    assert volume.spacing == pytest.approx(expected)
    np.testing.assert_array_equal(np.squeeze(volume.data), array)
    assert volume.name == "theirs"
    assert any("left and right are unknown" in warning for warning in volume.warnings)


def test_a_layer_of_four_axes_is_refused() -> None:
    napari_layers = pytest.importorskip("napari.layers")
    layer = napari_layers.Image(np.arange(16).reshape(2, 2, 2, 2))
    with pytest.raises(VolumeError, match="one channel or time point"):
        foreign_volume(layer)


# -- reader and writer ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii.gz", "a.NII", "a.nrrd", "a.mha", "a.dcm", "case.npz"])
def test_the_reader_takes_medical_images(tmp_path: Path, name: str) -> None:
    assert get_reader(str(tmp_path / name)) is not None


def test_the_reader_leaves_everything_else_to_others(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader(str(tmp_path / "photo.gz")) is None
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "empty")) is None
    assert get_reader([str(tmp_path / "a.nii"), str(tmp_path / "b.nii")]) is None


def test_the_reader_takes_a_folder_of_dicom_files(tmp_path: Path) -> None:
    (tmp_path / "00001").write_bytes(bytes(128) + b"DICM" + bytes(16))
    assert get_reader(str(tmp_path)) is not None


def test_the_reader_gives_a_layer_that_knows_its_volume(tmp_path: Path) -> None:
    source = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1, 2, 3, 1]))
    nib.save(source, tmp_path / "scan.nii.gz")
    read = get_reader(str(tmp_path / "scan.nii.gz"))
    assert read is not None
    ((data, arguments, kind),) = read(str(tmp_path / "scan.nii.gz"))
    assert (data.shape, kind, arguments["name"]) == ((5, 4, 3), "image", "scan")
    assert arguments["scale"] == pytest.approx((3, 2, 1))
    assert arguments["metadata"][VOLUME].path == tmp_path / "scan.nii.gz"


@pytest.mark.parametrize("sample", [sample_ct, sample_mr])
def test_the_samples_open(sample: Any) -> None:
    ((data, arguments, kind),) = sample()
    assert kind == "image"
    assert data.shape == arguments["metadata"][VOLUME].data.shape
    assert min(data.shape) >= 20


def test_a_label_layer_is_saved_on_the_grid_of_its_volume(tmp_path: Path, phantom: Any) -> None:
    label = phantom.reference.astype(np.int64) * 3
    meta = {"name": "label", "metadata": {VOLUME: phantom.volume}}
    target = tmp_path / "label.nii.gz"
    assert write_labels(str(target), label, meta) == [str(target)]
    saved, source = nib.load(target), nib.load(phantom.volume.path)
    np.testing.assert_allclose(saved.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(saved.dataobj) == 3, source.get_fdata() == 40)


def viewer_with(monkeypatch: pytest.MonkeyPatch, *volumes: Volume) -> None:
    napari = pytest.importorskip("napari")
    shown = [SimpleNamespace(metadata={VOLUME: volume}) for volume in volumes]
    others = [SimpleNamespace(metadata={}), SimpleNamespace(metadata={VOLUME: "a string"})]
    viewer = SimpleNamespace(layers=[*others, *shown])
    monkeypatch.setattr(napari, "current_viewer", lambda: viewer)


def tilted(path: Path) -> Volume:
    affine = np.diag([-1.0, -1, 1, 1]) @ grid_affine((2, 0, 1), (-1, 1, -1), (10, -8, 12))
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine), path)
    ((_, arguments, _),) = _read_layers(str(path))
    volume: Volume = arguments["metadata"][VOLUME]
    return volume


def test_a_new_label_layer_goes_to_the_one_volume_of_its_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = tilted(tmp_path / "scan.nii.gz")
    # The image and the label layer of one volume both name it.
    viewer_with(monkeypatch, volume_of((9, 9, 9)), volume, volume)
    label = np.zeros(volume.data.shape, int)
    label[1, 0, 2] = 7
    for meta in ({}, {"metadata": {}}, {"metadata": {VOLUME: volume_of((8, 8, 8))}}):
        target = tmp_path / "label.nii"
        write_labels(str(target), label, meta)
        saved = nib.load(target)
        np.testing.assert_allclose(saved.affine, nib.load(volume.path).affine)
        np.testing.assert_array_equal(np.asarray(saved.dataobj), volume.to_source(label))


@pytest.mark.parametrize("matching", [0, 2])
def test_a_label_whose_place_is_uncertain_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matching: int
) -> None:
    viewer_with(monkeypatch, volume_of((9, 9, 9)), *(volume_of(SHAPE) for _ in range(matching)))
    target = tmp_path / "label.nii.gz"
    target.write_bytes(gzip.compress(b"earlier"))
    with pytest.raises(SaveError, match=rf"{matching} open volumes .* Open the image it belongs"):
        write_labels(str(target), np.ones(SHAPE, int), {})
    assert gzip.decompress(target.read_bytes()) == b"earlier"


def test_without_a_viewer_an_unknown_label_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytest.importorskip("napari"), "current_viewer", lambda: None)
    with pytest.raises(SaveError, match=r"0 open volumes"):
        write_labels(str(tmp_path / "label.nii.gz"), np.ones(SHAPE, int), {})


def turned() -> np.ndarray:
    """A quarter turn about the first axis, for a layer's `affine`."""
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[0, -1], [1, 0]]
    return matrix


@pytest.mark.parametrize(
    ("place", "saved"),
    [
        ({"scale": (3, 0.7, 0.5)}, True),
        # As napari's own new layer is placed, but for rounding.
        ({"scale": (3, 0.7 + 1e-9, 0.5), "translate": (0, 1e-8, 0)}, True),
        ({"scale": (3, 0.7, 0.5), "affine": np.eye(4)}, True),
        ({}, False),
        ({"scale": (3, 0.7, 0.7)}, False),
        ({"scale": (3, 0.7, 0.5), "translate": (0, 0, 10)}, False),
        ({"scale": (3, 0.7, 0.5), "translate": (0, 0, 0.25)}, False),
        ({"scale": (3, 0.7, 0.5), "rotate": (0, 0, 5)}, False),
        ({"scale": (3, 0.7, 0.5), "shear": (0.1, 0, 0)}, False),
        ({"scale": (3, 0.7, 0.5), "affine": turned()}, False),
        ({"scale": (-3, 0.7, 0.5)}, False),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_layer_that_lies_elsewhere_is_not_saved_with_the_geometry_of_a_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: dict[str, Any], saved: bool, named: bool
) -> None:
    """Whether it names the volume, as a copy of our own does, or has its shape alone."""
    napari = pytest.importorskip("napari")
    viewer = pytest.importorskip("napari.components").ViewerModel()
    monkeypatch.setattr(napari, "current_viewer", lambda: viewer)
    volume = volume_of(SHAPE)
    data, arguments, _ = image_layer(volume)
    viewer.add_image(data, **arguments)
    metadata = {VOLUME: volume} if named else {}
    layer = viewer.add_labels(np.ones(SHAPE, np.uint8), metadata=metadata, **place)
    content, meta, _ = layer.as_layer_data_tuple()
    target = tmp_path / "label.nii.gz"
    if saved:
        write_labels(str(target), content, meta)
        assert target.exists()
    else:
        with pytest.raises(SaveError, match=r"0 open volumes .* lie where it lies"):
            write_labels(str(target), content, meta)
        assert not target.exists()


def test_of_two_volumes_the_one_is_taken_where_the_layer_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of someone else's, say, lies where they want it, and its label there."""
    napari = pytest.importorskip("napari")
    viewer = pytest.importorskip("napari.components").ViewerModel()
    monkeypatch.setattr(napari, "current_viewer", lambda: viewer)
    coarse = tilted(tmp_path / "scan.nii.gz")
    shape = coarse.data.shape
    label = np.zeros(shape, np.uint16)
    label[1, 0, 2] = 7
    fine = volume_from_slices(np.arange(label.size).reshape(shape), (1, 1, 1), "fine")
    for volume, moved in ((fine, 0), (coarse, 7)):
        data, arguments, _ = image_layer(volume)
        viewer.add_image(data, translate=(moved, 0, 0), **arguments)
    layer = viewer.add_labels(label, scale=coarse.spacing, translate=(7, 0, 0))
    content, meta, _ = layer.as_layer_data_tuple()
    write_labels(str(tmp_path / "label.nii"), content, meta)
    saved = nib.load(tmp_path / "label.nii")
    np.testing.assert_allclose(saved.affine, nib.load(coarse.path).affine)
    np.testing.assert_array_equal(np.asarray(saved.dataobj), coarse.to_source(label))
