"""What two programs read from a folder of DICOM: this one and dcm2niix.

Values are what is meant, stored ones by slope and intercept. They have to be exactly the same where
these are whole; where they are not, up to what float32 cannot hold, which NIfTI has for both.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from napari_medsamq.errors import ChoiceError, UnevenSlicesError, VolumeError
from napari_medsamq.io.volume import Volume, read_volume
from tests.stress.dicom.image_comparison import ROUNDING, Image

_RAS = np.diag([-1.0, -1, 1, 1])
_NO_SUCH = 10**6
_VALUES = {"series": str, "volume": int}
_LIMIT_S = 60.0


@dataclass
class Reading:
    """What a program made of a folder.

    Attributes
    ----------
    images : list of Image
        Without what it interpolated.
    resampled : list of Image
    refusals : list of str
        One for each volume that it refused, or for each series where it did not get so far.
    """

    images: list[Image] = field(default_factory=list)
    resampled: list[Image] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def read_ours(folder: Path) -> Reading:
    """Read all that the public function offers of a folder."""
    found = Reading()
    _read(found, folder, {})
    return found


def _read(found: Reading, folder: Path, chosen: dict[str, Any]) -> None:
    """Read what was chosen, or all that there is to choose from."""
    uneven = ""
    try:
        try:
            volume = read_volume(folder, **chosen)
        except UnevenSlicesError as error:
            uneven = _said(error, folder)
            volume = read_volume(folder, **chosen, resample=True)
    except ChoiceError as error:
        for value in error.choices:
            _read(found, folder, {**chosen, error.option: _VALUES[error.option](value)})
    except VolumeError as error:
        found.refusals.append(f"{uneven} {_said(error, folder)}".strip())
    else:
        if "volume" not in chosen and any("--volume" in warning for warning in volume.warnings):
            # Pictures were left out that are there to choose.
            _read(found, folder, {**chosen, "volume": _NO_SUCH})
        elif uneven:
            found.refusals.append(uneven)
            found.resampled.append(_image(volume))
        else:
            found.images.append(_image(volume))


def _said(error: VolumeError, folder: Path) -> str:
    return f"{type(error).__name__}: {str(error).replace(str(folder), '.')}"


def _image(volume: Volume) -> Image:
    values = volume.to_source(volume.data).astype(np.float64)
    rounding = ROUNDING * np.abs(values) if volume.data.dtype.kind == "f" else 0.0
    return Image(values, volume.source.affine, rounding)


def read_theirs(folder: Path, output: Path, program: str = "dcm2niix") -> Reading:
    """Read a folder by dcm2niix, which writes NIfTI files into another one."""
    output.mkdir(exist_ok=True)
    arguments = ["-g", "i", "-b", "n", "-z", "n", "-f", "%b", "-o", str(output), str(folder)]
    try:
        run = subprocess.run(
            [program, *arguments], capture_output=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Reading(refusals=[f"took over {_LIMIT_S:.0f} s"])
    said = (run.stdout + run.stderr).decode("utf-8", "replace").splitlines()
    found = Reading(refusals=[line for line in said if line.startswith(("Error", "Warning"))])
    if run.returncode < 0:
        found.refusals.append(f"exit status {run.returncode}")
    for path in sorted(output.glob("*.nii")):
        ends = path.stem.rpartition(".dcm")[2]
        resampled = "_Eq" in ends or "_Tilt" in ends
        (found.resampled if resampled else found.images).extend(_of_nifti(path))
    return found


def _of_nifti(path: Path) -> Iterable[Image]:
    image = nib.load(path)
    raw = np.asarray(image.dataobj.get_unscaled())
    if raw.dtype.names:
        return
    slope, intercept = (image.dataobj.slope, image.dataobj.inter)
    whole = float(slope).is_integer() and float(intercept).is_integer()
    exact = whole and image.get_data_dtype().kind != "f"
    raw = raw.reshape(*raw.shape[:3], -1).astype(np.float64)
    for n in range(raw.shape[3]):
        values = raw[..., n] * slope + intercept
        # Slope, product and sum are float32 each.
        lost = 2 * ROUNDING * (np.abs(values).max() + abs(intercept))
        yield Image(values, _RAS @ image.affine, 0.0 if exact else lost)
