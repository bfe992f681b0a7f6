"""The keys of the window, and what each of them does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_medsamq.forms import FIRST_PLANE_KEY
from napari_medsamq.layers import PLANES
from napari_medsamq.nudging import ARROWS


@dataclass(frozen=True)
class Key:
    """What a key does.

    Attributes
    ----------
    words : str
        For the user.
    act : callable
        Takes the controller.
    """

    words: str
    act: Callable[[Any], None]


def _shows(number: int) -> Key:
    return Key(
        f"Show {PLANES[number].name.lower()} slices",
        lambda controller: controller.show_plane(number),
    )


def _nudges(arrow: str, words: str, *, resize: bool) -> Key:
    return Key(words, lambda controller: controller.nudge(arrow, resize=resize))


def _stop(controller: Any) -> None:
    controller.propagator.stop()
    controller.checkup.comparing.leave()


# In napari's notation, in the order of the work.
KEYS = {
    **{f"F{number + FIRST_PLANE_KEY}": _shows(number) for number in range(len(PLANES))},
    "W": Key("Next window preset", lambda controller: controller.windowing.next_preset()),
    "B": Key("Draw boxes, or move the picture", lambda controller: controller.toggle_drawing()),
    "P": Key("Propagate the label", lambda controller: controller.propagate()),
    "Escape": Key("Stop the propagation, end the comparison", _stop),
    "C": Key(
        "Correct by clicks, or stop that",
        lambda controller: controller.clicking.switch(not controller.clicking.active),
    ),
    "R": Key("Improve the mask on this slice", lambda controller: controller.clicking.improve()),
    "N": Key("Next doubtful slice", lambda controller: controller.checkup.reviewer.step(1)),
    "Shift-N": Key(
        "Doubtful slice before", lambda controller: controller.checkup.reviewer.step(-1)
    ),
    "A": Key(
        "Accept the slices up to here", lambda controller: controller.checkup.reviewer.accept()
    ),
    "E": Key("Repair as chosen", lambda controller: controller.checkup.repair()),
    "D": Key(
        "Compare two labels: A, B, both, differences",
        lambda controller: controller.checkup.comparing.press(),
    ),
    "K": Key("Next slice that differs", lambda controller: controller.checkup.comparing.step(1)),
    "Shift-K": Key(
        "Slice before that differs", lambda controller: controller.checkup.comparing.step(-1)
    ),
    "V": Key(
        "Show labels as solids, or slices",
        lambda controller: controller.solid.toggle(controller.plane),
    ),
    **{
        f"Alt-{arrow}": _nudges(arrow, "Move the box on this slice", resize=False)
        for arrow in ARROWS
    },
    **{
        f"Alt-Shift-{arrow}": _nudges(arrow, "Resize the box on this slice", resize=True)
        for arrow in ARROWS
    },
    "Control-Z": Key("Undo", lambda controller: controller.undo()),
    "Control-Shift-Z": Key("Redo", lambda controller: controller.redo()),
}
