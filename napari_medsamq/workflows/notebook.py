"""How a notebook shows a session: a slice with outlines, and what is in the label."""

from __future__ import annotations

from base64 import b64encode

from napari_medsamq.analysis.slice_pictures import (
    Mark,
    marks,
    png,
    representative_slices,
    slice_picture,
)
from napari_medsamq.analysis.statistics import label_statistics
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.plain_text import as_html


def described(session: AnnotationSession) -> list[str]:
    """Say of each label what it is called and how large it is: `1 Liver, 730.40 mL`."""
    found = label_statistics(session.volume, session.label)
    return [
        f"{label_id} {session.style(label_id).name}, {measured.millilitres:.2f} mL"
        for label_id, measured in found.items()
    ]


def session_png(session: AnnotationSession) -> bytes:
    """Draw all labels on the axial slice that shows the largest one best, the middle one if none.

    Returns
    -------
    png : bytes
    """
    volume, label = session.volume, session.label
    index = [*representative_slices(label, 1), volume.slice_count(0) // 2][0]
    height, width = label.shape[1:]
    whole, size = (slice(0, height), slice(0, width)), volume.pixel_size(0)
    shown = _marks(session)
    return png(slice_picture(volume, session.window, label[index], index, size, shown, whole))


def session_html(session: AnnotationSession) -> str:
    """Return the same picture and what its letters stand for as HTML, all names escaped."""
    named = zip(_marks(session).values(), described(session), strict=True)
    texts = [f"{mark.letter}: {text}" for mark, text in named] or ["no label yet"]
    text = as_html("; ".join([f"{session.volume.name}, {session.engine.spec.name}", *texts]))
    picture = b64encode(session_png(session)).decode()
    return (
        f'<figure><img src="data:image/png;base64,{picture}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _marks(session: AnnotationSession) -> dict[int, Mark]:
    return marks({n: session.style(n).color for n in session.history.voxel_counts})
