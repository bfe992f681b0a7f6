"""Which DICOM files make one volume: never two in one stack, never half of one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_slices import write_slices_of
from pydicom import Dataset
from pydicom.sequence import Sequence
from stress.samples import enhanced, save

from napari_medsamq.errors import ChoiceError, UnevenSlicesError, VolumeError
from napari_medsamq.io.volume import Volume, read_volume

pytestmark = pytest.mark.usefixtures("same_process")

Tags = dict[str, object]

COUNT = 5
ONE = np.random.default_rng(5).integers(-900, 1200, (COUNT, 6, 8)).astype(np.int16)
OTHER = (ONE + 3).astype(np.int16)
ABOVE = [[-10, 20, 3.0 * (COUNT + n)] for n in range(COUNT)]
SAGITTAL: Tags = {
    "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
    "ImagePositionPatient": [[3.0 * n, 20, 30] for n in range(COUNT)],
}


def choices(path: Path, **chosen: str) -> dict[str, str]:
    """Return what has to be chosen from."""
    with pytest.raises(ChoiceError) as error:
        read_volume(path, **chosen)  # type: ignore[arg-type]
    return error.value.choices


def both(path: Path, option: str = "volume") -> tuple[Volume, Volume]:
    """Read the first and the second of what is in a folder."""
    one, other = list(choices(path))[:2]
    if option == "series":
        return read_volume(path, series=one), read_volume(path, series=other)
    return read_volume(path, volume=int(one)), read_volume(path, volume=int(other))


def check_both(folder: Path, option: str = "volume") -> tuple[Volume, Volume]:
    """Check that the two volumes of a folder are found whole and unmixed."""
    volumes = both(folder, option)
    for volume, expected in zip(volumes, (ONE, OTHER), strict=True):
        np.testing.assert_array_equal(volume.data, expected)
    return volumes


# --- series ---


@pytest.mark.parametrize("uid", [None, "", "0", "1.2.3.2"])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("SeriesNumber", (2, 3)),
        ("SeriesDescription", ("native", "venous")),
        ("PatientID", ("P1", "P2")),
        ("PatientName", ("Doe^A", "Doe^B")),
        ("StudyInstanceUID", ("1.2.9.1", "1.2.9.2")),
        ("Modality", ("CT", "PT")),
        ("FrameOfReferenceUID", ("1.2.9.1", "1.2.9.2")),
    ],
)
def test_series_of_one_uid_or_none_are_told_apart(
    tmp_path: Path, uid: str | None, name: str, values: tuple[object, object]
) -> None:
    # One lies where the other ends, so that together they would be an even stack.
    for prefix, voxels, value, place in (
        ("a", ONE, values[0], None),
        ("b", OTHER, values[1], ABOVE),
    ):
        tags = {"SeriesInstanceUID": uid, name: value}
        if place is not None:
            tags["ImagePositionPatient"] = place
        write_slices_of(tmp_path, voxels, prefix, **tags)
    for volume, value in zip(check_both(tmp_path, "series"), values, strict=True):
        told = any("Series Instance UID" in warning for warning in volume.warnings)
        assert told == (uid != "1.2.3.2")
        number = 1 + values.index(value)
        assert volume.name.startswith(f"{tmp_path.name} [{number} of 2")
        if name in ("SeriesNumber", "SeriesDescription", "PatientID"):
            assert str(value) in volume.name
        # Neither free text nor a patient gets into what is kept of a label.
        (part,) = volume.parts
        assert (str(value) in part.anonymous) == (name in ("SeriesNumber", "Modality"))


def test_a_series_without_a_uid_is_read_and_told(tmp_path: Path) -> None:
    write_slices_of(tmp_path, ONE, SeriesInstanceUID=None, StudyInstanceUID="")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, ONE)
    assert volume.name == tmp_path.name
    (warning,) = volume.warnings
    assert "no Series Instance UID" in warning


def test_a_frame_of_reference_for_each_slice_tells_nothing(tmp_path: Path) -> None:
    references = [f"1.2.8.{n}" for n in range(COUNT)]
    write_slices_of(tmp_path, ONE, FrameOfReferenceUID=references)
    np.testing.assert_array_equal(read_volume(tmp_path).data, ONE)


def test_the_list_of_series_has_what_tells_them_apart(tmp_path: Path) -> None:
    for prefix, number in (("a", 2), ("b", 3)):
        uid = f"1.2.3.2{number}"
        write_slices_of(tmp_path, ONE, prefix, SeriesInstanceUID=uid, SeriesNumber=number)
    assert choices(tmp_path)["1.2.3.22"] == "made up, CT, 5 slices, Series Number 2"
    assert read_volume(tmp_path, series="1.2.3.23").name.endswith("[2 of 2: Series Number 3]")


# --- volumes at the same places ---

M, P = ["ORIGINAL", "PRIMARY", "M", "ND"], ["ORIGINAL", "PRIMARY", "P", "ND"]
TOLD = [
    ("EchoTime", (2.3, 4.6), "EchoTime 4.6"),
    ("KVP", ("100", "140"), "KVP 140"),
    ("ConvolutionKernel", ("B30f", "B60f"), "ConvolutionKernel B60f"),
    ("ReconstructionDiameter", ("250", "500"), "ReconstructionDiameter 500"),
    ("ContrastBolusAgent", (None, "Iomeprol"), "ContrastBolusAgent Iomeprol"),
    ("DiffusionBValue", (0.0, 800.0), "DiffusionBValue 800.0"),
    ("DiffusionGradientOrientation", ([0, 1, 0.5], [1, 0, 0.5]), None),
    ("TemporalPositionIdentifier", (2, 10), "TemporalPositionIdentifier 10"),
    ("NominalPercentageOfCardiacPhase", (40.0, 75.0), "NominalPercentageOfCardiacPhase 75.0"),
    ("TriggerTime", ("0", "45"), "TriggerTime 45"),
    ("InversionTime", ("150", "800"), "InversionTime 800"),
    ("ImageType", (M, P), "ImageType P"),
    ("ComplexImageComponent", ("MAGNITUDE", "PHASE"), "ComplexImageComponent PHASE"),
    ("SequenceName", ("ep_b0", "ep_b800#1"), "SequenceName ep_b800#1"),
    ("AcquisitionNumber", (1, 2), "AcquisitionNumber 2"),
    ("FrameReferenceTime", ("1000", "61000"), "FrameReferenceTime 61000"),
    ("AcquisitionTime", ("101500", "101530"), "AcquisitionTime 101530"),
    ("ContentTime", ("103235", "103238"), "ContentTime 103238"),
]


@pytest.mark.parametrize(("name", "values", "by"), TOLD, ids=[name for name, *_ in TOLD])
def test_volumes_at_one_place_are_told_apart(
    tmp_path: Path, name: str, values: tuple[object, object], by: str | None
) -> None:
    write_slices_of(tmp_path, ONE, "a", **{name: values[0]})
    write_slices_of(tmp_path, OTHER, "b", **{name: values[1]})
    _, other = check_both(tmp_path)
    if by is not None:
        assert other.name in (f"{tmp_path.name} [{n} of 2: {by}]" for n in (1, 2))
        assert f"{by}, 5 slices" in choices(tmp_path).values()


@pytest.mark.parametrize(
    ("maker", "tag", "kind", "values"),
    [
        ("SIEMENS MR HEADER", (0x0019, 0x100C), "IS", (0, 800)),
        ("Philips Imaging DD 001", (0x2001, 0x1003), "FL", (0.0, 800.0)),
        ("GEMS_PARM_01", (0x0043, 0x1039), "IS", ([1000000000, 8, 0, 0], [1000000800, 8, 0, 0])),
        ("GEMS_PARM_01", (0x0043, 0x102F), "SS", (0, 3)),
    ],
)
def test_attributes_of_makers_tell_volumes_apart(
    tmp_path: Path, maker: str, tag: tuple[int, int], kind: str, values: tuple[object, object]
) -> None:
    for prefix, voxels, value in (("a", ONE, values[0]), ("b", OTHER, values[1])):
        for path in write_slices_of(tmp_path, voxels, prefix):
            change(path, maker, tag, kind, value)
    _, other = check_both(tmp_path)
    assert f"[2 of 2: {'part 3' if kind == 'SS' else 'b-value 800'}" in other.name


def change(path: Path, maker: str, tag: tuple[int, int], kind: str, value: object) -> None:
    dataset = pydicom.dcmread(path)
    dataset.private_block(tag[0], maker, create=True).add_new(tag[1] & 0xFF, kind, value)
    dataset.save_as(path)


def test_two_attributes_may_tell_volumes_apart_together(tmp_path: Path) -> None:
    for n, (echo, kind) in enumerate([(2.3, M), (2.3, P), (4.6, M), (4.6, P)]):
        voxels = (ONE + n).astype(np.int16)
        # What the files are called would tell, too.
        write_slices_of(tmp_path / str(n), voxels, EchoTime=echo, ImageType=kind)
    assert choices(tmp_path)["4"] == "EchoTime 4.6, ImageType P, 5 slices"
    for n in range(4):
        np.testing.assert_array_equal(read_volume(tmp_path, volume=n + 1).data, ONE + n)


def test_a_phase_without_one_slice_is_a_volume_that_is_told_to_lack_it(tmp_path: Path) -> None:
    write_slices_of(tmp_path, ONE, "a", TriggerTime="0")
    write_slices_of(tmp_path, OTHER, "b", TriggerTime="45")[1].unlink()
    assert list(choices(tmp_path).values()) == [
        "TriggerTime 0, 5 slices",
        "TriggerTime 45, 4 slices",
    ]
    np.testing.assert_array_equal(read_volume(tmp_path, volume=1).data, ONE)
    with pytest.raises(UnevenSlicesError, match=r"slices are missing.*b000\.dcm and b002\.dcm"):
        read_volume(tmp_path, volume=2)


def test_times_that_differ_from_slice_to_slice_are_taken_in_their_order(tmp_path: Path) -> None:
    write_slices_of(tmp_path, ONE, "a", TriggerTime=[0, 2, 4, 6, 8], InstanceNumber=1)
    write_slices_of(tmp_path, OTHER, "b", TriggerTime=[40, 41, 45, 44, 43], InstanceNumber=1)
    call_by_number(tmp_path)
    told_by(tmp_path, "order of TriggerTime")


def test_pictures_of_one_place_are_told_apart_by_their_files(tmp_path: Path) -> None:
    for prefix, voxels in (("left", ONE), ("right", OTHER)):
        write_slices_of(tmp_path, voxels[:1], prefix, InstanceNumber=1)
    found = choices(tmp_path)
    assert list(found.values()) == ["file left000.dcm, 1 slice", "file right000.dcm, 1 slice"]
    np.testing.assert_array_equal(read_volume(tmp_path, volume=2).data, OTHER[:1])


def test_uneven_volumes_are_told_apart_though_their_places_vary_a_bit(tmp_path: Path) -> None:
    heights = [0.0, 3.0, 9.0, 12.0, 15.0]
    for prefix, voxels, bit in (("a", ONE, 0.0), ("b", OTHER, 0.02)):
        place = [[-10, 20, height + bit] for height in heights]
        write_slices_of(tmp_path, voxels, prefix, EchoTime=2 + bit, ImagePositionPatient=place)
    # They are no echoes: times that differ by less than a hundredth are one.
    with pytest.raises(UnevenSlicesError):
        read_volume(tmp_path)
    for path in tmp_path.glob("b*"):
        change(path, "SIEMENS MR HEADER", (0x0019, 0x100C), "IS", 800)
    for path in tmp_path.glob("a*"):
        change(path, "SIEMENS MR HEADER", (0x0019, 0x100C), "IS", 0)
    assert list(choices(tmp_path).values()) == ["b-value 0, 5 slices", "b-value 800, 5 slices"]
    for volume, voxels in ((1, ONE), (2, OTHER)):
        with pytest.raises(UnevenSlicesError, match=r"6 mm between slices 2 and 3"):
            read_volume(tmp_path, volume=volume)
        resampled = read_volume(tmp_path, volume=volume, resample=True)
        np.testing.assert_array_equal(resampled.data[[0, 1, 3, 4, 5]], voxels)


def test_times_tell_such_volumes_apart_only_if_each_has_a_slice_at_every_place(
    tmp_path: Path,
) -> None:
    heights = [0.0, 3.0, 9.0, 12.0, 15.0]
    for prefix, voxels, number, bit in (("a", ONE, 1, 0.0), ("b", OTHER, 2, 0.02)):
        place = [[-10, 20, height + bit] for height in heights]
        at = [f"{101500 + 30 * number + n}" for n in range(COUNT)]
        tags = {"TriggerTime": [0, 0, 0, 9, 9], "AcquisitionNumber": number, "ContentTime": at}
        write_slices_of(tmp_path, voxels, prefix, **tags, ImagePositionPatient=place)
    call_by_number(tmp_path)
    assert list(choices(tmp_path).values()) == [
        "AcquisitionNumber 1, 5 slices",
        "AcquisitionNumber 2, 5 slices",
    ]
    for volume, voxels in ((1, ONE), (2, OTHER)):
        resampled = read_volume(tmp_path, volume=volume, resample=True)
        np.testing.assert_array_equal(resampled.data[[0, 1, 3, 4, 5]], voxels)
    min(tmp_path.iterdir()).unlink()
    with pytest.raises(UnevenSlicesError, match=r"0\.02 mm apart"):
        read_volume(tmp_path)


# --- volumes that do not lie at the same places ---


@pytest.mark.parametrize("shift", [1.5, 18.0], ids=["between", "above"])
def test_what_is_the_same_in_a_whole_volume_parts_uneven_ones_too(
    tmp_path: Path, shift: float
) -> None:
    heights = np.array([0.0, 3.0, 9.0, 12.0, 15.0])
    for prefix, voxels, place in (("a", ONE, heights), ("b", OTHER, heights + shift)):
        places = [[-10, 20, height] for height in place.tolist()]
        write_slices_of(tmp_path, voxels, prefix, ImagePositionPatient=places)
    # One slice of another kind, and the others, are no two volumes.
    for n, path in enumerate(tmp_path.iterdir()):
        change(path, "SIEMENS MR HEADER", (0x0019, 0x100C), "IS", 0 if n else 800)
    with pytest.raises(UnevenSlicesError, match="the 10 slices"):
        read_volume(tmp_path)
    for prefix, value in (("a", 0), ("b", 800)):
        for path in tmp_path.glob(f"{prefix}*"):
            change(path, "SIEMENS MR HEADER", (0x0019, 0x100C), "IS", value)
    for volume, voxels in ((1, ONE), (2, OTHER)):
        with pytest.raises(UnevenSlicesError, match=r"6 mm between slices 2 and 3"):
            read_volume(tmp_path, volume=volume)
        resampled = read_volume(tmp_path, volume=volume, resample=True)
        np.testing.assert_array_equal(resampled.data[[0, 1, 3, 4, 5]], voxels)


@pytest.mark.parametrize(
    "place", [ABOVE, [[-10, 20, 3.0 * n + 1.5] for n in range(COUNT)]], ids=["above", "between"]
)
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ConvolutionKernel", ("B30f", "B60f")),
        ("KVP", (100, 140)),
        ("EchoTime", (2.3, 4.6)),
        ("ImageType", (M, P)),
    ],
)
def test_what_is_the_same_in_a_whole_volume_parts_an_even_stack(
    tmp_path: Path, place: list[object], name: str, values: tuple[object, object]
) -> None:
    write_slices_of(tmp_path, ONE, "a", **{name: values[0]})
    write_slices_of(tmp_path, OTHER, "b", **{name: values[1]}, ImagePositionPatient=place)
    check_both(tmp_path)


def test_acquisitions_that_lie_a_bit_beside_each_other_are_two_volumes(tmp_path: Path) -> None:
    beside = [[-10, 20, 3.0 * n + 0.8] for n in range(COUNT)]
    write_slices_of(tmp_path, ONE, "a", AcquisitionNumber=1)
    write_slices_of(tmp_path, OTHER, "b", AcquisitionNumber=2, ImagePositionPatient=beside)
    check_both(tmp_path)


@pytest.mark.parametrize(
    "tags",
    [
        {"AcquisitionNumber": [1, 2, 1, 2, 1]},
        {"AcquisitionTime": ["101500", "101530", "101500", "101530", "101500"]},
        {"FrameReferenceTime": ["1000", "1000", "1000", "61000", "61000"]},
        {"EchoTime": [2.300, 2.302, 2.299, 2.301, 2.3]},
        {
            "ContentTime": ["101501", "101502", "101504", "101503", "101505"],
            "InstanceNumber": [4, 2, 3, 1, 5],
        },
        {"ContrastBolusAgent": [None, None, *["Iomeprol"] * 3]},
        {"KVP": ["120", "120.0", "120", "120.0", "120"]},
    ],
    ids=str,
)
def test_what_differs_between_slices_of_one_volume_does_not_part_it(
    tmp_path: Path, tags: Tags
) -> None:
    write_slices_of(tmp_path, ONE, **tags)
    np.testing.assert_array_equal(read_volume(tmp_path).data, ONE)


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [([1, 2] * 5, 8), ([1] * 5 + [2] * 5, 5), ([1] * 5 + [2] * 5, 2)],
    ids=["odd and even", "between two", "within one"],
)
def test_a_missing_slice_does_not_make_two_volumes_of_one(
    tmp_path: Path, numbers: list[int], missing: int
) -> None:
    voxels = np.concatenate([ONE, OTHER])
    paths = write_slices_of(tmp_path, voxels, AcquisitionNumber=numbers)
    paths[missing].unlink()
    beside = rf"between {missing - 1:03}\.dcm and {missing + 1:03}\.dcm"
    with pytest.raises(UnevenSlicesError, match=beside):
        read_volume(tmp_path)


def test_acquisitions_that_overlap_are_volumes(tmp_path: Path) -> None:
    for n in range(3):
        place = [[-10, 20, 3.0 * (m + n * (COUNT - 1))] for m in range(COUNT)]
        voxels = (ONE + n).astype(np.int16)
        write_slices_of(
            tmp_path, voxels, str(n), AcquisitionNumber=n + 1, ImagePositionPatient=place
        )
    for n in range(3):
        np.testing.assert_array_equal(read_volume(tmp_path, volume=n + 1).data, ONE + n)


# --- pictures of other kinds ---


@pytest.mark.parametrize(
    ("tags", "by"),
    [
        ({**SAGITTAL, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer, sagittal"),
        ({**SAGITTAL, "ImagePositionPatient": [3, 20, 30]}, "sagittal"),
        ({"Rows": 3, "Columns": 16}, "16 x 3 pixels"),
        (
            {"ImageOrientationPatient": [1, 0, 0, 0, 0.8, 0.6]},
            "rows and columns along 1 0 0 and 0 0.8 0.6",
        ),
        ({"PixelSpacing": [1.5, 1.5]}, "pixels of 1.5 x 1.5 mm"),
        ({"ImagePositionPatient": None, "Rows": 3, "Columns": 16}, "without a place"),
    ],
    ids=["localizer", "plane", "size", "direction", "pixels", "no place"],
)
def test_a_lone_picture_of_another_kind_is_left_out_by_name(
    tmp_path: Path, tags: Tags, by: str
) -> None:
    write_slices_of(tmp_path, ONE, "a")
    count = COUNT if "LOCALIZER" in str(tags) else 1
    write_slices_of(tmp_path, OTHER[:count], "b", **tags)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, ONE)
    (warning,) = volume.warnings
    assert f"b000.dcm: {by}" in warning
    assert volume.name == tmp_path.name
    other = read_volume(tmp_path, volume=2)
    assert other.data.size == OTHER[:count].size
    assert f"[2 of 2: {by}" in other.name


def test_a_folder_of_one_slice_is_told_to_hold_one(tmp_path: Path) -> None:
    (path,) = write_slices_of(tmp_path, ONE[:1])
    (warning,) = read_volume(tmp_path).warnings
    assert "folder holds one slice only" in warning
    (of_file,) = read_volume(path).warnings
    assert "open its folder" in of_file


def test_pixels_of_no_size_are_taken_for_1_mm_and_that_is_told(tmp_path: Path) -> None:
    write_slices_of(tmp_path, ONE, PixelSpacing=None)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.spacing, [3, 1, 1])
    assert any("1 mm is assumed" in warning for warning in volume.warnings)


def test_a_folder_without_images_names_the_first_file_that_may_have_been_one(
    tmp_path: Path,
) -> None:
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(9))
    with pytest.raises(VolumeError, match=r"holds no DICOM images \(a\.dcm: "):
        read_volume(tmp_path)


def test_stacks_of_several_kinds_are_offered(tmp_path: Path) -> None:
    write_slices_of(tmp_path, ONE, "a")
    write_slices_of(
        tmp_path,
        OTHER[:3],
        "b",
        **SAGITTAL | {"ImagePositionPatient": [[3.0 * n, 0, 0] for n in range(3)]},
    )
    write_slices_of(tmp_path, ONE[:2], "c", Rows=3, Columns=16)
    with pytest.raises(ChoiceError, match="are 3 volumes") as error:
        read_volume(tmp_path)
    assert "at the same places" not in str(error.value)
    assert list(error.value.choices.values()) == [
        "axial, 8 x 6 pixels, 5 slices",
        "sagittal, 8 x 6 pixels, 3 slices",
        "axial, 16 x 3 pixels, 2 slices",
    ]
    np.testing.assert_array_equal(read_volume(tmp_path, volume=1).data, ONE)


@pytest.mark.parametrize(
    ("count", "said"), [(1, "b000.dcm)."), (5, "b004.dcm)."), (6, "b004.dcm, ...).")]
)
def test_a_slice_that_lost_its_place_is_never_left_out(
    tmp_path: Path, count: int, said: str
) -> None:
    write_slices_of(tmp_path, ONE, "a")
    lost = np.concatenate([OTHER, OTHER])[:count]
    write_slices_of(tmp_path, lost, "b", ImagePositionPatient=None)
    with pytest.raises(VolumeError, match=r"do not say where they lie .*b000\.dcm") as error:
        read_volume(tmp_path)
    assert said in str(error.value)


def stacks(turned: bool) -> Dataset:
    """Make an enhanced file of two stacks, the second turned or above the first."""
    dataset = enhanced(np.concatenate([ONE, OTHER]))
    frames = list(dataset.PerFrameFunctionalGroupsSequence)[::-1]
    turn = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    if turned:
        del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for n, frame in enumerate(frames):
        content = Dataset()
        content.StackID, content.InStackPositionNumber = str(1 + n // COUNT), 1 + n % COUNT
        frame.FrameContentSequence = Sequence([content])
        if not turned:
            continue
        frame.PlaneOrientationSequence = turn
        if n >= COUNT:
            other = Dataset()
            other.ImageOrientationPatient = SAGITTAL["ImageOrientationPatient"]
            frame.PlaneOrientationSequence = Sequence([other])
            place = frame.PlanePositionSequence[0]
            place.ImagePositionPatient = [3.0 * (n - COUNT), 20, 30]
    return dataset


@pytest.mark.parametrize("turned", [True, False])
def test_stacks_of_one_file_are_volumes(tmp_path: Path, turned: bool) -> None:
    path = save(stacks(turned), tmp_path / "a.dcm")
    found = {volume.name.split(" of 2: ")[1]: volume for volume in both(path)}
    assert sorted(found) == (["axial]", "sagittal]"] if turned else ["StackID 1]", "StackID 2]"])
    scaled = np.concatenate([ONE, OTHER]).clip(0, 4095) * 2.0
    scaled -= 5 * np.arange(2 * COUNT)[:, None, None]
    for name, expected in zip(sorted(found), (scaled[:COUNT], scaled[COUNT:]), strict=True):
        values = np.sort(found[name].data, axis=None)
        np.testing.assert_array_equal(values, np.sort(expected, axis=None))


def word(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]


def number(dataset: Dataset) -> None:
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 9)


@pytest.mark.parametrize("mark", [word, number])
@pytest.mark.parametrize("opened", ["a000.dcm", ""])
def test_a_mosaic_is_refused(tmp_path: Path, mark: Callable[[Dataset], None], opened: str) -> None:
    for path in write_slices_of(tmp_path, ONE[:2], "a", Modality="MR"):
        dataset = pydicom.dcmread(path)
        mark(dataset)
        dataset.save_as(path)
    with pytest.raises(VolumeError, match=r"a000\.dcm.*Siemens mosaic; convert with dcm2niix"):
        read_volume(tmp_path / opened)


def test_an_enhanced_file_may_keep_the_word_mosaic(tmp_path: Path) -> None:
    dataset = enhanced(ONE)
    word(dataset)
    assert read_volume(save(dataset, tmp_path / "a.dcm")).data.shape == ONE.shape


# --- copies ---


@pytest.mark.parametrize("uid", ["1.2.3.7", None, "0"])
def test_copies_are_what_has_the_same_pixels(tmp_path: Path, uid: str | None) -> None:
    paths = write_slices_of(tmp_path, ONE, SOPInstanceUID=uid)
    shutil.copy(paths[1], tmp_path / "copy.dcm")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, ONE)
    assert any("1 slices are in the folder twice" in warning for warning in volume.warnings)
    write_slices_of(
        tmp_path,
        OTHER[1:2],
        "other",
        SOPInstanceUID=uid,
        InstanceNumber=2,
        ImagePositionPatient=[-10, 20, 3],
    )
    with pytest.raises(VolumeError, match=r"lie at one place \(001\.dcm, other000\.dcm\)"):
        read_volume(tmp_path)


def test_a_copy_may_have_a_uid_of_its_own(tmp_path: Path) -> None:
    write_slices_of(tmp_path, ONE, "a", KVP=100)
    write_slices_of(tmp_path, OTHER, "b", KVP=140)
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a000.dcm", tmp_path / "b003.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = "1.2.3.7"
        save(dataset, tmp_path / "b" / path.name)
    one, _ = check_both(tmp_path)
    assert any("2 slices are in the folder twice" in warning for warning in one.warnings)


def test_slices_of_one_value_are_no_copies(tmp_path: Path) -> None:
    for prefix, voxels, first in (("a", ONE, 1), ("b", OTHER, 1 + COUNT)):
        voxels = np.where(np.arange(COUNT)[:, None, None] == 0, 0, voxels).astype(np.int16)
        uids = [f"1.2.3.4.{first + n}" for n in range(COUNT)]
        write_slices_of(tmp_path, voxels, prefix, SOPInstanceUID=uids)
    assert [said.endswith(", 5 slices") for said in choices(tmp_path).values()] == [True] * 2


# --- where nothing in the files tells ---


def told_by(folder: Path, by: str) -> None:
    """Check that two volumes are found, and that the user is told what tells them apart."""
    one, other = check_both(folder)
    assert any(f"Nothing but the {by}" in warning for warning in one.warnings)
    assert f"[2 of 2: {by.removeprefix('order of ')} " in other.name


@pytest.mark.parametrize(
    ("names", "by"), [(("early/", "late/"), "folder"), (("E1_", "E2_"), "file name")]
)
def test_what_files_are_called_tells_volumes_apart(
    tmp_path: Path, names: tuple[str, str], by: str
) -> None:
    for name, voxels in zip(names, (ONE, OTHER), strict=True):
        folder, _, prefix = name.rpartition("/")
        write_slices_of(tmp_path / folder, voxels, prefix)
    told_by(tmp_path, by)


def test_both_folder_and_file_name_are_named_where_either_is_needed(tmp_path: Path) -> None:
    for n, (folder, prefix) in enumerate((f, p) for f in ("early", "late") for p in ("E1_", "E2_")):
        write_slices_of(tmp_path / folder, (ONE + n).astype(np.int16), prefix)
    last = read_volume(tmp_path, volume=4)
    np.testing.assert_array_equal(last.data, ONE + 3)
    assert any("Nothing but the folder and the file name tell" in told for told in last.warnings)


def call_by_number(folder: Path) -> None:
    """Give files names that tell nothing."""
    for n, path in enumerate(sorted(folder.iterdir(), key=lambda path: path.name[1:])):
        path.rename(folder / f"IM{n:03}.dcm")


@pytest.mark.parametrize("uids", ["in turn", "one after the other"])
def test_uids_in_order_are_the_last_resort(tmp_path: Path, uids: str) -> None:
    for k, (prefix, voxels) in enumerate((("a", ONE), ("b", OTHER))):
        numbers = [2 * n + k if uids == "in turn" else COUNT * k + n for n in range(COUNT)]
        named = [f"1.2.3.4.{9 + number}" for number in numbers]
        write_slices_of(tmp_path, voxels, prefix, SOPInstanceUID=named)
    call_by_number(tmp_path)
    told_by(tmp_path, "order of SOP Instance UID")


def test_instance_numbers_go_before_uids(tmp_path: Path) -> None:
    write_slices_of(tmp_path, ONE, "a")
    write_slices_of(tmp_path, OTHER, "b", InstanceNumber=[6, 7, 8, 9, 10])
    call_by_number(tmp_path)
    told_by(tmp_path, "order of Instance Number")


def test_uids_without_order_tell_nothing(tmp_path: Path) -> None:
    uids = [7, 2, 6, 1, 10, 4, 8, 3, 5, 9]
    named = [f"1.2.3.4.{uid}" for uid in uids]
    write_slices_of(tmp_path, ONE, "a", SOPInstanceUID=named[:COUNT])
    write_slices_of(tmp_path, OTHER, "b", SOPInstanceUID=named[COUNT:])
    call_by_number(tmp_path)
    with pytest.raises(VolumeError, match=r"lie at one place \(IM000\.dcm, IM001\.dcm\)"):
        read_volume(tmp_path)
