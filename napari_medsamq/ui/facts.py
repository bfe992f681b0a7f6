"""What the dock says about an open volume."""

from __future__ import annotations

from napari_medsamq.io.volume import Volume

_SOURCES = {
    "dicom": "from the DICOM header",
    "case": "from the file",
    "picture": "a picture",
    "assumed": "assumed; change it if wrong",
    "chosen": "as chosen",
    "ambiguous": "unknown; please choose",
}


def describe_volume(volume: Volume) -> str:
    """Return size, spacing, and modality with how it is known."""
    size = " x ".join(str(count) for count in volume.data.shape[2::-1])
    spacing = " x ".join(f"{value:.2f}" for value in volume.spacing[::-1])
    known = _SOURCES[volume.modality_source]
    if volume.modality == "CT" and not volume.hounsfield:
        known += "; not in Hounsfield units"
    return f"{size} voxels\n{spacing} mm (x, y, z)\n{volume.modality}: {known}"
