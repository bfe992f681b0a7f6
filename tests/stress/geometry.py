"""Whether every reader finds labelled voxels where they were drawn, on grids of all kinds.

Sources are NIfTI, NRRD, MetaImage and, where a grid is right-handed, DICOM. On each, 100 voxels get
a label of their own, which is saved by what the dock saves with and by `medsamq replay`. Readers
other than ours say where each label lies in the patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import highdicom
import nibabel as nib
import nrrd
import numpy as np
import SimpleITK as sitk
import typer
from typer.testing import CliRunner

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.cli.main import app
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.io.label_writer import write_label
from napari_medsamq.io.volume import read_volume, volume_hash
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.recording import Recorder
from tests.helpers import nifti_oracle
from tests.helpers.dicom_series import write_series
from tests.helpers.grids import ALL_48, grid_affine
from tests.helpers.scripted_engine import ScriptedEngine

SHAPE = (8, 7, 5)
POINTS = 100
TOLERANCE_MM = 1e-3
RAS = np.diag([-1.0, -1, 1, 1])
# By label id: where it lies, LPS mm.
Places = Mapping[int, np.ndarray]
Reader = Callable[[Path], Places]


def grids() -> Iterator[tuple[str, np.ndarray]]:
    """Yield the 48 orientations of a grid, and 10 oblique ones, with what each is called."""
    for axes, signs in ALL_48:
        yield f"axes {axes}, signs {signs}", grid_affine(axes, signs)
    random = np.random.default_rng(10)
    for _ in range(10):
        axes, signs = ALL_48[random.integers(48)]
        degrees = tuple(random.uniform(-40, 40, 3).round(2).tolist())
        sizes = tuple(random.uniform(0.3, 5, 3).tolist())
        affine = grid_affine(axes, signs, degrees, sizes)
        affine[:3, 3] = random.uniform(-900, 900, 3)
        yield f"axes {axes}, signs {signs}, turned by {degrees}", affine


def places(labels: np.ndarray, affine: np.ndarray) -> Places:
    """Return where the labels of an array lie, by an affine of the order of its axes."""
    return {int(labels[tuple(at)]): (affine @ [*at, 1])[:3] for at in np.argwhere(labels)}


def by_nibabel(path: Path) -> Places:
    image = nib.load(path)
    return places(np.asarray(image.dataobj), RAS @ image.affine)


def by_oracle(path: Path) -> Places:
    found = nifti_oracle.parse(path)
    return places(found.data, found.lps)


def by_simpleitk(path: Path) -> Places:
    image = sitk.ReadImage(str(path))
    labels = sitk.GetArrayViewFromImage(image).T
    return {
        int(labels[tuple(at)]): np.array(image.TransformIndexToPhysicalPoint(at.tolist()))
        for at in np.argwhere(labels)
    }


def by_pynrrd(path: Path) -> Places:
    labels, header = nrrd.read(str(path))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = header["space directions"].T, header["space origin"]
    return places(labels, affine)


def by_highdicom(path: Path) -> Places:
    seg = highdicom.seg.segread(path)
    volume = seg.get_volume(combine_segments=True)
    # Segments are counted without gaps; here labels are too.
    return places(volume.array, np.asarray(volume.affine))


READERS: dict[str, dict[str, Reader]] = {
    ".nii.gz": {"nibabel": by_nibabel, "SimpleITK": by_simpleitk, "header": by_oracle},
    ".seg.nrrd": {"pynrrd": by_pynrrd, "SimpleITK": by_simpleitk},
    ".dcm": {"highdicom": by_highdicom},
}
OF_IMAGES: dict[str, dict[str, Reader]] = {
    ".nii": {"nibabel": by_nibabel, "SimpleITK": by_simpleitk, "header": by_oracle},
    ".nrrd": {"pynrrd": by_pynrrd, "SimpleITK": by_simpleitk},
    ".mha": {"SimpleITK": by_simpleitk},
}


def write_image(folder: Path, kind: str, voxels: np.ndarray, affine: np.ndarray) -> Path:
    """Write voxels (i, j, k) as an image of a kind, by a writer that is not ours."""
    path = folder / f"image{kind}"
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if kind == "":
        return write_series(path, voxels, affine)
    if kind == ".nii":
        image = nib.Nifti1Image(voxels, RAS @ affine)
        image.set_qform(RAS @ affine, code=1)
        image.set_sform(RAS @ affine, code=1)
        nib.save(image, path)
        return path
    written = sitk.GetImageFromArray(voxels.T)
    written.SetSpacing(sizes.tolist())
    written.SetDirection((affine[:3, :3] / sizes).ravel().tolist())
    written.SetOrigin(affine[:3, 3].tolist())
    sitk.WriteImage(written, str(path))
    return path


def save_both_ways(folder: Path, image: Path, numbered: np.ndarray, suffix: str) -> list[Path]:
    """Save labels (i, j, k) as the dock does and as the command line does."""
    volume = read_volume(image)
    session = AnnotationSession(volume, ScriptedEngine(), IDENTITY)
    kept = folder / f"{image.name}{suffix}.journal"
    journal = Journal(kept, volume, volume_hash(volume), None, lambda _error: None)
    recorder = Recorder(session, journal, None)
    label = volume.from_source(numbered).reshape(-1)
    voxels = np.flatnonzero(label)
    session.history.change("points", voxels, label[voxels].astype(np.uint16), ())
    recorder.close()
    by_dock, by_command = (folder / f"{who}-{image.name}{suffix}" for who in ("dock", "command"))
    write_label(by_dock, session.label, session.volume, session.styles)
    result = CliRunner().invoke(
        app, ["replay", str(kept), str(image), "-o", str(by_command)], catch_exceptions=False
    )
    if result.exit_code:
        raise RuntimeError(result.output)
    return [by_dock, by_command]


def mismatches(found: Places, expected: Places) -> int:
    """Count the points that a reader finds elsewhere, or not, or that nobody has drawn."""
    wrong = len(found.keys() ^ expected.keys())
    for label_id in found.keys() & expected.keys():
        wrong += bool(np.linalg.norm(found[label_id] - expected[label_id]) > TOLERANCE_MM)
    return wrong


def check(folder: Path, affine: np.ndarray) -> Iterator[tuple[str, int]]:
    """Yield what was read by whom, and how many points are wrong, for one grid."""
    random = np.random.default_rng(0)
    numbered = np.zeros(SHAPE, np.int16)
    chosen = random.permutation(numbered.size)[:POINTS]
    numbered.reshape(-1)[chosen] = np.arange(1, POINTS + 1)
    expected = places(numbered, affine)
    kinds = [".nii", ".nrrd", ".mha"]
    if np.linalg.det(affine[:3, :3]) > 0:
        kinds.append("")  # a DICOM folder
    for kind in kinds:
        image = write_image(folder, kind, numbered, affine)
        for who, read in OF_IMAGES.get(kind, {}).items():
            yield f"image{kind} by {who}", mismatches(read(image), expected)
        volume = read_volume(image)
        own = places(volume.data, volume.affine)
        yield f"image{kind or ' of DICOM'} by read_volume", mismatches(own, expected)
        for suffix, readers in READERS.items():
            if suffix == ".dcm" and kind:
                continue
            for saved in save_both_ways(folder, image, numbered, suffix):
                for who, read in readers.items():
                    yield f"{saved.name} by {who}", mismatches(read(saved), expected)


def geometry(
    verbose: Annotated[bool, typer.Option("--verbose", help="Name each grid.")] = False,
) -> None:
    """Count labelled points that some reader finds elsewhere than they were drawn; 0 is right."""
    wrong = files = count = 0
    for count, (name, affine) in enumerate(grids(), start=1):
        with TemporaryDirectory() as folder:
            for what, found in check(Path(folder), affine):
                files += 1
                wrong += found
                if found:
                    typer.echo(f"{name}: {what}: {found} of {POINTS} points lie elsewhere")
        if verbose:
            typer.echo(f"{count}: {name}")
    typer.echo(f"{count} grids, {files} readings of {POINTS} points")
    typer.echo(f"points more than {TOLERANCE_MM} mm from where they were drawn: {wrong} (goal 0)")
    if wrong:
        raise typer.Exit(1)
