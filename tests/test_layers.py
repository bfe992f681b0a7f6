from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from grids import grid_affine
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medsamq.errors import PromptError, SaveError, VolumeError
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
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.ui.canvas.brush import stroke_edit
from napari_medsamq.ui.canvas.planes import PLANES, finest_plane, range_without
from napari_medsamq.ui.canvas.prompt_layers import drawn_box, rectangle

SHAPE = (6, 20, 30)


def volume_of(shape: tuple[int, ...], name: str = "image") -> Volume:
    return volume_from_slices(np.arange(np.prod(shape)).reshape(shape), (3, 0.7, 0.5), name)


# -- planes and image layers ----------------------------------------------------------------------


@pytest.mark.parametrize(("plane", "left", "top"), list(zip(PLANES, "RRA", "ASS", strict=True)))
def test_planes_are_shown_in_radiological_convention(plane: Any, left: str, top: str) -> None:
    # Array axes run towards S, P and L.
    ends = (("I", "S"), ("A", "P"), ("R", "L"))
    cut, rows, columns = plane.order
    vertical, horizontal = plane.orientation
    assert cut == plane.axis
    assert ends[rows][vertical == "up"] == top
    assert ends[columns][horizontal == "left"] == left


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


# -- boxes ----------------------------------------------------------------------------------------


@st.composite
def boxes(draw: st.DrawFn) -> BoxPrompt:
    axis = draw(st.integers(0, 2))
    height, width = np.delete(SHAPE, axis).tolist()
    x0, y0 = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
    x1, y1 = draw(st.integers(x0 + 1, width - 1)), draw(st.integers(y0 + 1, height - 1))
    return BoxPrompt(axis, draw(st.integers(0, SHAPE[axis] - 1)), x0, y0, x1, y1)


@settings(deadline=None)
@given(boxes(), st.permutations(range(4)))
def test_a_box_shown_and_read_back_is_the_same(box: BoxPrompt, order: list[int]) -> None:
    assert drawn_box(rectangle(box)[order], box.axis, SHAPE) == box


def test_a_drag_from_right_to_left_is_the_same_box() -> None:
    # Pressed at row 12.6, column 20.2, released at row 3.7, column 8.4 of slice 2.
    corners = np.array([[2, 12.6, 20.2], [2, 12.6, 8.4], [2, 3.7, 8.4], [2, 3.7, 20.2]])
    assert drawn_box(corners, 0, SHAPE) == BoxPrompt(0, 2, 8, 4, 20, 13)


def test_a_box_that_sticks_out_is_cut_to_the_slice() -> None:
    corners = np.array([[5.4, -9, -4], [5.4, 99, -4], [5.4, 99, 40], [5.4, -9, 40]])
    assert drawn_box(corners, 0, SHAPE) == BoxPrompt(0, 5, 0, 0, 29, 19)


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        ([[2, 5.1, 7.2]] * 4, "covers 1 x 1 pixels"),
        ([[2, 5, 7], [2, 5, 15], [2, 5, 15], [2, 5, 7]], "covers 1 x 9 pixels"),
        ([[2, 50, 7], [2, 50, 15], [2, 60, 15], [2, 60, 7]], "outside the image"),
        ([[99, 5, 7], [99, 5, 15], [99, 9, 15], [99, 9, 7]], "slice in view lies outside"),
        ([[-0.6, 5, 7], [-0.6, 5, 15], [-0.6, 9, 15], [-0.6, 9, 7]], "slice in view"),
    ],
    ids=["click", "line", "beside the image", "above the volume", "below the volume"],
)
def test_what_is_no_box_is_refused(corners: list[list[float]], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        drawn_box(np.array(corners, float), 0, SHAPE)


# -- brush strokes --------------------------------------------------------------------------------


def flat(*index: int) -> int:
    return int(np.ravel_multi_index(index, SHAPE))


def test_strokes_of_indices_are_read() -> None:
    atoms = [
        ((np.array([1, 1]), np.array([2, 3]), np.array([4, 4])), np.array([0, 7]), 5),
        ((np.array([1, 2]), np.array([3, 0]), np.array([4, 0])), np.array([5, 1]), 0),
    ]
    voxels, before = stroke_edit(atoms, SHAPE)
    found = dict(zip(voxels.tolist(), before.tolist(), strict=True))
    assert found == {flat(1, 2, 4): 0, flat(1, 3, 4): 7, flat(2, 0, 0): 1}


def test_strokes_of_masked_boxes_are_read() -> None:
    slices = (slice(2, 3), slice(4, 6), slice(10, 12))
    mask = np.array([[[True, False], [False, True]]])
    atoms = [
        (slices, mask, np.array([3, 8], np.uint16), 5),
        (slices, None, np.array([[[5, 1], [2, 5]]], np.uint16), 6),
    ]
    voxels, before = stroke_edit(atoms, SHAPE)
    found = dict(zip(voxels.tolist(), before.tolist(), strict=True))
    assert found == {flat(2, 4, 10): 3, flat(2, 4, 11): 1, flat(2, 5, 10): 2, flat(2, 5, 11): 8}


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_strokes_of_a_real_labels_layer_are_read(order: tuple[int, int, int]) -> None:
    viewer = pytest.importorskip("napari.components").ViewerModel()
    layer = viewer.add_labels(np.zeros(SHAPE, np.uint16), scale=(3, 0.7, 0.5))
    viewer.dims.order = order
    viewer.dims.set_current_step(order[0], 3)
    layer.brush_size = 5
    layer.data[3, 8:14, 10:20] = 9
    strokes: list[Any] = []
    layer.events.paint.connect(lambda event: strokes.append(event.value))

    def brush(*centres: tuple[int, int, int], label_id: int) -> None:
        original = layer.data.copy()
        with layer.block_history():
            for centre in centres:
                layer.paint(centre, label_id)
        voxels, before = stroke_edit(strokes.pop(), SHAPE)
        np.testing.assert_array_equal(voxels, np.flatnonzero(layer.data != original))
        np.testing.assert_array_equal(before, original.reshape(-1)[voxels])
        assert voxels.size >= 5
        assert not strokes

    brush((3, 7, 9), (3, 8, 10), (3, 9, 11), label_id=2)
    assert np.ptp(np.argwhere(layer.data == 2)[:, order[0]]) == (0, 2, 2)[order[0]]
    brush((3, 8, 10), label_id=0)
    brush((0, 0, 0), (5, 19, 29), label_id=65535)
    layer.data_setitem((np.array([1] * 6), np.arange(6), np.arange(6)), 4)
    voxels, before = stroke_edit(strokes.pop(), SHAPE)
    assert voxels.tolist() == [flat(1, n, n) for n in range(6)]
    assert not before.any()


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


@pytest.mark.parametrize(
    ("spacing", "plane"),
    [
        ((1, 1, 1), "Axial"),
        ((3, 0.7, 0.5), "Axial"),
        ((0.5, 0.7, 0.7), "Axial"),
        ((1.02, 1.0, 1.0), "Axial"),
        ((1.0, 1.02, 1.0), "Axial"),
        ((1.2, 3.3, 1.2), "Coronal"),
        ((0.8, 6.5, 1.0), "Coronal"),
        ((1.2, 1.2, 3.3), "Sagittal"),
        ((0.94, 0.94, 1.2), "Sagittal"),
    ],
)
def test_a_volume_opens_on_the_plane_with_the_finest_pixels(spacing, plane):
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    assert finest_plane(volume_from_slices(array, spacing, "grid")).name == plane


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_shown_in_its_own_plane(axis):
    array = np.expand_dims(np.arange(30, dtype=np.int16).reshape(5, 6), axis)
    assert finest_plane(volume_from_slices(array, (1, 1, 1), "slice")).axis == axis


def test_the_range_of_some_layers_has_all_of_their_slices():
    viewer = pytest.importorskip("napari.components").ViewerModel()
    # 24 steps of this size are 23.99 to napari.
    spacing = np.nextafter(6.5, 0, dtype=float) - 1e-15
    own = viewer.add_image(np.zeros((25, 8, 9)), scale=(spacing, 1, 1))
    other = viewer.add_image(np.zeros((2, 60, 20, 20)), scale=(1, 2, 0.5, 0.5))
    viewer.dims.range = range_without(viewer, [other])
    assert viewer.dims.nsteps == (2, 25, 8, 9)
    viewer.dims.range = range_without(viewer, [own])
    assert viewer.dims.nsteps == (2, 60, 20, 20)
