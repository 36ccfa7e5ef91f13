"""Which requests a transcript records."""

import gzip
from datetime import timedelta
from typing import Any

import pytest

from convcache.terminal.transcripts import Exchange, TranscriptError, exchanges


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(id_: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": "read", "input": {}}


def result(id_: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": "done"}


def read(recording: Any) -> list[Exchange]:
    return exchanges(recording.text.encode())


def test_a_reply_that_is_split_over_lines_is_one_request_with_the_last_output_count(recording):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."), text("How are you?"), prompt=900)

    (exchange,) = read(recording)

    assert exchange.reply == (text("Hi."), text("How are you?"))
    assert (exchange.usage.prompt, exchange.usage.output) == (900, 8)
    assert exchange.messages == ({"role": "user", "content": [text("hello")]},)


def test_results_of_parallel_calls_are_sent_together_wherever_they_hang(recording):
    recording.says("read both")
    first, second = recording.replies("msg_1", call("a"), call("b"))
    recording.returns("b", to=second)
    on_the_way = recording.returns("a", to=first)
    recording.replies("msg_2", text("Done."), parent=on_the_way)

    _, exchange = read(recording)

    assert exchange.messages[1:] == (
        {"role": "assistant", "content": [call("a"), call("b")]},
        {"role": "user", "content": [result("b"), result("a")]},
    )


def test_a_result_between_two_lines_of_a_reply_does_not_split_it(recording):
    recording.says("read both")
    (first,) = recording.replies("msg_1", call("a"))
    recording.returns("a", to=first)
    (second,) = recording.replies("msg_1", call("b"))
    recording.returns("b", to=second)
    recording.replies("msg_2", text("Done."))

    one, two = read(recording)

    assert one.reply == (call("a"), call("b"))
    assert [len(message["content"]) for message in two.messages] == [1, 2, 2]


def test_a_request_starts_when_the_last_thing_before_it_happened(recording):
    recording.says("hello")
    asked = recording.now
    recording.after(seconds=9).replies("msg_1", text("Hi."))

    assert [exchange.at for exchange in read(recording)] == [asked]


def test_a_request_that_was_retried_starts_at_the_last_retry(recording):
    recording.says("hello")
    recording.after(seconds=1).writes("system", subtype="api_error", retryInMs=2000.0)
    failed = recording.now
    recording.after(seconds=9).replies("msg_1", text("Hi."))

    assert [exchange.at for exchange in read(recording)] == [failed + timedelta(seconds=2)]


def test_a_history_that_is_written_again_is_no_new_request_and_stays_in_its_thread(recording):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."), text("How are you?"))
    recording.says("hello", parent=None)
    recording.replies("msg_1", text("Hi."))
    recording.says("fine")
    recording.replies("msg_2", text("Good."))

    first, second = read(recording)

    assert second.thread == first.thread
    assert second.messages[1] == {"role": "assistant", "content": [text("Hi.")]}


def test_another_root_is_another_thread(recording):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."))
    recording.says("Give this chat a title.", parent=None, isSidechain=True)
    recording.replies("msg_2", text("Greetings"), model="claude-haiku-4-5")

    first, second = read(recording)

    assert second.thread != first.thread
    assert len(second.messages) == 1


def test_what_no_model_said_is_no_request_but_part_of_the_history(recording):
    recording.says("hello")
    recording.replies("msg_0", text("No response requested."), model="<synthetic>")
    recording.says("hello again")
    recording.writes("assistant", message={"content": [text("API Error")]}, isApiErrorMessage=True)
    recording.replies("msg_1", text("Hi."))

    (exchange,) = read(recording)

    assert [message["role"] for message in exchange.messages] == ["user", "assistant", "user"]


def test_a_call_without_a_result_gets_one_and_a_result_without_a_call_is_left_out(recording):
    recording.says("read")
    recording.replies("msg_1", call("a"))
    recording.says(result("stray"), text("never mind"))
    recording.replies("msg_2", text("Fine."))

    _, exchange = read(recording)

    made_up, said = exchange.messages[-1]["content"]
    assert (made_up["tool_use_id"], made_up["is_error"]) == ("a", True)
    assert said == text("never mind")
    assert exchange.mended == 1


def test_text_that_holds_nothing_is_left_out(recording):
    recording.says(text(" "), text("hello"))
    recording.replies("msg_1", text(""), call("a"))
    recording.says({"type": "tool_result", "tool_use_id": "a", "content": [text(""), text("x")]})
    recording.replies("msg_2", text("Hi."))

    _, exchange = read(recording)

    assert [message["content"] for message in exchange.messages] == [
        [text("hello")],
        [call("a")],
        [{"type": "tool_result", "tool_use_id": "a", "content": [text("x")]}],
    ]


def test_a_compressed_transcript_reads_the_same(recording):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."))

    assert exchanges(gzip.compress(recording.text.encode())) == read(recording)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "records no reply"),
        (b"name,age\n", "line 1 is not JSON"),
        (b"{}\n[1]\n", "line 2 is not an event"),
        (b'{"timestamp": "noon"}', "timestamp that is none"),
        (b"\xff\xfe", "not text"),
        (gzip.compress(b"{}" * 1000)[:-20], "ends too early"),
        (gzip.compress(b"{}")[:10] + b"nonsense" * 9, "damaged"),
    ],
)
def test_what_is_no_transcript_is_told_apart(data, reason):
    with pytest.raises(TranscriptError, match=reason):
        exchanges(data)


def test_a_session_of_thousands_of_requests_that_was_resumed_is_read_without_trouble(recording):
    for copy in range(2):
        recording.says("start", parent=None)
        for number in range(1500):
            recording.replies(f"msg_{number}", text(f"{copy}"))
            recording.says("go on")
    recording.replies("msg_last", text("Done."))

    assert len(read(recording)[-1].messages) == 3001
