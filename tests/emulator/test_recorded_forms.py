"""Odd requests that the API was recorded answering, in published test cassettes; refusing them would be wrong."""

import pytest

CALL = {"type": "tool_use", "id": "same", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "same", "content": "found"}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def text(words):
    return {"type": "text", "text": words}


ANSWERED = {
    "the assistant speaks first": [assistant(text("How can I help?")), user(text("A potato."))],
    "a later turn uses a call's id again": [
        user(text("a")),
        assistant(CALL),
        user(RESULT),
        assistant(CALL),
        user(RESULT),
    ],
    "white space before a call": [user(text("a")), assistant(text(" "), CALL), user(RESULT)],
}


@pytest.mark.parametrize("form", ANSWERED)
def test_it_is_answered(api, form):
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": ANSWERED[form]}

    assert api.raw(body).status_code == 200
