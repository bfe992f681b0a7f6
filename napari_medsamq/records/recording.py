"""Turns what happens in a session into records of its journal, and records into a session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medsamq.annotation.acceptance import Acceptance
from napari_medsamq.annotation.history import Edit, History, LabelMarks, LabelStyle, Prompt
from napari_medsamq.annotation.label_import import LOAD
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Voxels
from napari_medsamq.errors import JournalError
from napari_medsamq.inference.backend import environment
from napari_medsamq.inference.network_state import NetworkState
from napari_medsamq.inference.preprocess import WindowLevel
from napari_medsamq.inference.propagation import END_RULE
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, Click, Pixel
from napari_medsamq.records.journal import Journal
from napari_medsamq.records.journal_format import Record

BEGIN, EDIT, UNDO, REDO = "begin", "edit", "undo", "redo"
# What edits that entered label files were called in journals of before; the file's name follows.
_LOADED = "load "
STYLE, CARRY, SEEN, SAVE = "style", "carry", "seen", "save"


class Recorder:
    """Follows a session, and writes down what is done.

    Parameters
    ----------
    session : AnnotationSession
    journal : Journal
    restored : Restored or None
        What the journal holds already.
    """

    def __init__(
        self, session: AnnotationSession, journal: Journal, restored: Restored | None
    ) -> None:
        self._session = session
        self._journal = journal
        self._prompts = {} if restored is None else {p: n for n, p in restored.prompts.items()}
        self._shared = restored is None or restored.shared
        self._groups: dict[object, int] = {}
        self._next_group = 0 if restored is None else restored.groups
        journal.write(BEGIN, environment())
        session.history.changed.connect(self._on_history)
        session.event.connect(self._on_session)

    @property
    def works(self) -> bool:
        """Whether all that was done is in the journal, or about to be."""
        return not self._journal.broken

    def close(self) -> None:
        """Follow the session no more, and let others write to the journal."""
        self._session.history.changed.disconnect(self._on_history)
        self._session.event.disconnect(self._on_session)
        self._journal.close()

    def _on_history(self, kind: str, edit: Edit) -> None:
        if kind != EDIT:
            self._journal.write(kind, {})
            return
        arrays: dict[str, npt.NDArray[Any]] = {
            "voxels": edit.voxels,
            "before": edit.before,
            "after": edit.after,
        }
        fresh = [prompt for prompt in edit.prompts_after if prompt not in self._prompts]
        described = []
        for prompt in fresh:
            number = self._prompts[prompt] = len(self._prompts)
            described.append(
                {"number": number, "label": prompt.label_id, **_box_content(prompt.box)}
            )
            arrays[f"prompt {number}"] = prompt.voxels
            if prompt.start is not None:
                arrays[f"start {number}"] = prompt.start
        self._journal.write(
            EDIT,
            {
                "name": edit.name,
                "by_hand": edit.by_hand,
                "group": self._group(edit.group),
                "prompts": [self._prompts[prompt] for prompt in edit.prompts_after],
                "fresh": described,
                "accepted": [
                    [own.axis, own.index, own.label_id, own.key.hex()] for own in edit.accepted
                ],
                "styles": [
                    [own.label_id, asdict(own.after)]
                    for own in edit.styles
                    if own.after is not None
                ],
                **(edit.network_state or self._session.network_state()).as_dict(),
            },
            arrays,
        )

    def _on_session(self, kind: str, content: dict[str, Any]) -> None:
        if kind == SEEN:
            self._shared = content.get("shared", self._shared)
            # There are many of them during a drag.
            seen = self._session.network_state().as_dict()
            self._journal.write_last(kind, {**seen, "shared": self._shared})
            return
        if kind == CARRY:
            group = self._group(content["group"])
            seen = self._session.network_state().as_dict()
            content = {**content, "group": group, "ends": END_RULE, **seen}
        self._journal.write(kind, content)

    def _group(self, group: object | None) -> int | None:
        if group is None:
            return None
        if group not in self._groups:
            self._groups[group] = self._next_group
            self._next_group += 1
        return self._groups[group]


@dataclass(frozen=True)
class Restored:
    """A session's past, from a journal.

    Attributes
    ----------
    history : History
    styles : dict of int to LabelStyle
    prompts : dict of int to Prompt
        By the number that the journal gives them.
    groups : int
        How many groups of edits there are.
    seen : NetworkState or None
        What the network was and saw last; None where that was never another one than at first.
    shared : bool
        Whether the network saw what the user saw.
    worked : bool
        Whether a label was changed, named, locked or hidden.
    """

    history: History
    styles: dict[int, LabelStyle]
    prompts: dict[int, Prompt]
    groups: int
    seen: NetworkState | None
    shared: bool
    worked: bool

    @property
    def window(self) -> WindowLevel | None:
        """Through which the network saw the volume last."""
        return None if self.seen is None else self.seen.window


class Replay:
    """Does again what a journal says, record by record.

    Parameters
    ----------
    shape : (3,) int
        Of the label.
    journal : str
        How errors name it.

    Attributes
    ----------
    history : History
    prompts : dict of int to Prompt
    """

    def __init__(self, shape: tuple[int, ...], journal: str = "The journal") -> None:
        self._journal = journal
        self.history = History(shape)
        self.prompts: dict[int, Prompt] = {}
        self._groups: dict[int, object] = {}
        self._seen: NetworkState | None = None
        self._shared = True
        self._seen_apart = self._worked = self._uncounted = False

    @property
    def styles(self) -> dict[int, LabelStyle]:
        """Names, colours and flags of the labels that were given any."""
        return self.history.styles

    def apply(self, record: Record) -> None:
        """Do again what a record says.

        Raises
        ------
        JournalError
            If it does not follow from those before.
        """
        try:
            self._apply(record)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise JournalError(
                f"{self._journal} holds a record that makes no sense here ({error!r}). It was "
                "written by another version of this program, or altered."
            ) from error

    def _apply(self, record: Record) -> None:
        content, kind = record.content, record.content["kind"]
        self._worked |= kind in (EDIT, STYLE)
        if kind == EDIT:
            self._edit(record)
        elif kind == UNDO:
            self.history.undo()
        elif kind == REDO:
            self.history.redo()
        elif kind == STYLE:
            self.styles[content["label"]] = LabelStyle(**content["style"])
        elif kind == SEEN:
            self._seen, self._seen_apart = NetworkState.from_dict(content), True
            self._shared = content["shared"]
        elif kind == CARRY:
            # Its number is taken, also if nothing came of it.
            self._groups.setdefault(content["group"], object())

    def restored(self) -> Restored:
        """Return where that has led to."""
        groups = len(self._groups)
        if self._uncounted:
            self.history.recount()
        return Restored(
            self.history,
            self.styles,
            self.prompts,
            groups,
            self._seen,
            self._shared,
            self._worked,
        )

    def _edit(self, record: Record) -> None:
        content, arrays = record.content, record.arrays
        for fresh in content["fresh"]:
            number = fresh["number"]
            start = arrays.get(f"start {number}")
            self.prompts[number] = Prompt(
                read_box(fresh),
                fresh["label"],
                self._inside(arrays[f"prompt {number}"]),
                None if start is None else self._inside(start),
            )
        state = NetworkState.from_dict(content)
        if not self._seen_apart:
            # Journals of before what is seen had records of its own.
            self._seen = state
        voxels = self._inside(arrays["voxels"])
        # What was done in the middle of a brush stroke met voxels that the stroke had painted, but
        # that are entered only at its end.
        flat = self.history.label.reshape(-1)
        self._uncounted |= not np.array_equal(flat[voxels], arrays["before"])
        flat[voxels] = arrays["before"]
        group, name = content["group"], str(content["name"])
        if content["by_hand"] and name.startswith(_LOADED):
            name = LOAD
        self.history.change(
            name,
            voxels,
            arrays["after"],
            tuple(self.prompts[number] for number in content["prompts"]),
            by_hand=content["by_hand"],
            group=None if group is None else self._groups.setdefault(group, object()),
            # Journals of before masks could be accepted do not mention any.
            marks=LabelMarks(
                [self._accepted(*own) for own in content.get("accepted", ())],
                # Nor do those of before a label file's names went with its edit.
                {n: LabelStyle(**style) for n, style in content.get("styles", ())},
            ),
            network_state=state,
        )

    def _accepted(self, axis: int, index: int, label_id: int, key: str) -> Acceptance:
        if not 0 <= index < self.history.label.shape[axis]:
            raise JournalError("The journal names slices outside the volume; it is damaged.")
        return Acceptance(axis, index, label_id, bytes.fromhex(key))

    def _inside(self, voxels: Voxels) -> Voxels:
        if voxels.size and not 0 <= voxels.min() <= voxels.max() < self.history.label.size:
            raise JournalError(f"{self._journal} names voxels outside the volume; it is damaged.")
        return voxels


def restore(
    records: Iterable[Record], shape: tuple[int, ...], journal: str = "The journal"
) -> Restored:
    """Do again all that a journal says.

    Raises
    ------
    JournalError
        If it is damaged in a way that its checksums do not show, or takes more memory than is free.
    """
    replay = Replay(shape, journal)
    try:
        for record in records:
            replay.apply(record)
        return replay.restored()
    except MemoryError as error:
        raise JournalError(
            f"{journal} takes more memory than is free. Close other programs, and try again."
        ) from error


def _box_content(box: BoxPrompt | BoxPrompt3D) -> dict[str, Any]:
    return {"box": "2d" if isinstance(box, BoxPrompt) else "3d", **asdict(box)}


def read_box(content: dict[str, Any]) -> BoxPrompt | BoxPrompt3D:
    """Return the box of a prompt, from what the journal says about it."""
    if content["box"] == "2d":
        sides = {key: content[key] for key in ("axis", "index", "x0", "y0", "x1", "y1")}
        # Journals of before there were clicks do not mention any, and later ones not at once
        # whether they bind, nor scribbles and lassos.
        clicks = tuple(
            Click(**{"binding": False, **click, "stroke": _pixels(click.get("stroke", ()))})
            for click in content.get("clicks", ())
        )
        return BoxPrompt(**sides, clicks=clicks, lasso=_pixels(content.get("lasso", ())))
    return BoxPrompt3D(tuple(content["lower"]), tuple(content["upper"]), content["axis"])


def _pixels(listed: Iterable[Iterable[int]]) -> tuple[Pixel, ...]:
    return tuple((x, y) for x, y in listed)
