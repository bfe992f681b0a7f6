"""NIfTI labels with the table of names that other programs keep in the header."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

TABLE = (
    '<?xml version="1.0" encoding="UTF-8"?><CaretExtension><VolumeInformation Index="0">'
    '<LabelTable><Label Key="1" Red="1" Green="0" Blue="0.5"><![CDATA[Liver & co]]></Label>'
    '<Label Key="3"> Cyst </Label><Label Key="x">none</Label></LabelTable>'
    "</VolumeInformation></CaretExtension>"
)


def write(
    path: Path, data: np.ndarray, affine: np.ndarray, *, code: int = 1, table: str = ""
) -> Path:
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, code=code)
    image.set_sform(affine, code=code)
    if table:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("ignore", table.encode()))
    nib.save(image, path)
    return path
