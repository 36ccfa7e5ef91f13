"""The prior can be fitted again from any trace."""

import sys
from datetime import timedelta

import pytest

from benchmarks import rhythm
from convcache.core.priors import SOURCES, hazards
from convcache.terminal.traffic import corpus
from tests.traces import billed, written


def test_a_table_is_printed_for_each_trace(tmp_path, capsys, monkeypatch):
    path = written(tmp_path / "sessions.jsonl", billed([0, 50, 900]))
    monkeypatch.setattr(sys, "argv", ["rhythm", str(path)])

    rhythm.main()

    printed = capsys.readouterr().out
    table = eval("{" + printed + "}")
    assert list(table) == [corpus("sessions", path.read_bytes()).fingerprint]
    assert printed.splitlines()[0].endswith("# sessions")
    ((opener, early),) = [tuple(moments[name] for name in ("opener", "early")) for moments in table.values()]
    assert opener == ((100_000, 100_000, 100_000) + (0,) * 21, (0, 0, 100_000) + (0,) * 21)
    # The second gap has just begun when the trace ends, so it counts half.
    assert early[1][10] == 66_667


def test_the_last_request_of_a_conversation_is_idle_until_the_trace_ends():
    rows = billed([0], thread="a") + billed([0, 7_000], thread="b")
    traffic = corpus("trace", "".join(f"{line}\n" for line in map(_json, rows)).encode())

    seen = rhythm.fitted(traffic).tallies["opener"]

    assert (seen.idle[0], sum(seen.came)) == (2, 1)
    assert list(rhythm.gaps(traffic.conversations[0])) in (
        [("opener", None)],
        [("opener", timedelta(seconds=7_000)), ("early", None)],
    )


def _json(row):
    import json

    return json.dumps(row)


@pytest.mark.parametrize("left_out", list(SOURCES))
def test_a_prior_can_be_had_without_any_of_its_sources(left_out):
    without = hazards(without=[left_out])

    assert without != hazards()
    assert set(without) >= {"opener", "early", "settled", "tool_use", "pause_turn"}
    assert all(0 <= chance <= 1 for bins in without.values() for chance in bins)
