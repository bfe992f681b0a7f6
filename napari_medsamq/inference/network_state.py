"""What the network was, and what it was shown, when something was done to a label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.preprocess import BoxRule, WindowLevel
from napari_medsamq.io.modality import Modality
from napari_medsamq.prompts import CarryPrompt


@dataclass(frozen=True)
class NetworkState:
    """A model, and how it saw the volume.

    Attributes
    ----------
    model : str
    model_sha256 : dict of str to str
        Hash of each of the model's files.
    window : WindowLevel
    zoom : Zoom or None
        How small boxes were zoomed in on.
    modality : "CT", "MR" or "other"
        What the volume was taken for.
    carry_prompt : CarryPrompt
        What the network was asked with where a structure was carried to.
    box_rule : BoxRule
        By which the model was given boxes.
    """

    model: str
    model_sha256: Mapping[str, str]
    window: WindowLevel
    zoom: Zoom | None
    modality: Modality
    carry_prompt: CarryPrompt
    box_rule: BoxRule

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it; `from_dict` reads it."""
        return {
            "window": [self.window.level, self.window.width],
            "zoom": None if self.zoom is None else asdict(self.zoom),
            "modality": self.modality,
            "carry_prompt": self.carry_prompt.value,
            "box_rule": self.box_rule.value,
            "model": self.model,
            "model_sha256": dict(self.model_sha256),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> NetworkState:
        """Make the state that `as_dict` described; what else there is, is left out."""
        zoom = content.get("zoom")  # journals of before there was any have none
        return cls(
            content["model"],
            content["model_sha256"],
            WindowLevel(*content["window"]),
            None if zoom is None else Zoom(**zoom),
            content["modality"],
            # Journals of before there was a choice asked with boxes.
            CarryPrompt(content.get("carry_prompt", CarryPrompt.box)),
            # Journals of before there was this one had another rule.
            BoxRule(content.get("box_rule", BoxRule.near_edge)),
        )
