"""`python -m benchmarks.exchanges`, on exchanges made up here."""

import pytest

from benchmarks.exchanges import main

MARK = {"cache_control": {"type": "ephemeral"}}
GUIDE = "A sentence of the guide that the model answers from. " * 100
TOKENS = 1325


def exchange(place=0, *, read=0, written=0, uncached=3, cassette="a", said="hello", **fields):
    """A recorded exchange: a marked guide, and what was billed for it."""
    usage = {
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "input_tokens": uncached,
    }
    response = {"usage": fields.pop("usage", usage), "blocks": fields.pop("blocks", ["text"])}
    request = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 50,
        "system": [{"type": "text", "text": fields.pop("guide", GUIDE), **MARK}],
        "messages": [{"role": "user", "content": said}],
    }
    return {
        "repo": "someone/something",
        "path": f"cassettes/{cassette}.yaml",
        "i": place,
        "endpoint": "/v1/messages",
        "date": None,
        "has_cache_control": True,
        "request": {**request, **fields.pop("request", {})},
        "response": response,
        **fields,
    }


@pytest.fixture
def run(recorded, capsys):
    """The exit code and what was printed."""

    def run(*rows):
        code = main([recorded(*rows)])
        return code, capsys.readouterr().out

    return run


def test_bills_that_agree_in_kind_are_told_with_both_sides(run):
    code, out = run(exchange(0, written=1400), exchange(1, read=1400))

    assert code == 0
    assert f"0   1400      3         0   {TOKENS}      5  agree    a 0" in out
    assert f"1400      0      3      {TOKENS}      0      5  agree    a 1" in out
    assert "2 marked exchanges, 0 refused\n2 agree in kind, 0 do not" in out
    assert "median 0.95" in out


def test_each_cassette_starts_from_an_empty_cache(run):
    _, out = run(exchange(written=1400, cassette="a"), exchange(written=1400, cassette="b"))

    assert "2 agree in kind" in out


def test_recorded_times_let_an_entry_expire(run):
    times = ["Sat, 15 Mar 2025 09:38:22 GMT", "Sat, 15 Mar 2025 09:43:22 GMT"]
    _, out = run(*(exchange(place, written=1400, date=date) for place, date in enumerate(times)))

    assert "2 agree in kind" in out


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        (exchange(read=1400), "warm before the recording began"),
        (
            exchange(read=1400, written=1500, blocks=["server_tool_use", "text"]),
            "container loop: later rounds (2 requests in one bill) read what the first one wrote",
        ),
        (
            exchange(written=1030, guide=GUIDE[:2000]),
            "estimate next to the minimum: 505 < 1024 <= 1033 billed",
        ),
        (exchange(written=0, uncached=1403), "written: unexplained"),
    ],
)
def test_a_row_that_disagrees_is_listed_with_its_cause(run, row, cause):
    code, out = run(row)

    assert code == 0
    assert "0 agree in kind, 1 do not" in out
    assert cause in out


def test_iterations_are_summed_because_totals_leave_some_out(run):
    iterations = [{"cache_creation_input_tokens": 1400, "input_tokens": 3}, {"input_tokens": 200}]
    _, out = run(exchange(usage={"input_tokens": 200, "iterations": iterations}))

    assert "1400    203" in out
    assert "1 agree in kind" in out


def test_a_refusal_fails_with_its_text(run):
    code, out = run(exchange(request={"messages": []}))

    assert code == 1
    assert "REFUSED  a 0: messages: at least one message is required" in out


def test_more_than_twelve_rows_that_disagree_fail(run):
    rows = [exchange(read=1400, cassette=str(number)) for number in range(13)]

    assert run(*rows[:12])[0] == 0
    assert run(*rows)[0] == 1


def test_exchanges_without_a_breakpoint_are_left_out(run):
    _, out = run(exchange(has_cache_control=False), exchange(written=1400, cassette="b"))

    assert "1 marked exchanges" in out


def test_a_stream_is_read_to_its_end(run):
    code, out = run(exchange(written=1400, request={"stream": True}))

    assert code == 0
    assert f"{TOKENS}      5  agree" in out
