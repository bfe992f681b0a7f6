"""An independent reader of single-file NIfTI-1, from the published header layout alone."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}


@dataclass(frozen=True)
class NiftiFile:
    """What a file says: affines map (i, j, k) to RAS+ in the file's unit."""

    shape: tuple[int, ...]
    datatype: int
    bitpix: int
    pixdim: tuple[float, ...]
    sform: np.ndarray
    qform: np.ndarray
    sform_code: int
    qform_code: int
    units: int
    scaling: tuple[float, float]
    cal: tuple[float, float]
    descrip: str
    data: np.ndarray

    @property
    def lps(self) -> np.ndarray:
        """Affine (4, 4) to LPS by the standard's preference: sform, else qform."""
        ras = self.sform if self.sform_code > 0 else self.qform
        return np.diag([-1.0, -1, 1, 1]) @ ras


def parse(path: Path) -> NiftiFile:
    raw = path.read_bytes()
    content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    order = "<" if struct.unpack_from("<i", content, 0)[0] == 348 else ">"

    def get(layout: str, offset: int) -> tuple:
        return struct.unpack_from(order + layout, content, offset)

    assert get("i", 0) == (348,)
    assert content[344:348] == b"n+1\0"
    ndim, *dims = get("8h", 40)
    shape = tuple(dims[:ndim])
    datatype, bitpix = get("2h", 70)
    pixdim = get("8f", 76)
    qform_code, sform_code = get("2h", 252)
    sform = np.eye(4)
    sform[:3] = np.reshape(get("12f", 280), (3, 4))
    (vox_offset,) = get("f", 108)
    start = int(vox_offset)
    dtype = np.dtype(order + _DTYPES[datatype])
    data = np.frombuffer(content, dtype, int(np.prod(shape)), start).reshape(shape, order="F")
    assert len(content) == start + data.nbytes
    return NiftiFile(
        shape=shape,
        datatype=datatype,
        bitpix=bitpix,
        pixdim=pixdim,
        sform=sform,
        qform=_qform(get("6f", 256), pixdim),
        sform_code=sform_code,
        qform_code=qform_code,
        units=content[123],
        scaling=get("2f", 112),
        cal=get("2f", 124),
        descrip=content[148:228].split(b"\0")[0].decode(),
        data=data,
    )


def _qform(quaternion: tuple[float, ...], pixdim: tuple[float, ...]) -> np.ndarray:
    b, c, d, *offset = quaternion
    rest = 1 - b * b - c * c - d * d
    if rest < 1e-7:  # rounding of the stored numbers, by the standard's reference code
        b, c, d = np.array([b, c, d]) / np.sqrt(1 - rest)
    a = np.sqrt(rest) if rest >= 1e-7 else 0.0
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    qfac = -1 if pixdim[0] < 0 else 1
    affine[:3, :3] = rotation * [pixdim[1], pixdim[2], qfac * pixdim[3]]
    affine[:3, 3] = offset
    return affine
