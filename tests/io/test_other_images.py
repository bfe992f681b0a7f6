"""Images that are no NIfTI: volumes, pictures, cases and arrays; and what they may show."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import ALL_48, grid_affine
from sources import COUNTING, index_of, world, write_nifti

from napari_medsamq.errors import ChoiceError, VolumeError
from napari_medsamq.geometry import axis_codes
from napari_medsamq.inference.preprocess import default_window
from napari_medsamq.io.source import LEFT_RIGHT_UNKNOWN
from napari_medsamq.io.volume import read_volume, volume_from_slices
from napari_medsamq.plugin import SAMPLES


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize(("axes", "signs"), ALL_48[::7])
def test_other_volumes_stay_where_simpleitk_puts_them(
    tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...], suffix: str
) -> None:
    affine = grid_affine(axes, signs, (10, 5, -20))
    image = sitk.GetImageFromArray(COUNTING)
    image.SetSpacing((0.5, 0.7, 3.0))
    image.SetDirection((affine[:3, :3] / [0.5, 0.7, 3.0]).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"), useCompression=signs[0] > 0)
    volume = read_volume(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.to_source(volume.data), COUNTING.transpose(2, 1, 0))
    k, j, i = index_of(COUNTING, 37).tolist()
    here = world(volume.affine, index_of(volume.data, 37))
    np.testing.assert_allclose(here, image.TransformIndexToPhysicalPoint((i, j, k)), atol=1e-4)


def test_an_nrrd_without_space_has_unknown_sides(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nencoding: raw\nendian: little\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + COUNTING.astype("<i2").tobytes())
    volume = read_volume(tmp_path / "a.nrrd")
    assert any("left and right are unknown" in warning for warning in volume.warnings)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("colour", [False, True])
def test_pictures_are_volumes_of_one_slice(tmp_path: Path, suffix: str, colour: bool) -> None:
    pixels = np.full((30, 40, 3) if colour else (30, 40), 20, np.uint8)
    pixels[8:, 16:] = 200
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=colour), str(tmp_path / f"a{suffix}"))
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.data.shape == (1, *pixels.shape)
    np.testing.assert_allclose(volume.slice(0, 0), pixels, atol=6)  # JPEG is lossy
    assert (volume.modality, volume.modality_source, volume.windowed) == ("other", "picture", True)
    assert any("1 mm is assumed" in warning for warning in volume.warnings)


def test_transparency_is_left_out(tmp_path: Path) -> None:
    pixels = np.arange(30 * 40 * 4, dtype=np.uint32).reshape(30, 40, 4).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(tmp_path / "a.png"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png").slice(0, 0), pixels[..., :3])


def test_sixteen_bit_pictures_need_a_window(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(COUNTING[0].astype(np.uint16)), str(tmp_path / "a.png"))
    assert not read_volume(tmp_path / "a.png").windowed


@pytest.mark.parametrize("shape", [(4, 30, 40), (30, 40, 3), (30, 40)])
def test_medsam_cases_are_in_array_order_already(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)
    np.savez_compressed(tmp_path / "a.npz", imgs=images, spacing=np.array([0.5, 0.7, 3.0]))
    volume = read_volume(tmp_path / "a.npz")
    np.testing.assert_array_equal(volume.data.squeeze(), images)
    assert volume.data.shape[1:3] == (30, 40)
    assert volume.spacing == pytest.approx([3, 0.7, 0.5])
    assert (volume.modality_source, volume.windowed) == ("case", True)


@pytest.mark.parametrize(
    ("data", "modality", "source"),
    [
        (COUNTING - 1000, "CT", "assumed"),
        ((COUNTING - 1000).astype(np.float32), "CT", "assumed"),
        (COUNTING - np.float32(1000.5), "CT", "ambiguous"),
        (COUNTING - 50, "MR", "ambiguous"),
        (COUNTING / np.float32(60) - 1, "MR", "ambiguous"),
        (COUNTING, "MR", "assumed"),
        (COUNTING.astype(np.uint8), "MR", "ambiguous"),
        (COUNTING % 6, "MR", "ambiguous"),
    ],
)
def test_what_kind_of_image_its_numbers_suggest(
    tmp_path: Path, data: np.ndarray, modality: str, source: str
) -> None:
    volume = read_volume(write_nifti(tmp_path / "a.nii", data))
    assert (volume.modality, volume.modality_source) == (modality, source)
    chosen = volume.with_modality("other")
    assert (chosen.modality, chosen.modality_source) == ("other", "chosen")
    assert chosen.data is volume.data


@pytest.fixture(scope="module")
def real() -> dict[str, np.ndarray]:
    """Part of a CT and of an MR, (z, y, x)."""
    ct, mr = (read_volume(SAMPLES / name).data for name in ("ct.nii.gz", "mr.nrrd"))
    return {"CT": ct[::2, ::4, ::4], "MR": mr[:, ::2, ::2]}


def rings(mr: np.ndarray) -> np.ndarray:
    """Values a little below zero, as interpolation by splines leaves them beside edges."""
    ringing = mr * 10
    ringing[::3, ::9, ::11] = -610
    return ringing


def padded(ct: np.ndarray, value: int) -> np.ndarray:
    rows, columns = np.indices(ct.shape[1:]) - np.array(ct.shape[1:])[:, None, None] / 2
    return np.where(np.hypot(rows, columns) > len(rows) / 2, value, ct)


def normalised(image: np.ndarray) -> np.ndarray:
    return (image - image.min()) / np.float32(np.ptp(image))


def phase(mr: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(-4096, 4096, mr.shape)


@pytest.mark.parametrize(
    ("kind", "change", "modality", "source"),
    [
        ("CT", lambda ct: ct * 1, "CT", "assumed"),
        ("CT", lambda ct: ct + np.float32(0.25), "CT", "assumed"),
        ("CT", lambda ct: padded(ct, -2000), "CT", "assumed"),
        ("CT", lambda ct: padded(ct, -3024), "CT", "assumed"),
        ("CT", lambda ct: ct.clip(-1000, 400), "CT", "assumed"),
        ("CT", lambda ct: (ct + 1024).astype(np.uint16), "CT", "ambiguous"),
        ("CT", lambda ct: (padded(ct, -2000) + 2000).astype(np.uint16), "CT", "ambiguous"),
        ("CT", lambda ct: (ct + np.int32(32768)).astype(np.uint16), "CT", "ambiguous"),
        ("CT", lambda ct: ct.clip(-200, 250), "CT", "ambiguous"),
        ("CT", lambda ct: ct.clip(-160, 240) + 160, "MR", "ambiguous"),
        ("CT", normalised, "MR", "ambiguous"),
        ("CT", lambda ct: (ct - ct.mean()) / ct.std(), "MR", "ambiguous"),
        ("CT", lambda ct: (normalised(ct) * 255).astype(np.uint8), "MR", "ambiguous"),
        ("CT", lambda ct: ct[3:5, 60:70, 60:70], "MR", "ambiguous"),
        ("MR", lambda mr: mr * 1, "MR", "assumed"),
        ("MR", lambda mr: mr * np.float32(0.01), "MR", "assumed"),
        ("MR", rings, "MR", "ambiguous"),
        ("MR", phase, "MR", "ambiguous"),
        ("MR", lambda mr: phase(mr) // 4, "MR", "ambiguous"),
        ("MR", lambda mr: phase(mr) * np.float32(np.pi / 4096), "MR", "ambiguous"),
        ("MR", lambda mr: mr - mr[:, ::-1], "MR", "ambiguous"),
        ("MR", normalised, "MR", "ambiguous"),
        ("MR", lambda mr: (normalised(mr) * 2000 - 1000).astype(np.int16), "MR", "ambiguous"),
        ("MR", lambda mr: (mr - mr.mean()) / mr.std(), "MR", "ambiguous"),
        ("MR", lambda mr: (mr > 500).astype(np.int16), "MR", "ambiguous"),
    ],
)
def test_the_distribution_tells_ct_from_mr(
    real: dict[str, np.ndarray],
    kind: str,
    change: Callable[[np.ndarray], np.ndarray],
    modality: str,
    source: str,
) -> None:
    volume = volume_from_slices(change(real[kind]), (3, 2, 2), "layer")
    assert (volume.modality, volume.modality_source) == (modality, source)


def test_a_ct_with_an_offset_is_never_seen_through_a_window_of_ct(
    real: dict[str, np.ndarray],
) -> None:
    lifted = volume_from_slices((real["CT"] + 1024).astype(np.uint16), (3, 2, 2), "layer")
    assert lifted.warnings == (LEFT_RIGHT_UNKNOWN,)
    chosen = lifted.with_modality("CT")
    assert "not Hounsfield units: none of them is below 0" in chosen.warnings[-1]
    low, high = default_window(chosen).limits
    assert low < 1024 + 40 < high
    assert high > 1024 + 300


@pytest.mark.parametrize(
    ("array", "spacing", "shape"),
    [
        (COUNTING, (3, 0.7, 0.5), (4, 5, 6)),
        (COUNTING[0], (0.7, 0.5), (1, 5, 6)),
        (np.stack([COUNTING[0]] * 3, -1).astype(np.uint8), (0.7, 0.5), (1, 5, 6, 3)),
        (np.stack([COUNTING] * 4, -1).astype(np.uint8), (3, 0.7, 0.5), (4, 5, 6, 3)),
    ],
)
def test_arrays_without_a_file(
    array: np.ndarray, spacing: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    volume = volume_from_slices(array, spacing, "layer")
    assert volume.data.shape == shape
    np.testing.assert_array_equal(volume.data.reshape(-1), array[..., : shape[-1]].reshape(-1))
    assert volume.spacing[-2:] == pytest.approx([0.7, 0.5])
    assert axis_codes(volume.affine) == ("S", "P", "L")
    assert any("left and right are unknown" in warning for warning in volume.warnings)
    assert array.flags.writeable


@pytest.mark.parametrize(
    ("array", "spacing", "message"),
    [
        (COUNTING, (1, 1, 0), "above 0"),
        (COUNTING, (1,), "2D or 3D"),
        (COUNTING[None], (1, 1, 1), "one number or one 8-bit RGB"),
        (COUNTING > 3, (1, 1, 1), "bool"),
        (np.zeros((0, 4, 4)), (1, 1, 1), "not one of shape"),
        (np.zeros((3, 4, 4)), (1, 1, 1), "every voxel has the value"),
    ],
)
def test_arrays_that_are_no_image(
    array: np.ndarray, spacing: tuple[float, ...], message: str
) -> None:
    with pytest.raises(VolumeError, match=f"layer: .*{message}"):
        volume_from_slices(array, spacing, "layer")


@pytest.mark.parametrize("space", ["right-anterior-superior", "LPS", "left-anterior-superior"])
def test_nrrd_spaces_are_turned_into_ours(tmp_path: Path, space: str) -> None:
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: 6 5 4\n"
        "space directions: (0.5,0,0) (0,0.7,0) (0,0,3)\nspace origin: (10,20,30)\n"
        "encoding: raw\nendian: little\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(header.encode() + COUNTING.astype("<i2").tobytes())
    volume = read_volume(tmp_path / "a.nrrd")
    signs = {"r": (-1, -1, 1), "L": (1, 1, 1), "l": (1, -1, 1)}[space[0]]
    index = index_of(COUNTING, 37)[::-1]
    expected = (np.array([10, 20, 30]) + index * [0.5, 0.7, 3]) * signs
    np.testing.assert_allclose(world(volume.affine, index_of(volume.data, 37)), expected)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("as_vector", [False, True])
def test_one_volume_of_other_time_series(tmp_path: Path, suffix: str, as_vector: bool) -> None:
    points = [COUNTING, COUNTING + 50, COUNTING * 2]
    if as_vector:
        image = sitk.GetImageFromArray(np.stack(points, -1), isVector=True)
    else:
        image = sitk.JoinSeries([sitk.GetImageFromArray(point) for point in points])
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    with pytest.raises(ChoiceError, match="holds 3 volumes"):
        read_volume(tmp_path / f"a{suffix}")
    for number, point in enumerate(points, start=1):
        volume = read_volume(tmp_path / f"a{suffix}", volume=number)
        np.testing.assert_array_equal(np.sort(volume.data, axis=None), np.sort(point, axis=None))
        assert volume.name == f"a [{number} of 3]"


@pytest.mark.parametrize(
    ("fields", "move"),
    [
        ("kinds: list domain domain domain", (0, 1, 2, 3)),
        ("kinds: domain vector domain domain", (1, 0, 2, 3)),
        ("kinds: domain domain domain time", (1, 2, 3, 0)),
        ("space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1) none", (1, 2, 3, 0)),
        ("space: LPS\nspace directions: none (1,0,0) (0,1,0) (0,0,1)", (0, 1, 2, 3)),
        ("", (1, 2, 3, 0)),
    ],
)
def test_an_axis_of_values_or_time_may_stand_anywhere(
    tmp_path: Path, fields: str, move: tuple[int, ...]
) -> None:
    volumes = np.stack([COUNTING, COUNTING + 500], 0)  # (volume, i, j, k), here taken as they come
    ordered = volumes.transpose(move)
    sizes = " ".join(map(str, ordered.shape))
    head = f"NRRD0004\ntype: short\ndimension: 4\nsizes: {sizes}\nencoding: raw\nendian: little\n"
    content = ordered.astype("<i2").tobytes(order="F")
    (tmp_path / "a.nrrd").write_bytes(
        f"{head}{fields}\n".replace("\n\n", "\n").encode() + b"\n" + content
    )
    for number, expected in enumerate(volumes, start=1):
        volume = read_volume(tmp_path / "a.nrrd", volume=number)
        np.testing.assert_array_equal(volume.to_source(volume.data), expected)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_header_whose_data_file_is_too_short(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(COUNTING), str(tmp_path / f"a{suffix}"))
    (tmp_path / "a.raw").write_bytes(bytes(10))
    with pytest.raises(VolumeError, match=rf"a\{suffix}: .*announces 240 bytes"):
        read_volume(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("option", [{"series": "1.2"}, {"resample": True}])
def test_what_means_nothing_for_a_file_is_refused(tmp_path: Path, option: dict) -> None:
    path = write_nifti(tmp_path / "a.nii")
    with pytest.raises(VolumeError, match=f"--{next(iter(option))} means nothing"):
        read_volume(path, **option)


def ascii_nrrd(path: Path, kind: str, figures: str) -> Path:
    head = f"NRRD0004\ntype: {kind}\ndimension: 3\nsizes: 3 1 1\nencoding: ascii\n\n"
    path.write_text(head + figures + "\n")
    return path


@pytest.mark.parametrize(
    ("kind", "figures", "expected"),
    [
        ("int64", f"{2**62 + 1} -5 7", [2**62 + 1, -5, 7]),
        ("uint64", f"{2**63 + 1}, 5, 7", [2**63 + 1, 5, 7]),
        ("short", "-3, 4\n5", [-3, 4, 5]),
        ("float", "1.5 -2e3 0.25", [1.5, -2000, 0.25]),
    ],
)
def test_voxels_in_figures_are_exact(
    tmp_path: Path, kind: str, figures: str, expected: list[float]
) -> None:
    volume = read_volume(ascii_nrrd(tmp_path / "a.nrrd", kind, figures))
    assert volume.to_source(volume.data).ravel().tolist() == expected


@pytest.mark.parametrize(
    ("kind", "figures"),
    [("uchar", "1 2 300"), ("short", "1 2.5 3"), ("short", "1 two 3"), ("uchar", "1 -2 3")],
)
def test_figures_of_another_type_are_refused(tmp_path: Path, kind: str, figures: str) -> None:
    with pytest.raises(VolumeError, match="its voxels are no numbers"):
        read_volume(ascii_nrrd(tmp_path / "a.nrrd", kind, figures))


NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\n"


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize(
    ("encoding", "skips", "before"),
    [
        ("raw", "byte skip: -1", b"any number of bytes"),
        ("raw", "byte skip: 5", b"12345"),
        ("raw", "line skip: 2", b"one\ntwo\n"),
        ("raw", "line skip: 1\nbyte skip: 3", b"a line\n123"),
        ("gzip", "byte skip: 4", b"1234"),  # of what is unpacked
        ("gzip", "line skip: 1", b""),
    ],
)
def test_what_an_nrrd_skips_is_no_voxel(
    tmp_path: Path, encoding: str, skips: str, before: bytes, detached: bool
) -> None:
    head = f"{NRRD}encoding: {encoding}\n{skips}\n"
    content = before + COUNTING.astype("<i2").tobytes()
    if encoding == "gzip":
        content = b"line\n" * ("line" in skips) + gzip.compress(content)
    if detached:
        (tmp_path / "a.raw").write_bytes(content)
        (tmp_path / "a.nhdr").write_text(f"{head}data file: a.raw\n")
    else:
        (tmp_path / "a.nrrd").write_bytes(f"{head}\n".encode() + content)
    volume = read_volume(tmp_path / ("a.nhdr" if detached else "a.nrrd"))
    np.testing.assert_array_equal(volume.to_source(volume.data), COUNTING.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("encoding", "skips", "words"),
    [
        ("raw", "byte skip: -2", "skips"),
        ("raw", "line skip: -1", "skips"),
        ("raw", "line skip: 1000", "no 1000 lines"),
        ("gzip", "byte skip: -1", "last bytes"),
    ],
)
def test_what_an_nrrd_cannot_skip_is_refused(
    tmp_path: Path, encoding: str, skips: str, words: str
) -> None:
    head = f"{NRRD}encoding: {encoding}\n{skips}\n\n".encode()
    (tmp_path / "a.nrrd").write_bytes(head + COUNTING.astype("<i2").tobytes())
    with pytest.raises(VolumeError, match=words):
        read_volume(tmp_path / "a.nrrd")


def nrrd_affine(path: Path, fields: str, sizes: str) -> np.ndarray:
    head = f"NRRD0004\ntype: short\ndimension: {len(sizes.split())}\nsizes: {sizes}\n"
    count = int(np.prod([int(size) for size in sizes.split()]))
    voxels = np.arange(count, dtype="<i2").tobytes()
    path.write_bytes(f"{head}{fields}encoding: raw\nendian: little\n\n".encode() + voxels)
    return read_volume(path).source.affine


def test_an_nrrd_of_one_slice_lies_where_it_says(tmp_path: Path) -> None:
    turned = grid_affine((0, 1, 2), (1, 1, 1), (10, -20, 30), (0.5, 0.7, 1.0))
    vectors = " ".join(f"({x!r},{y!r},{z!r})" for x, y, z in turned[:3, :2].T.tolist())
    place = f"space directions: {vectors}\nspace origin: (1,2,3)\n"
    found = nrrd_affine(tmp_path / "a.nrrd", f"space: left-posterior-superior\n{place}", "6 5")
    turned[:3, 3] = 1, 2, 3
    np.testing.assert_allclose(found, turned, atol=1e-9)


@pytest.mark.parametrize(("centers", "half"), [("node", 0.0), ("cell", 0.5)])
def test_an_nrrd_begins_where_its_axes_do(tmp_path: Path, centers: str, half: float) -> None:
    fields = (
        f"spacings: 0.5 0.7 3\naxis mins: 2 -4 5\ncenters: {' '.join([centers] * 3)}\n"
        'units: "cm" "cm" "cm"\n'
    )
    found = nrrd_affine(tmp_path / "a.nrrd", fields, "6 5 4")
    sizes = np.array([5.0, 7, 30])
    np.testing.assert_allclose(np.diag(found), [*sizes, 1])
    np.testing.assert_allclose(found[:3, 3], [20, -40, 50] + half * sizes)
