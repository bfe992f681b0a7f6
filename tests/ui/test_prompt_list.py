"""Boxes that wait have one owner, whatever is done to them meanwhile."""

from dataclasses import replace

import numpy as np
import pytest
from scripted_engine import ScriptedEngine

from napari_medsamq.annotation.session import AnnotationSession
from napari_medsamq.errors import PromptError
from napari_medsamq.inference.preprocess import IDENTITY
from napari_medsamq.io.volume import volume_from_array
from napari_medsamq.prompts import BoxPrompt
from napari_medsamq.ui.prompt_list import PromptList, Request

BOX, OTHER = BoxPrompt(0, 3, 3, 5, 10, 12), BoxPrompt(0, 3, 2, 5, 10, 12)


@pytest.fixture
def session():
    array = np.full((8, 16, 14), 10, np.int16)
    array[:, 5:13, 3:11] = 200
    volume = volume_from_array(array.T, (1, 1, 1), modality="CT")
    return AnnotationSession(volume, ScriptedEngine(), IDENTITY)


@pytest.fixture
def prompts(session):
    return PromptList(session)


@pytest.fixture
def asked(prompts):
    found = []
    prompts.requested.connect(found.append)
    return found


def answer(session, prompts, request):
    return prompts.commit(request, list(session.segment(request.box)))


def test_a_box_waits_until_it_is_answered(session, prompts, asked):
    request = Request(BOX, 1)
    prompts.ask(request)
    assert asked == prompts.waiting == prompts.shown == [request]
    assert answer(session, prompts, request) is not None
    assert prompts.waiting == []
    assert prompts.shown == list(session.history.prompts)
    assert prompts.shown[0].box is BOX


def test_the_answer_to_a_box_that_was_moved_is_dropped(session, prompts, asked):
    request = Request(BOX, 1)
    prompts.ask(request)
    prompts.move(request, OTHER)
    assert [own.box for own in asked] == [BOX, OTHER]
    assert answer(session, prompts, request) is None
    assert not session.label.any()
    assert answer(session, prompts, asked[-1]) is not None


def test_a_committed_box_is_shown_where_it_is_moved_to(session, prompts, asked):
    prompts.ask(Request(BOX, 1))
    answer(session, prompts, asked[0])
    (prompt,) = prompts.shown
    prompts.move(prompt, OTHER)
    assert [item.box for item in prompts.shown] == [OTHER]
    assert asked[-1].replaces is prompt
    # Its rectangle may be in hand from before the answer came.
    prompts.move(asked[0], BOX)
    assert asked[-1].replaces is prompt


def test_what_was_answered_meanwhile_is_removed_from_the_label(session, prompts, asked):
    request = Request(BOX, 1)
    prompts.ask(request)
    answer(session, prompts, request)
    prompts.remove(request)
    assert prompts.shown == []
    assert not session.label.any()


def test_held_boxes_wait_for_the_user(session, prompts, asked):
    prompts.ask(Request(BOX, 1))
    prompts.hold([Request(OTHER, 2), Request(OTHER, 3)])
    prompts.hold([Request(OTHER, 4)])
    assert [request.label_id for request in prompts.held] == [4]
    assert [request.label_id for request in prompts.asked] == [1]
    assert len(asked) == 1
    prompts.release()
    assert prompts.held == []
    assert [request.label_id for request in asked] == [1, 4]
    assert prompts.waiting == asked


def test_the_latest_box_of_a_label_on_a_slice(session, prompts, asked):
    prompts.ask(Request(BOX, 1))
    answer(session, prompts, asked[0])
    assert prompts.latest(0, 3, 1).box is BOX
    assert prompts.latest(0, 3, 1, waiting=True) is None
    assert prompts.latest(0, 3, 2) is None
    assert prompts.latest(0, 4, 1) is None
    prompts.ask(Request(OTHER, 1))
    assert prompts.latest(0, 3, 1) is prompts.latest(0, 3, 1, waiting=True) is asked[-1]


def test_an_answer_with_nothing_in_it_is_refused_and_waits_no_more(session, prompts):
    request = Request(BOX, 1)
    prompts.ask(request)
    nothing = [replace(mask, mask=mask.mask & False) for mask in session.segment(BOX)]
    with pytest.raises(PromptError):
        prompts.commit(request, nothing)
    assert prompts.waiting == []
