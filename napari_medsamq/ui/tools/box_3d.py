"""A whole 3D box: a box on the plane in view, and how far it reaches by one on another plane."""

from __future__ import annotations

from napari_medsamq.errors import PromptError
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D
from napari_medsamq.ui.tools.tool import Tool, ToolContext


class Box3DTool(Tool):
    """Asks for all slices of the 3D box that the last boxes of a structure on two planes enclose.

    Parameters
    ----------
    context : ToolContext
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        self.follow(self.ask, self._dock.rail.box_3d_requested)

    def ask(self) -> None:
        """Put the 3D box in the place of the box on the plane in view."""
        try:
            self._view.require_slices()
            self._ask()
        except PromptError as error:
            self._fail(error)

    def _ask(self) -> None:
        prompts, label_id, axis = self._workspace.prompts, self._workspace.label_id, self._view.axis
        drawn = [
            (item, item.box)
            for item in reversed(prompts.shown)
            if item.label_id == label_id and isinstance(item.box, BoxPrompt)
        ]
        here = next(((item, box) for item, box in drawn if box.axis == axis), None)
        across = next((box for _, box in drawn if box.axis != axis), None)
        if here is None or across is None:
            raise PromptError(
                f"A 3D box of {self._session.style(label_id).name} needs a box on this plane and "
                "one on another plane (F2, F3, F4), from one end of the structure to the other."
            )
        item, box = here
        prompts.move(item, BoxPrompt3D.of_two_planes(box, across))
