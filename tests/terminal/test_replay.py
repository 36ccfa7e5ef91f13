"""A recorded session, sent again: what it says of each request, and that it says why one missed."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from convcache.terminal import cli

STRIPPING = "claude-haiku-4-5-20251001"
LONG = "word " * 400


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def thinking(words: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": "sig"}


def call(id_: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": "read", "input": {"path": "a"}}


@pytest.fixture
def replayed(recording, tmp_path):
    """The requests of the JSON document, and its totals; the replay must have gone well."""

    def run(*options: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        done = CliRunner().invoke(cli, ["replay", recording.saved(tmp_path), "--json", *options])
        assert done.exit_code == 0, done.output
        document = json.loads(done.stdout)
        return document["requests"], document["totals"]

    return run


def left(request: dict[str, Any]) -> int:
    return request["read"] + request["written_5m"] + request["written_1h"]


def test_the_first_request_is_filled_up_to_its_recorded_size_and_later_ones_read_all_before(
    recording, replayed
):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."), prompt=6000)
    recording.after(seconds=30).says(LONG)
    recording.replies("msg_2", text("I see."))

    (first, second), totals = replayed()

    assert (first["read"], first["written_5m"], first["uncached"], first["output"]) == (0, 6000, 0, 7)
    assert second["read"] == left(first)
    assert (second["miss"], second["note"]) == (None, "")
    assert totals["read_everything"] == 1


@pytest.mark.parametrize("platform", ["claude", "bedrock"])
def test_thirty_parallel_calls_do_not_put_the_cache_out_of_reach(recording, replayed, platform):
    recording.says("read all")
    lines = recording.replies("msg_1", thinking("Hm."), *(call(f"c{n}") for n in range(30)))
    for number in reversed(range(30)):
        last = recording.returns(f"c{number}", to=lines[number + 1])
    recording.replies("msg_2", text("Read."), parent=last)

    (first, second), _ = replayed("--platform", platform)

    assert second["read"] == left(first)


def test_a_pause_longer_than_the_ttl_is_told_with_its_length(recording, replayed):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."))
    recording.after(minutes=12, seconds=3).says("still there?")
    recording.replies("msg_2", text("Yes."))

    (_, second), totals = replayed()

    assert (second["read"], second["miss"]) == (0, "expired")
    assert second["note"] == "expired: the pause of 12m 03s outlived the cache's 5 minutes"
    assert totals["missed"] == {"expired": 1}


def test_a_switched_model_is_told_by_name(recording, replayed):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."))
    recording.says("shorter")
    recording.replies("msg_2", text("Hi"), model=STRIPPING)

    (_, second), _ = replayed()

    assert (second["read"], second["miss"]) == (0, "model_changed")
    assert second["note"] == f"the model was switched to {STRIPPING}"


def test_a_model_that_strips_thinking_is_named_as_the_reason(recording, replayed):
    recording.says("read")
    (line, *_) = recording.replies("msg_1", thinking(LONG), call("a"), model=STRIPPING, prompt=9000)
    recording.returns("a", to=recording.last or line)
    recording.replies("msg_2", text("Read."), model=STRIPPING)
    recording.says("thanks")
    recording.replies("msg_3", text("Any time."), model=STRIPPING)

    (first, second, third), _ = replayed()

    assert second["read"] == left(first)
    assert 0 < third["read"] < left(second)
    assert third["miss"] == "thinking_dropped"
    assert "drops its earlier thinking" in third["note"]


def test_a_rewritten_history_is_told_and_what_stayed_is_still_read(recording, replayed):
    recording.says(LONG)
    recording.replies("msg_1", text("One."), text("Two."))
    recording.says("go on")
    recording.replies("msg_2", text("Three."))
    recording.says(LONG, parent=None)
    recording.replies("msg_1", text("One."))
    recording.says("go on")
    recording.replies("msg_3", text("Four."))

    *_, last = replayed()[0]

    assert (last["miss"], last["status"]) == ("history_changed", 200)
    assert last["note"] == "the transcript rewrote its history from its first reply on"
    assert last["read"] > 5000


def test_a_branch_goes_on_from_where_it_left(recording, replayed):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."))
    fork = recording.last
    recording.says(LONG)
    recording.replies("msg_2", text("I see."))
    recording.says("another way", parent=fork)
    recording.replies("msg_3", text("As you like."))
    back = recording.says("the first way", parent="line-3")
    recording.replies("msg_4", text("Welcome back."), parent=back)

    (first, second, third, fourth), _ = replayed()

    assert third["note"] == "the transcript goes back 1 request and takes another way"
    # And the reply that both ways go on from: where forks part, there is a breakpoint.
    assert third["read"] == left(first) + 1
    assert (fourth["read"], fourth["miss"]) == (left(second), None)


def test_a_side_request_with_a_history_of_its_own_is_a_conversation_of_its_own(recording, replayed):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."))
    main = recording.last
    recording.says("a title, please", parent=None)
    recording.replies("msg_2", text("Greetings"), model=STRIPPING, prompt=5000)
    recording.says("go on", parent=main)
    recording.replies("msg_3", text("Sure."))

    (first, side, third), totals = replayed()

    assert (side["conversation"], side["written_5m"]) == (2, 5000)
    assert third["read"] == left(first)
    assert totals["conversations"] == 2


def test_the_document_has_these_fields(recording, replayed):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."))

    (request,), totals = replayed()

    counts = ["read", "written_5m", "written_1h", "uncached", "output"]
    assert list(request) == [
        "index", "at", "conversation", "model", "status", *counts, "forecast", "recorded", "cost",
        "uncached_cost", "miss", "note",
    ]  # fmt: skip
    assert list(request["forecast"]) == counts
    assert request["at"] == "2026-01-21T15:30:00+00:00"
    assert list(totals) == [
        "requests", "refused", "conversations", *counts, "cost", "uncached_cost", "percent_saved",
        "read_everything", "missed",
    ]  # fmt: skip
    assert float(totals["cost"]) > 0


def test_the_table_has_a_line_for_each_request_and_then_the_totals(recording, tmp_path):
    recording.says("hello")
    recording.replies("msg_1", text("Hi."))
    recording.after(hours=2).says("back")
    recording.replies("msg_2", text("Hi."))

    done = CliRunner().invoke(cli, ["replay", recording.saved(tmp_path)])

    assert done.exit_code == 0
    head, first, second, _, *totals = done.stdout.splitlines()
    assert head.split() == ["#", "time", "(UTC)", "read", "written", "uncached", "output"]
    assert first.endswith("claude-opus-5: first request")
    assert second.endswith("expired: the pause of 2h 00m outlived the cache's 5 minutes")
    assert [line.split()[0] for line in totals] == ["requests", "tokens", "cost", "cache", "1"]
    assert done.stderr == ""


def test_a_refused_request_is_printed_and_the_rest_goes_on(recording, tmp_path):
    recording.says({"type": "hologram", "data": "?"})
    recording.replies("msg_1", text("What was that?"))
    recording.says("hello", parent=None)
    recording.replies("msg_2", text("Hi."))

    done = CliRunner().invoke(cli, ["replay", recording.saved(tmp_path)])

    assert done.exit_code == 1
    assert "REFUSED" in done.stdout
    assert "hologram" in done.stdout
    assert "2 in 2 conversations, 1 refused" in done.stdout


@pytest.mark.parametrize("name", ["missing.jsonl", "notes.txt", "."])
def test_a_file_that_cannot_be_read_is_named_in_one_plain_line(tmp_path, name):
    (tmp_path / "notes.txt").write_text("Dear diary")

    done = CliRunner().invoke(cli, ["replay", str(tmp_path / name)])

    assert done.exit_code == 2
    assert done.stderr.startswith("Cannot replay ")
    assert done.stderr.count("\n") == 1
