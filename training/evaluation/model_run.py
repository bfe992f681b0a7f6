"""Runs models on cases, through the plugin's own session, and scores their masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Literal

import numpy as np

from napari_medsamq.analysis.metrics import dsc, nsd
from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.array_types import Bool
from napari_medsamq.errors import VolumeError
from napari_medsamq.inference.crop import Zoom
from napari_medsamq.inference.engine import Engine
from napari_medsamq.inference.lasso import lasso_prompt
from napari_medsamq.inference.slice_predictor import SliceMask
from napari_medsamq.io.medsam_case import read_arrays
from napari_medsamq.io.volume import read_volume
from napari_medsamq.prompts import BoxPrompt, BoxPrompt3D, CarryPrompt, Click
from training.data.cases import NpzCase, find_cases, reference, seeded_rng
from training.data.simulated_clicks import next_click
from training.data.simulated_strokes import drawn_around, next_scribble, outline
from training.evaluation.confidence_study import check_slices, mend_worst, pair_checks
from training.evaluation.interactive import Correction, begin, correct
from training.evaluation.protocol import (
    MIN_PIXELS,
    Label,
    Protocol,
    Target,
    draw_targets,
    list_targets,
    loosened,
    middle_box,
    tightened,
)
from training.evaluation.score_summary import Score

# In mm; in pixels where the spacing is unknown, which cases give as 1 mm.
TOLERANCE_MM = 2.0
# By which part of its size a box is enlarged, and how often a mask is clicked on.
LOOSE = (0.0, 0.05, 0.1, 0.2)
CLICKS = (0, 1, 2, 3, 4, 5)


@dataclass(frozen=True)
class ModelMode:
    """A model and how it is asked; its text is what results are listed by.

    Attributes
    ----------
    model : str
    protocol : Protocol
    zoom : bool
        Whether it zooms in on small boxes.
    by_3d_box : bool
        Beside a propagation: whether it is given the case's 3D box all the same.
    prompt : CarryPrompt or None
        What a propagation asks with; None for the plugin's own way.
    mends : bool
        Whether the least sure slice is boxed anew.
    refines : bool
        Whether all three planes are asked about what was carried.
    tight : bool
        Whether boxes are tight.
    looser : float
        By which part of its size a box is enlarged.
    clicks : int
        How often a mask is corrected.
    stroke : "", "scribble" or "lasso"
        Whether a scribble corrects it in place of a click, or a lasso stands in place of the box.
    """

    model: str
    protocol: Protocol
    zoom: bool = False
    by_3d_box: bool = False
    prompt: CarryPrompt | None = None
    mends: bool = False
    refines: bool = False
    tight: bool = False
    looser: float = 0.0
    clicks: int = 0
    stroke: Literal["", "scribble", "lasso"] = ""

    @property
    def name(self) -> str:
        """The model, and whether it zooms, in words."""
        return f"{self.model} + zoom" if self.zoom else self.model

    def __str__(self) -> str:
        marks = {
            f"{self.looser:+.0%}": self.protocol is Protocol.loose,
            f", clicks: {self.clicks}": self.protocol in (Protocol.clicks, Protocol.interactive),
            ", 3D box": self.by_3d_box,
            f", {self.prompt}": self.prompt is not None,
            ", worst slice boxed anew": self.mends,
            ", refined in 3D": self.refines,
            ", tight": self.tight,
            ", click": self.protocol is Protocol.scribbles and self.clicks > 0 and not self.stroke,
            f", {self.stroke}": bool(self.stroke),
        }
        return self.name + "".join(mark for mark, holds in marks.items() if holds)

    @property
    def propagates(self) -> bool:
        """Whether a box on one slice is carried through the volume."""
        return self.protocol in (Protocol.propagate, Protocol.confidence) and not self.by_3d_box


def list_modes(
    models: Iterable[str],
    protocol: Protocol,
    *,
    zoom: bool = False,
    tight: bool = False,
    prompts: Sequence[CarryPrompt | None] = (None,),
    refines: bool = False,
) -> list[ModelMode]:
    """List how models are asked by a protocol.

    A propagation stands beside what the model does with a 3D box, and zoom beside whole slices;
    tight boxes stand beside those of the protocol.

    Parameters
    ----------
    models : iterable of str
    protocol : Protocol
    zoom : bool
        Whether each model is also scored where it zooms in on small boxes.
    tight : bool
        Whether each is also scored with boxes that are tight, in 2D.
    prompts : sequence of CarryPrompt
        What a propagation asks with, each scored on its own; None for the plugin's own way.
    refines : bool
        Whether each propagation is also scored after all three planes were asked.
    """
    found = []
    for zooms, name in product((False, True)[: 1 + zoom], models):
        plain = ModelMode(name, protocol, zooms)
        if protocol is Protocol.propagate:
            found += [replace(plain, by_3d_box=True)]
            carried = [replace(plain, prompt=prompt) for prompt in prompts]
            found += carried
            found += [replace(own, refines=True) for own in carried if refines]
        elif protocol is Protocol.loose:
            found += [replace(plain, looser=share) for share in LOOSE]
        elif protocol in (Protocol.clicks, Protocol.interactive):
            found += [replace(plain, clicks=count) for count in CLICKS]
        elif protocol is Protocol.scribbles:
            scribble, lasso = replace(plain, stroke="scribble"), replace(plain, stroke="lasso")
            found += [plain, replace(plain, clicks=1), replace(scribble, clicks=1), lasso]
        else:
            found.append(plain)
            if protocol is Protocol.confidence:
                found.append(replace(plain, mends=True))
            if tight:
                found.append(replace(plain, tight=True))
    return found


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes
    ----------
    scores : dict of ModelMode to list of Score
        Of the same objects in the same order.
    failed : dict of str to str
        By data set/case, why it could not be scored.
    """

    scores: dict[ModelMode, list[Score]]
    failed: dict[str, str]


def score_models(
    data_dir: Path,
    engines: Mapping[str, Engine],
    modes: Sequence[ModelMode],
    seed: int,
    limit: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    modality: str | None = None,
) -> Evaluation:
    """Segment the objects of all cases in each mode and score the masks.

    Parameters
    ----------
    data_dir : Path
        Holds <modality>/<data set>/<case>.npz.
    engines : mapping of str to Engine
        Models by name.
    modes : sequence of ModelMode
        Of one protocol.
    seed : int
        Of the boxes and of what `limit` draws.
    limit : int, optional
        At most so many objects of each data set.
    report : callable
        Told how many objects of how many are done.
    modality : str, optional
        Only cases of this one.

    Raises
    ------
    VolumeError
        If there is no case, or no object in them. A single bad case is listed, not raised.
    ModelError
        If a network fails.
    """
    protocol = modes[0].protocol
    cases = [case for case in find_cases(data_dir) if modality in (None, case.modality)]
    targets, failed = _all_targets(cases, protocol, seed)
    if limit is not None:
        targets = draw_targets(targets, limit, seed)
    scores: dict[ModelMode, list[Score]] = {mode: [] for mode in modes}
    done = 0
    by_case = groupby(targets, key=lambda target: target.case)
    for number, (case, group) in enumerate(by_case):
        of_case = list(group)
        try:
            for mode, own in _score_case(of_case, engines, number, modes, seed).items():
                scores[mode] += own
        except VolumeError as error:
            failed[f"{case.data_set}/{case.name}"] = str(error)
        done += len(of_case)
        report(done, len(targets))
    if not any(scores.values()):
        raise VolumeError(
            f"{data_dir}: nothing could be scored by the {protocol} protocol; {len(failed)} cases "
            f"failed. {next(iter(failed.values()), 'It needs cases with labelled objects.')}"
        )
    return Evaluation(scores, failed)


def _all_targets(
    cases: Sequence[NpzCase], protocol: Protocol, seed: int
) -> tuple[list[Target], dict[str, str]]:
    targets, failed = [], {}
    for case in cases:
        try:
            targets += list_targets(case, protocol, seed)
        except VolumeError as error:
            failed[f"{case.data_set}/{case.name}"] = str(error)
    return targets, failed


def _score_case(
    targets: Sequence[Target],
    engines: Mapping[str, Engine],
    start: int,
    modes: Sequence[ModelMode],
    seed: int,
) -> dict[ModelMode, list[Score]]:
    case = targets[0].case
    volume = read_volume(case.path)
    label = reference(case, read_arrays(case.path, "gts"), volume.data.shape[:3])
    runs = []
    # Modes that differ in nothing but their clicks go on from each other's masks.
    memories: dict[ModelMode, _Memory] = defaultdict(_Memory)
    for mode in modes:
        zoom = Zoom() if mode.zoom else None
        session = AnnotationSession(
            volume, engines[mode.model], zoom=zoom, carry_prompt=mode.prompt
        )
        runs.append(_ModelRun(session, mode, seed, memories[replace(mode, clicks=0)]))
    scores: dict[ModelMode, list[Score]] = {mode: [] for mode in modes}
    # All models answer for one slice before the next one, and take turns in being first, so that
    # what slows the machine down for a while slows down all of them.
    for turn, (_, group) in enumerate(groupby(targets, key=lambda target: target.turn), start):
        of_turn = list(group)
        first = turn % len(runs)
        for run in runs[first:] + runs[:first]:
            scores[run.mode] += [run.score(target, label) for target in of_turn]
    return scores


@dataclass
class _Memory:
    """What is known from earlier objects and clicks.

    Attributes
    ----------
    answers : dict of Target to list of (BoxPrompt, SliceMask)
        What was asked and found with no click, one, two ...
    corrections : dict of Target to list of Correction
        The same of volumes.
    encode_ms : dict of int to float
        What encoding each slice took.
    """

    answers: dict[Target, list[tuple[BoxPrompt, SliceMask]]] = field(default_factory=dict)
    corrections: dict[Target, list[Correction]] = field(default_factory=dict)
    encode_ms: dict[int, float] = field(default_factory=dict)


class _ModelRun:
    """One mode of a model on one case.

    Parameters
    ----------
    session : AnnotationSession
    mode : ModelMode
    seed : int
        Of the boxes on middle slices, which are propagated.
    memory : _Memory
    """

    def __init__(
        self, session: AnnotationSession, mode: ModelMode, seed: int, memory: _Memory
    ) -> None:
        self._session = session
        self.mode = mode
        self._seed = seed
        self._memory = memory
        # Of the last target's masks, where they are checked.
        self._sure: list[float] = []

    def score(self, target: Target, label: Label) -> Score:
        masks = self._masks(target, label)
        spacing = self._session.volume.spacing
        if target.index is not None:
            reference = label[target.index] == target.label_id
            mask, spacing = masks[0].mask, spacing[1:]
        else:
            reference = label == target.label_id
            mask = np.zeros(label.shape, bool)
            for answer in masks:
                mask[answer.index] = answer.mask
        ms = sum(self._ms(answer) for answer in masks)
        if self.mode.refines and mask.any():
            begun = perf_counter()
            mask = _refined(self._session, mask)
            ms += (perf_counter() - begun) * 1000
        return Score(
            target,
            dsc=dsc(reference, mask),
            nsd=nsd(reference, mask, spacing.tolist(), TOLERANCE_MM),
            ms=ms,
            share=None if target.index is None else float(reference.mean()),
            checks=pair_checks(masks, self._sure, target, label) if self._sure else (),
            **({} if target.index is not None else _count_slices(reference, mask)),
        )

    def _masks(self, target: Target, label: Label) -> list[SliceMask]:
        self._sure = []
        if isinstance(target.box, BoxPrompt):
            return [self._slice_mask(target, target.box, label)]
        if self.mode.protocol is Protocol.interactive:
            return self._corrected(target, target.box, label).masks
        if not self.mode.propagates:
            return list(self._session.segment(target.box))
        (first,) = self._session.segment(middle_box(target, label, self._seed))
        if not first.mask.any():
            return [first]
        last = len(label) - 1
        found = self._session.carry(0, {first.index: first.mask}, 0, last)
        masks = [first, *(mask for mask in found if isinstance(mask, SliceMask))]
        if self.mode.protocol is Protocol.confidence:
            self._sure = check_slices(self._session, masks)
        if self.mode.mends:
            # Later, the embeddings are at hand.
            for mask in masks:
                self._note_encoding(mask)
            masks = mend_worst(self._session, masks, self._sure, target, label, self._seed)
            self._sure = []
        return masks

    def _corrected(self, target: Target, box: BoxPrompt3D, label: Label) -> Correction:
        found = self._memory.corrections.setdefault(target, [])
        if not found:
            found.append(begin(self._session, box))
        while len(found) <= self.mode.clicks:
            found.append(correct(self._session, found[-1], box, label == target.label_id))
        for answer in found[self.mode.clicks].asked:
            self._note_encoding(answer)
        return found[self.mode.clicks]

    def _slice_mask(self, target: Target, box: BoxPrompt, label: Label) -> SliceMask:
        wanted = label[box.index] == target.label_id
        if self.mode.tight:
            box = tightened(box, wanted)
        if self.mode.looser:
            box = loosened(box, self.mode.looser, label.shape[1:])
        if self.mode.stroke == "lasso":
            rng = seeded_rng(self._seed, "lasso", target.case.name, box.index, target.label_id)
            drawn = outline(drawn_around(wanted, rng))
            return self._ask(lasso_prompt(0, box.index, drawn, label[0].shape))[1]
        answers = self._memory.answers.setdefault(target, [])
        if not answers:
            answers.append(self._ask(box))
        while len(answers) <= self.mode.clicks:
            asked, answer = answers[-1]
            if self.mode.stroke:
                scribble = next_scribble(answer.mask, wanted)
                click = None if scribble is None else Click.along(*scribble)
            else:
                place = next_click(answer.mask, wanted)
                click = None if place is None else Click(*place)
            # Where nothing is wrong any more, nothing is asked.
            if click is not None:
                asked = replace(asked, clicks=(*asked.clicks, click))
            answers.append(answers[-1] if click is None else self._ask(asked))
        return answers[self.mode.clicks][1]

    def _ask(self, box: BoxPrompt) -> tuple[BoxPrompt, SliceMask]:
        (answer,) = self._session.segment(box)
        self._note_encoding(answer)
        return box, answer

    def _note_encoding(self, answer: SliceMask) -> None:
        if answer.encode_ms > 0:
            self._memory.encode_ms[answer.index] = answer.encode_ms

    def _ms(self, answer: SliceMask) -> float:
        # The embedding may be at hand from another object; each is charged as if it came alone. A
        # propagation that ended on a slice has encoded it, and does not say how long that took.
        self._note_encoding(answer)
        usual = median(self._memory.encode_ms.values())
        return self._memory.encode_ms.get(answer.index, usual) + answer.decode_ms


def _count_slices(reference: Bool, mask: Bool) -> dict[str, int]:
    found, wanted = mask.any((1, 2)), reference.any((1, 2))
    missed = ~found & (reference.sum((1, 2)) >= MIN_PIXELS)
    return {
        "ghosts": int(np.sum(found & ~wanted)),
        "slices": int(np.sum(found)),
        "missed": int(np.sum(missed)),
        "wanted": int(np.sum(wanted)),
    }


def _refined(session: AnnotationSession, mask: Bool) -> Bool:
    steps = session.refine(mask)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            refined: Bool = end.value
            return refined
