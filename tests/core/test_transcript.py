"""The history as a value, and every rule on what a turn may say."""

import pytest

from convcache import (
    ConversationEndedError,
    DanglingToolUseError,
    EmptyMessageError,
    OrphanToolResultError,
    UnencodableError,
)
from convcache.core.transcript import Transcript


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def user(*blocks: dict) -> dict:
    return {"role": "user", "content": list(blocks)}


def call(name: str) -> dict:
    return {"type": "tool_use", "id": name, "name": "look", "input": {}}


def result(name: str) -> dict:
    return {"type": "tool_result", "tool_use_id": name, "content": "found"}


def after_turn(*reply: dict, stop_reason: str = "end_turn") -> Transcript:
    asked = Transcript().asked("hello")
    return Transcript().answered(asked, reply, stop_reason)


def test_a_string_goes_out_as_a_block_so_that_it_never_changes_its_form():
    assert Transcript().asked("hello") == (user(text("hello")),)


def test_asking_leaves_the_transcript_as_it_was():
    transcript = after_turn(text("hi"))
    transcript.asked("more")

    assert [message["role"] for message in transcript.messages] == ["user", "assistant"]


def test_staged_blocks_and_the_content_of_the_turn_make_one_user_message():
    transcript = Transcript().append("first", text("second"))

    assert transcript.asked("third") == (user(text("first"), text("second"), text("third")),)


def test_tool_results_come_first_in_a_message_made_of_blocks():
    transcript = after_turn(call("a")).append("and by the way")

    assert transcript.asked(result("a"))[-1] == user(result("a"), text("and by the way"))


def test_a_staged_message_stands_for_itself():
    transcript = Transcript().append(user(text("one")), {"role": "assistant", "content": "two"}, "three")

    assert [message["role"] for message in transcript.asked()] == ["user", "assistant", "user"]


def test_staged_content_is_sent_once():
    transcript = Transcript().append("first")
    transcript = transcript.answered(transcript.asked(), [text("ok")], "end_turn")

    assert transcript.staged.messages == ()


@pytest.mark.parametrize("content", ["", "  \n", [], text(""), [text("hello"), text(" ")]])
def test_saying_nothing_is_refused(content):
    with pytest.raises(EmptyMessageError, match="Give at least one non-empty block"):
        Transcript().asked(content)


def test_a_turn_without_content_is_refused_when_it_is_the_users_to_speak():
    with pytest.raises(EmptyMessageError, match="nothing to send"):
        after_turn(text("hi")).asked()


def test_a_paused_reply_is_continued_without_content():
    paused = after_turn(text("let me search"), stop_reason="pause_turn")

    assert paused.asked() == paused.messages


def test_an_adopted_history_that_ends_with_the_user_is_sent_as_it_is():
    adopted = Transcript.adopting([{"role": "user", "content": "hello"}])

    assert adopted.asked() == (user(text("hello")),)


def test_adopted_strings_of_the_user_become_blocks_so_that_they_never_change_their_form():
    history = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]

    assert Transcript.adopting(history).messages == (user(text("hello")), history[1])


def test_every_tool_call_needs_its_result():
    transcript = after_turn(call("a"), call("b"))

    with pytest.raises(DanglingToolUseError, match="no result: b") as caught:
        transcript.asked([result("a")])
    assert caught.value.tool_use_ids == ("b",)
    assert "rewind" in caught.value.remedy


@pytest.mark.parametrize("content", [None, "never mind"])
def test_a_turn_that_ignores_a_tool_call_is_refused(content):
    with pytest.raises(DanglingToolUseError):
        after_turn(call("a")).asked(content)


def test_results_may_be_staged_one_by_one():
    transcript = after_turn(call("a"), call("b")).append(result("a")).append(result("b"))

    assert transcript.asked()[-1] == user(result("a"), result("b"))


def test_a_result_without_its_call_is_refused():
    with pytest.raises(OrphanToolResultError, match="zzz"):
        after_turn(text("hi")).asked(result("zzz"))


def test_an_adopted_history_may_end_in_a_tool_call_but_not_hide_one():
    asking, calling = user(text("go")), {"role": "assistant", "content": [call("a")]}

    assert Transcript.adopting([asking, calling]).asked(result("a"))[-1] == user(result("a"))
    with pytest.raises(DanglingToolUseError):
        Transcript.adopting([asking, calling, asking])


@pytest.mark.parametrize("stop_reason", ["refusal", "model_context_window_exceeded"])
def test_a_conversation_that_ended_names_the_next_step(stop_reason):
    ended = after_turn(text("no"), stop_reason=stop_reason)

    with pytest.raises(ConversationEndedError, match=stop_reason) as caught:
        ended.asked("please")
    assert "rewind" in caught.value.remedy
    assert ended.rewound(1).asked("something else")


def test_a_reply_without_content_adds_no_message():
    transcript = after_turn()

    assert [message["role"] for message in transcript.asked("still there?")] == ["user", "user"]


def test_rewinding_forgets_whole_turns_and_what_is_staged():
    transcript = Transcript.adopting([user(text("a")), {"role": "assistant", "content": "b"}])
    once = transcript.answered(transcript.asked("c"), [text("d")], "end_turn")
    twice = once.answered(once.asked("e"), [text("f")], "end_turn")

    assert twice.append("staged").rewound(1) == once
    assert twice.rewound(2) == transcript
    with pytest.raises(ValueError, match="cannot rewind 3 turns of a conversation that has 2"):
        twice.rewound(3)


@pytest.mark.parametrize("broken", ["\ud83d", float("nan"), object()])
def test_content_without_a_json_form_is_refused_before_anything_is_sent(broken):
    with pytest.raises(UnencodableError):
        Transcript().asked({"type": "text", "text": "x", "extra": broken})
    with pytest.raises(UnencodableError):
        Transcript().asked({"role": "user", "content": "x", "extra": broken})


def test_the_history_does_not_change_with_the_callers_objects():
    block = text("hello")
    transcript = Transcript().append(block)
    block["text"] = "changed"

    assert transcript.asked()[0]["content"][0] == text("hello")


@pytest.mark.parametrize("wrong", [3, [3], [{"text": "no type"}], {"role": "user"}])
def test_what_is_no_content_is_a_type_error(wrong):
    with pytest.raises(TypeError):
        Transcript().append(*wrong) if isinstance(wrong, list) else Transcript().asked(wrong)
