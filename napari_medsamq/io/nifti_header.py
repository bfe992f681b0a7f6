"""What headers of NIfTI and Analyze say, and the header of a label."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from io import BufferedIOBase
from typing import Any
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
from nibabel.spm2analyze import Spm2AnalyzeHeader

from napari_medsamq.array_types import Float64
from napari_medsamq.geometry import grid_corners, voxel_sizes
from napari_medsamq.io.label_format import Segment, given_segments
from napari_medsamq.io.source import RAS_TO_LPS, Source, assumed_sizes

# By NIfTI's unit code: metres and microns; all else is taken as mm.
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
# Two places are the same up to this fraction of a voxel.
_APART = 0.1
# What rounding leaves of the length of a quaternion of length 1.
_ROUNDED = 1e-3
# The volume of three directions that span no space.
_IN_ONE_PLANE = 1e-6
# Extensions that may be a table of labels: of no kind, a comment, of Caret, of CIFTI.
_TABLES = (0, 6, 30, 32)
# No tables of names are as long.
_LONGEST = 16 << 20
# Nothing that it finds is told on the terminal: what matters is told as a warning.
_QUIET = logging.Logger("napari_medsamq.nibabel")
_QUIET.addHandler(logging.NullHandler())


class _Extensions(nib.nifti1.Nifti1Extensions):
    """Those extensions that may be a table of labels, as bytes; others are of no use here.

    nibabel would unpack each of them, and refuse the image for one that it cannot.
    """

    @classmethod
    def from_fileobj(cls, fileobj: Any, size: int, byteswap: bool) -> _Extensions:
        found, room = cls(), _LONGEST
        order = "<" if bool(byteswap) != (sys.byteorder == "little") else ">"
        # Below 0 for all that follows.
        while size < 0 or size >= 16:
            head = fileobj.read(8)
            if len(head) < 8:
                break
            length, code = (int(n) for n in np.frombuffer(head, f"{order}i4"))
            if length < 16 or 0 <= size < length:
                break
            if code in _TABLES and length <= room:
                found.append(nib.nifti1.Nifti1Extension(code, fileobj.read(length - 8)))
                room -= length
            else:
                fileobj.seek(length - 8, 1)
            size -= length if size >= 0 else 0
        return found


class _Nifti1Header(nib.Nifti1Header):
    exts_klass = _Extensions


class _Nifti1PairHeader(nib.nifti1.Nifti1PairHeader):
    exts_klass = _Extensions


class _Nifti2Header(nib.Nifti2Header):
    exts_klass = _Extensions


class _Nifti2PairHeader(nib.nifti2.Nifti2PairHeader):
    exts_klass = _Extensions


def is_single(start: bytes) -> bool:
    """Tell whether the first 352 bytes are those of a NIfTI file of header and voxels."""
    return start[344:347] == b"n+1" or start[4:7] == b"n+2"


def read_header(file: BufferedIOBase, *, pair: bool) -> Any:
    """Read the header of a NIfTI or Analyze file as it is, without any check.

    Parameters
    ----------
    file : binary file
    pair : bool
        Whether the voxels are in a file of their own.

    Raises
    ------
    WrapStructError
        If it is none.
    """
    start = file.read(352)
    file.seek(0)
    nifti2 = b"\x02\x1c" in (start[:2][::-1], start[2:4])
    kind: Any = Spm2AnalyzeHeader
    if not pair:
        kind = _Nifti2Header if nifti2 else _Nifti1Header
    elif nifti2 or start[344:347] in (b"ni1", b"n+1"):
        kind = _Nifti2PairHeader if nifti2 else _Nifti1PairHeader
    return kind.from_fileobj(file, check=False)


def settle(header: Any) -> tuple[str, ...]:
    """Bring what a header says of the place of its voxels into order, and return what to tell.

    Values that other programs put right without a word are put right in the same way; a place that
    cannot be is left out where the header gives another one.

    Raises
    ------
    HeaderDataError
        If it says what cannot be read.
    """
    told: list[str] = []
    count = min(int(header["dim"][0]), 7)
    # Axes of no length beyond the third are axes of length 1.
    further = header["dim"][4 : count + 1]
    further[further == 0] = 1
    if isinstance(header, nib.Nifti1Header):
        # Only its sign counts.
        header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
        _settle_forms(header, told)
        uses_sizes = int(header["sform_code"]) == 0
    else:
        uses_sizes = True
    sizes = header["pixdim"][1 : 1 + min(count, 3)]
    if uses_sizes:
        if (sizes < 0).any():
            told.append("The header has sizes of voxels below 0; they are taken without the sign.")
        told += assumed_sizes(sizes)[1]
    # Where a form in use says it, no size matters.
    sizes[np.isnan(sizes) & uses_sizes] = 1
    header.check_fix(logger=_QUIET)
    return tuple(told)


def orientation_known(header: Any) -> bool:
    """Tell whether a NIfTI or Analyze header says how the patient lies in it."""
    if not isinstance(header, nib.Nifti1Header):
        return False
    return int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0


def affine_lps(header: Any) -> Float64:
    """Return the affine (4, 4) float64 of a header, from (i, j, k) to LPS mm."""
    # Analyze headers have no unit.
    unit = int(header["xyzt_units"]) % 8 if isinstance(header, nib.Nifti1Header) else 0
    scale = _MM_PER_UNIT.get(unit, 1.0)
    affine = np.array(header.get_best_affine(), np.float64)
    if (*header.get_data_shape(), 1, 1)[2] == 1 and not affine[:3, 2].any():
        # 2D files may leave out the axis they do not have: one unit along the normal.
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / max(float(np.linalg.norm(normal)), 1e-30)
    # A damaged header holds anything; `checked` refuses what is not finite.
    with np.errstate(invalid="ignore", over="ignore"):
        return RAS_TO_LPS @ np.diag([scale, scale, scale, 1.0]) @ affine


def label_header(source: Source, dtype: np.dtype[Any]) -> Any:
    """Make the header of a label on a source's grid.

    A NIfTI source's header is copied, with both affines, their codes, units and pixdim; only what
    describes intensities or names the image is reset. The label of an image that does not say how
    the patient lies in it does not say so either.
    """
    if source.header is None:
        header = nib.Nifti1Header()
        header.set_data_shape(source.shape)
        if source.orientation == "patient":
            affine = RAS_TO_LPS @ source.affine
            header.set_qform(affine, code="scanner")
            header.set_sform(affine, code="scanner")
        else:
            axes = min(len(source.shape), 3)
            header["pixdim"][1 : 1 + axes] = voxel_sizes(source.affine)[:axes]
        header.set_xyzt_units("mm")
    else:
        header = source.header.copy()
    header.set_data_dtype(dtype)
    intent = "intent_code", "intent_p1", "intent_p2", "intent_p3"
    for field in ("cal_min", "cal_max", "scl_inter", *intent):
        header[field] = 0
    for field in ("intent_name", "aux_file"):
        header[field] = b""
    header["scl_slope"] = 1
    header["descrip"] = b"MedSAMQ label"
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    return header


def label_table(header: Any) -> dict[int, Segment]:
    """Return the label table that a NIfTI file may have in a header extension.

    Connectome Workbench and TotalSegmentator write such tables.
    """
    segments: dict[int, Segment] = {}
    for extension in getattr(header, "extensions", ()):
        content = extension.get_content()
        text = content if isinstance(content, bytes) else str(content).encode()
        # What declares entities is no label table, and might unfold to any size.
        if b"<LabelTable" not in text or b"<!" in text.replace(b"<![CDATA[", b""):
            continue
        try:
            root = ElementTree.fromstring(text.strip(b"\0 \r\n\t"))
        except (ElementTree.ParseError, LookupError, ValueError):
            # Not one that anybody could read; the label is good without it.
            continue
        segments |= given_segments(
            (int(entry.get("Key", "")), entry.text or "", _hex(entry))
            for entry in root.iter("Label")
            if entry.get("Key", "").isdecimal()
        )
    return segments


def _hex(entry: ElementTree.Element) -> str:
    """Return the three shares of 1 of a table's entry as #RRGGBB; nothing where they are none."""
    try:
        parts = [entry.get(part, "") for part in ("Red", "Green", "Blue")]
        values = [round(float(part) * 255) for part in parts]
    except (ValueError, OverflowError):
        return ""
    return "#" + "".join(f"{value:02X}" for value in values if 0 <= value <= 255)


def disagreement(header: Any, grid: Sequence[int]) -> tuple[str, ...]:
    """Tell the user if the two places that a NIfTI file may give are not the same."""
    if int(header["qform_code"]) == 0 or int(header["sform_code"]) == 0:
        return ()
    by_quaternion = np.array(header.get_qform(), np.float64)
    by_rows = np.array(header.get_sform(), np.float64)
    corners = grid_corners(grid)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = (by_rows - by_quaternion) @ np.column_stack([corners, np.ones(8)]).T
        farthest = float(np.linalg.norm(apart[:3], axis=0).max())
        smallest = float(np.linalg.norm(by_rows[:3, :3], axis=0).min())
        mirrored = np.linalg.det(by_rows[:3, :3]) * np.linalg.det(by_quaternion[:3, :3]) < 0
    if not farthest > _APART * smallest:
        return ()
    sides = " One is the mirror image of the other: check left and right." if mirrored else ""
    return (
        f"The header gives two places for the voxels (sform and qform), up to {farthest:.3g} of "
        f"its units apart. The sform is used, as nibabel does; other programs may differ.{sides}",
    )


def _settle_forms(header: Any, told: list[str]) -> None:
    """Leave out of a NIfTI header a form that cannot be, where the other one can."""
    has_rows, has_quaternion = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    quaternion = np.array([header[f"quatern_{axis}"] for axis in "bcd"], np.float64)
    offsets = [header[f"qoffset_{axis}"] for axis in "xyz"]
    good_quaternion = bool(has_quaternion and np.isfinite([*quaternion, *offsets]).all())
    if good_quaternion:
        length = float(np.linalg.norm(quaternion))
        if length > 1:
            # As NIfTI's own library does. Just below 1, as it is rounded again.
            for axis, value in zip("bcd", quaternion / length, strict=True):
                header[f"quatern_{axis}"] = value * (1 - 1e-7)
            if length > 1 + _ROUNDED:
                told.append(
                    f"The header's rotation (qform) is none (a quaternion of length {length:.3g}); "
                    "it was brought to length 1, as other programs do."
                )
    if not has_rows:
        return
    good_rows = _are_rows(header)
    if has_quaternion and good_rows and not good_quaternion:
        header["qform_code"] = 0
        told.append("The header's rotation (qform) is none; only its sform is used.")
    elif good_quaternion and not good_rows:
        header["sform_code"] = 0
        told.append(
            "The header's sform places no voxels (its rows are 0, in one plane, or no numbers); "
            "its qform is used, as other programs do."
        )


def _are_rows(header: Any) -> bool:
    """Tell whether the rows of an sform place each voxel elsewhere."""
    rows = np.array([header[f"srow_{axis}"] for axis in "xyz"], np.float64)
    if not np.isfinite(rows).all():
        return False
    axes = rows[:, :3]
    lengths = np.linalg.norm(axes, axis=0)
    # A 2D image may leave out the axis that it does not have.
    dim = header["dim"]
    flat = int(dim[0]) < 3 or int(dim[3]) == 1
    if flat and lengths[2] == 0:
        return bool(np.linalg.matrix_rank(axes[:, :2]) == 2)
    if (lengths == 0).any():
        return False
    return abs(float(np.linalg.det(axes / lengths))) > _IN_ONE_PLANE
