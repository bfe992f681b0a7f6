"""Turns what happens in a session into records of its journal, and records into a session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medsamq.acceptance import Acceptance
from napari_medsamq.errors import JournalError
from napari_medsamq.history import Edit, History, LabelStyle, Prompt, Voxels
from napari_medsamq.journal import Journal
from napari_medsamq.journal_file import Record
from napari_medsamq.networks import environment
from napari_medsamq.preprocess import WindowLevel
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, Click
from napari_medsamq.session import Session
from napari_medsamq.setting import Setting

BEGIN, EDIT, UNDO, REDO = "begin", "edit", "undo", "redo"
STYLE, CARRY = "style", "carry"


class Recorder:
    """Follows a session, and writes down what is done.

    Parameters
    ----------
    session : Session
    journal : Journal
    restored : Restored or None
        What the journal holds already.
    """

    def __init__(self, session: Session, journal: Journal, restored: Restored | None) -> None:
        self._session = session
        self._journal = journal
        self._prompts = {} if restored is None else {p: n for n, p in restored.prompts.items()}
        self._groups: dict[object, int] = {}
        self._next_group = 0 if restored is None else restored.groups
        journal.write(BEGIN, environment())
        session.history.watch = self._on_history
        session.watch = self._on_session

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
                **(edit.setting or self._session.setting()).as_dict(),
            },
            arrays,
        )

    def _on_session(self, kind: str, content: dict[str, Any]) -> None:
        if kind == CARRY:
            group = self._group(content["group"])
            content = {**content, "group": group, **self._session.setting().as_dict()}
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
    window : WindowLevel or None
        Through which the network saw the volume last.
    """

    history: History
    styles: dict[int, LabelStyle]
    prompts: dict[int, Prompt]
    groups: int
    window: WindowLevel | None


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
    styles : dict of int to LabelStyle
    prompts : dict of int to Prompt
    """

    def __init__(self, shape: tuple[int, ...], journal: str = "The journal") -> None:
        self._journal = journal
        self.history = History(shape)
        self.styles: dict[int, LabelStyle] = {}
        self.prompts: dict[int, Prompt] = {}
        self._groups: dict[int, object] = {}
        self._window: WindowLevel | None = None
        self._uncounted = False

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
        if kind == EDIT:
            self._edit(record)
        elif kind == UNDO:
            self.history.undo()
        elif kind == REDO:
            self.history.redo()
        elif kind == STYLE:
            self.styles[content["label"]] = LabelStyle(**content["style"])
        elif kind == CARRY:
            # Its number is taken, also if nothing came of it.
            self._groups.setdefault(content["group"], object())

    def restored(self) -> Restored:
        """Return where that has led to."""
        groups = len(self._groups)
        if self._uncounted:
            self.history.recount()
        return Restored(self.history, self.styles, self.prompts, groups, self._window)

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
        setting = Setting.from_dict(content)
        self._window = setting.window
        voxels = self._inside(arrays["voxels"])
        # What was done in the middle of a brush stroke met voxels that the stroke had painted, but
        # that are entered only at its end.
        flat = self.history.label.reshape(-1)
        self._uncounted |= not np.array_equal(flat[voxels], arrays["before"])
        flat[voxels] = arrays["before"]
        group = content["group"]
        self.history.change(
            content["name"],
            voxels,
            arrays["after"],
            tuple(self.prompts[number] for number in content["prompts"]),
            by_hand=content["by_hand"],
            group=None if group is None else self._groups.setdefault(group, object()),
            # Journals of before masks could be accepted do not mention any.
            accepted=[self._accepted(*own) for own in content.get("accepted", ())],
            setting=setting,
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
        If it is damaged in a way that its checksums do not show.
    """
    replay = Replay(shape, journal)
    for record in records:
        replay.apply(record)
    return replay.restored()


def _box_content(box: BoxPrompt | BoxPrompt3D) -> dict[str, Any]:
    return {"box": "2d" if isinstance(box, BoxPrompt) else "3d", **asdict(box)}


def read_box(content: dict[str, Any]) -> BoxPrompt | BoxPrompt3D:
    """Return the box of a prompt, from what the journal says about it."""
    if content["box"] == "2d":
        sides = {key: content[key] for key in ("axis", "index", "x0", "y0", "x1", "y1")}
        # Journals of before there were clicks do not mention any.
        clicks = tuple(Click(**click) for click in content.get("clicks", ()))
        return BoxPrompt(**sides, clicks=clicks)
    return BoxPrompt3D(tuple(content["lower"]), tuple(content["upper"]), content["axis"])
