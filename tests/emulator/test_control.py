"""Looking into the emulator and steering it over HTTP."""

from datetime import timedelta

import pytest

from convcache.emulator import SystemClock

MARK = {"type": "ephemeral"}
TALK = [{"role": "user", "content": [{"type": "text", "text": "one two", "cache_control": MARK}]}]
START = "2026-01-01T00:00:00+00:00"


def test_the_clock_is_told_and_moved(api):
    assert api.control("clock").json() == {"now": START, "virtual": True}
    assert api.control("clock", {"advance": 90.5}).json()["now"] == "2026-01-01T00:01:30.500000+00:00"
    assert (
        api.control("clock", {"at": "2026-01-01T02:00:00+01:00"}).json()["now"] == "2026-01-01T01:00:00+00:00"
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"advance": -1}, "never goes back"),
        ({"at": "2025-01-01T00:00:00Z"}, "never goes back"),
        ({"at": "2027-01-01T00:00:00"}, "zone"),
        ({"at": "tomorrow"}, "isoformat"),
        ({"advance": "a bit"}, "advance"),
        ({"advance": 1, "at": "2027-01-01T00:00:00Z"}, "advance"),
        ({"advance": 1e300}, ""),
        ({"advance": 2.3e11}, "up to 9000"),
        ({"at": "9999-12-31T00:00:00Z"}, "up to 9000"),
        ({"at": "9999-12-31T23:59:59-05:00"}, ""),
        ([], "object"),
        ({}, "advance"),
    ],
)
def test_the_clock_refuses_what_it_cannot_do(api, body, words):
    response = api.control("clock", body)
    assert response.status_code == 400
    assert words in response.json()["error"]
    assert api.control("clock").json()["now"] == START


def test_only_a_virtual_clock_can_be_moved(emulated):
    response = emulated(clock=SystemClock()).control("clock", {"advance": 1})
    assert (response.status_code, "virtual" in response.json()["error"]) == (400, True)


def test_every_request_is_told_with_what_it_cost_and_where_it_hit(api):
    api.send(TALK)
    api.pass_time(seconds=10)
    api.send(TALK)
    api.refused([])
    first, second, third = api.control("requests").json()["requests"]
    digest = first["breakpoints"][0]["digest"]
    assert first["body"]["messages"] == TALK
    assert (first["at"], first["path"], first["status"], first["hit"]) == (START, "/v1/messages", 200, None)
    assert first["breakpoints"] == [
        {"path": "messages.0.content.0", "digest": digest, "tokens": 2, "ttl": "5m"}
    ]
    assert first["usage"]["written_5m"] == 2
    assert second["hit"] == {"path": "messages.0.content.0", "digest": digest, "tokens": 2}
    assert (second["usage"]["read"], second["at"]) == (2, "2026-01-01T00:00:10+00:00")
    assert (third["status"], third["usage"]["uncached"]) == (400, 0)


def test_live_entries_are_told(api):
    api.send(TALK)
    (entry,) = api.control("entries").json()["entries"]
    digest = api.emulator.requests[0].breakpoints[0].digest
    assert entry == {
        "digest": digest,
        "path": "messages.0.content.0",
        "tokens": 2,
        "ttl": 300,
        "expires": "2026-01-01T00:05:00+00:00",
    }
    api.pass_time(minutes=5)
    assert api.control("entries").json() == {"entries": []}


def test_replies_are_scripted_over_http(api):
    assert api.control("replies", {"replies": [{"content": "as told"}]}).json() == {"queued": 1}
    assert api.send("a").content[0].text == "as told"
    for wrong in ({}, {"replies": "x"}, {"replies": [{"text": "x"}]}):
        assert api.control("replies", wrong).status_code == 400


def test_the_luck_of_reads_is_changed_over_http(api):
    assert api.control("faults", {"miss_rate": 1}).status_code == 200
    assert [api.billed(TALK)[0] for _ in range(2)] == [0, 0]
    api.control("faults", {"miss_rate": 0, "grace": 60})
    api.emulator.clock.advance(timedelta(seconds=330))
    assert api.billed(TALK)[0] > 0
    for wrong in ({"miss_rate": 2}, {"miss_rate": "x"}, {"grace": -1}, {"grace": True}, {"luck": 1}):
        assert api.control("faults", wrong).status_code == 400


def test_faults_are_asked_for_over_http(api):
    assert api.control("faults", {"faults": [{"status": 529}]}).json() == {"queued": 1}
    assert api.raw({"messages": TALK}).status_code == 529
    assert api.raw({"messages": TALK}).status_code == 200
    for wrong in ({"faults": [{"colour": "red"}]}, {"faults": [{"status": 200}]}, {"faults": 1}):
        assert api.control("faults", wrong).status_code == 400


def test_a_reset_forgets_everything_but_the_time(api):
    api.send(TALK)
    api.pass_time(seconds=10)
    api.control("faults", {"faults": [{"status": 529}]})
    api.control("replies", {"replies": [{"content": "as told"}]})
    assert api.control("reset", {}).json() == {"reset": True}
    assert (api.emulator.requests, api.emulator.entries) == ([], [])
    assert api.billed(TALK) == (0, 2, 0)
    assert api.emulator.requests[0].at == api.emulator.clock.now()


def test_an_unknown_control_is_not_found(api):
    response = api.control("magic")
    assert response.status_code == 404
    assert "POST /_emulator/reset" in response.json()["error"]


def test_the_oldest_bodies_are_let_go_when_they_grow_too_many(emulated):
    api = emulated(kept_body_bytes=300)
    for _ in range(3):
        api.send(TALK)
    *old, newest = api.emulator.requests
    assert newest.body["messages"] == TALK
    assert [record.kept_body for record in old[:1]] == [None]
    with pytest.raises(LookupError, match="kept_body_bytes"):
        _ = old[0].body
    assert api.control("requests").json()["requests"][0]["body"] is None


def test_a_time_is_the_start_of_the_request_not_of_the_response(emulated):
    api = emulated(first_token_delay=timedelta(0))
    api.send(TALK)
    assert api.emulator.requests[0].at.isoformat() == START


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"status": 429.5}, "status"),
        ({"status": True}, "status"),
        ({"status": "429"}, "status"),
        ({"status": 429, "retry_after": "x"}, "retry_after"),
        ({"status": 429, "retry_after": -1}, "retry_after"),
        ({"status": 429, "retry_after": True}, "retry_after"),
        ({"delay": 8e13}, "delay"),
        ({"delay": 1e300}, "seconds"),
        ({"delay": -1}, "delay"),
        ({"delay": True}, "delay"),
        ({"delay": "x"}, "delay"),
        ({"chunk_delay": 1e9}, "chunk_delay"),
        ({"chunk_delay": -1}, "chunk_delay"),
        ({"error_after": 1.5}, "error_after"),
        ({"error_after": True}, "error_after"),
        ({"cut_after": -1}, "cut_after"),
        ({"cut_after": False}, "cut_after"),
    ],
)
def test_an_impossible_fault_is_refused_at_once_and_named(api, fault, named):
    refused = api.control("faults", {"faults": [{"status": 529}, fault]})
    assert (refused.status_code, named in refused.json()["error"]) == (400, True)
    assert api.raw({"messages": TALK}).status_code == 200


@pytest.mark.parametrize(
    "reply",
    [
        {"content": "a", "usage": 5},
        {"content": "a", "usage": []},
        {"content": "a", "usage": {"output_tokens": "x"}},
        {"content": "a", "usage": {"output_tokens": 1.5}},
        {"content": "a", "usage": {"output_tokens": True}},
        {"content": "a", "usage": {"output_tokens": -1}},
        {"content": "a", "stop_reason": 7},
        {"content": "a", "stop_sequence": ["x"]},
        {"content": [{"type": "text", "text": 5}]},
        {"content": [{"type": "text"}]},
        {"content": [{"type": 5}]},
    ],
)
def test_an_impossible_reply_is_refused_at_once(api, reply):
    assert api.control("replies", {"replies": [{"content": "fine"}, reply]}).status_code == 400
    assert api.raw({"messages": TALK}).json()["content"][0]["text"] != "fine"


def test_at_the_end_of_time_requests_are_still_answered(api):
    assert api.control("clock", {"at": "9000-01-01T00:00:00Z"}).status_code == 200
    api.control("faults", {"faults": [{"status": 529, "retry_after": 31_622_400}]})
    assert [api.raw({"messages": TALK}).status_code for _ in range(2)] == [529, 200]
