"""The keys of the window, and what each of them does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_medsamq.errors import MedSAMQError, PreferenceError
from napari_medsamq.ui.canvas.planes import PLANES
from napari_medsamq.ui.forms.tool_rail import (
    BOX,
    BRUSH,
    ERASER,
    LASSO,
    MOVE,
    POINT,
    RULER,
    SCRIBBLE,
)
from napari_medsamq.ui.forms.volume_form import FIRST_PLANE_KEY
from napari_medsamq.ui.tools.nudge import ARROWS

# Others have their meanings in napari, or are those of planes.
_CHOOSABLE = re.compile("[A-Z0-9]|F([5-9]|1[0-2])")


@dataclass(frozen=True)
class Key:
    """What a key does.

    Attributes
    ----------
    words : str
        For the user.
    act : callable
        Takes the controller.
    name : str
        Of the preference that gives it another key; empty where there is none.
    """

    words: str
    act: Callable[[Any], None]
    name: str = ""


def _shows(number: int) -> Key:
    return Key(
        f"Show {PLANES[number].name.lower()} slices",
        lambda controller: controller.show_plane(number),
    )


def _nudges(arrow: str, words: str, *, resize: bool) -> Key:
    return Key(words, lambda controller: controller.nudge.nudge(arrow, resize=resize))


def _takes(tool: str, words: str, name: str) -> Key:
    return Key(words, lambda controller: controller.take(tool), name)


def _chooses(place: int) -> Key:
    return Key("Take this structure in hand", lambda controller: controller.labels.choose(place))


def _stop(controller: Any) -> None:
    controller.propagate.stop()
    controller.refine.stop()
    controller.follow_up.stop()
    controller.compare.leave()


# What each group of keys is called, and its keys in napari's notation, in the order of the work.
# `napari.yaml` lists those that have a name.
GROUPS = {
    # First, as a preference may give a digit another meaning.
    "Structures": {
        **{str(number): _chooses(number - 1) for number in range(1, 10)},
        "O": Key(
            "Structures filled, as outlines, or hidden",
            lambda controller: controller.outlines.next(),
            "outlines",
        ),
        "V": Key(
            "Show labels as solids, or slices",
            lambda controller: controller.view_3d.toggle(),
            "solid",
        ),
    },
    "Slices and window": {
        **{f"F{number + FIRST_PLANE_KEY}": _shows(number) for number in range(len(PLANES))},
        "F5": Key(
            "The other planes and solids beside, or not",
            lambda controller: controller.all_planes.toggle(),
            "all_planes",
        ),
        "PageDown": Key("Next slice", lambda controller: controller.slices.step(1)),
        "PageUp": Key("Slice before", lambda controller: controller.slices.step(-1)),
        "W": Key(
            "Next window preset",
            lambda controller: controller.window_level.next_preset(),
            "window",
        ),
        "H": Key(
            "Fold the forms on the right away, or back",
            lambda controller: controller.fold(),
            "fold",
        ),
    },
    "Draw and correct": {
        "B": _takes(BOX, "Draw boxes, and click", "draw"),
        "C": Key(
            "Click alone, drags move the picture, or stop that",
            lambda controller: controller.click.switch(controller.tool != POINT),
            "click",
        ),
        "S": _takes(SCRIBBLE, "Scribble: correct along a line", "scribble"),
        "F": _takes(LASSO, "Lasso: draw around a structure", "lasso"),
        "G": _takes(BRUSH, "Brush", "brush"),
        "Shift-G": Key(
            "Values that the brush paints: all, the window's, or alike",
            lambda controller: controller.brush.next(),
        ),
        "X": _takes(ERASER, "Eraser", "eraser"),
        "M": _takes(MOVE, "Move the picture", "move"),
        "L": _takes(RULER, "Ruler: measure distances in mm", "ruler"),
        "Shift-L": Key(
            "Remove the rulers of this slice", lambda controller: controller.ruler.clear()
        ),
        "R": Key(
            "Improve the mask on this slice",
            lambda controller: controller.click.improve(),
            "improve",
        ),
        **{
            f"Alt-{arrow}": _nudges(arrow, "Move the box on this slice", resize=False)
            for arrow in ARROWS
        },
        **{
            f"Alt-Shift-{arrow}": _nudges(arrow, "Resize the box on this slice", resize=True)
            for arrow in ARROWS
        },
    },
    "Propagate, check and repair": {
        "P": Key(
            "Propagate the label", lambda controller: controller.propagate.start(), "propagate"
        ),
        "T": Key(
            "Refine the label in 3D, by all three planes",
            lambda controller: controller.refine.start(),
            "refine",
        ),
        "Escape": Key("Stop what is on its way, or comparing", _stop),
        "N": Key("Next doubtful slice", lambda controller: controller.review.step(1), "doubtful"),
        "Shift-N": Key("Doubtful slice before", lambda controller: controller.review.step(-1)),
        "A": Key("Accept this slice", lambda controller: controller.review.accept(), "accept"),
        "Shift-A": Key(
            "Accept all slices that were seen",
            lambda controller: controller.review.accept_seen(),
        ),
        "E": Key(
            "Repair as chosen", lambda controller: controller.repair.repair_as_chosen(), "repair"
        ),
    },
    "Compare": {
        "D": Key(
            "Compare two labels: A, B, both, differences",
            lambda controller: controller.compare.press(),
            "compare",
        ),
        "K": Key(
            "Next slice that differs",
            lambda controller: controller.compare.step(1),
            "differs",
        ),
        "Shift-K": Key("Slice before that differs", lambda controller: controller.compare.step(-1)),
    },
    "Undo and save": {
        "Control-Z": Key("Undo", lambda controller: controller.undo.undo()),
        "Control-Shift-Z": Key("Redo", lambda controller: controller.undo.redo()),
        "Control-S": Key(
            "Save the label, again to the same file",
            lambda controller: controller.save_load.save_again(),
        ),
    },
}
KEYS = {place: key for keys in GROUPS.values() for place, key in keys.items()}

# Shift and the key of another one.
_SHIFTED = {
    "Shift-N": "doubtful",
    "Shift-A": "accept",
    "Shift-K": "differs",
    "Shift-L": "ruler",
    "Shift-G": "brush",
}


def bound_keys(
    chosen: Mapping[str, str], refused: Callable[[MedSAMQError], None]
) -> dict[str, Key]:
    """Return what each key does, as the user wants it.

    Parameters
    ----------
    chosen : mapping of str to str
        Keys by the names of `KEYS`.
    refused : callable
        Told of each key that cannot be had, in whose place is the usual one.
    """
    usual = {key.name: place for place, key in KEYS.items() if key.name}
    wanted = {name: chosen[name].strip().upper() for name in usual}
    for name, key in wanted.items():
        if not _CHOOSABLE.fullmatch(key):
            refused(
                PreferenceError(
                    f"The key {chosen[name]!r} for '{KEYS[usual[name]].words}' cannot be had: one "
                    "letter, one digit, or F5 to F12 is expected. "
                    f"{usual[name]} is used; change it in the preferences."
                )
            )
            wanted[name] = usual[name]
    twice = [name for name, key in wanted.items() if list(wanted.values()).count(key) > 1]
    if twice:
        words = ", ".join(f"'{KEYS[usual[name]].words}'" for name in twice)
        refused(
            PreferenceError(
                f"The same key was chosen for {words}. The usual keys are used for all; choose "
                "different ones in the preferences."
            )
        )
        wanted = usual
    places = {
        **{usual[name]: key for name, key in wanted.items()},
        **{place: f"Shift-{wanted[name]}" for place, name in _SHIFTED.items()},
    }
    return {places.get(place, place): key for place, key in KEYS.items()}


def key_names(keys: Mapping[str, Key]) -> dict[str, str]:
    """Return the keys of those that have a name, by it."""
    return {key.name: place for place, key in keys.items() if key.name}


def listed(keys: Mapping[str, Key]) -> dict[str, dict[str, str]]:
    """Return what each key does in words, by the name of its group."""
    return {
        title: {place: key.words for place, key in keys.items() if key in group.values()}
        for title, group in GROUPS.items()
    }
