"""`python -m benchmarks.claude_code`, on requests made up here, and the honesty of its predictions."""

import attrs
import pytest

from benchmarks.claude_code import Logged, main, predictions

HEAD = 20_000


def row(place, at, *, read=0, written=0, uncached=5, **fields):
    """One request of a session, seconds after its start."""
    ttl = fields.pop("ttl", "5m")
    return {
        "repo": "someone/something",
        "session": "a",
        "thread": "main",
        "i": place,
        "model": "claude-opus-4-5",
        "t_req": 1_770_000_000 + at,
        "compact": False,
        "inp": uncached,
        "w5": written if ttl == "5m" else 0,
        "w1": written if ttl == "1h" else 0,
        "cr": read,
        "prompt": uncached + written + read,
        "user_blocks": [["text", 10]],
        "out_blocks": [["text", 10]],
        **fields,
    }


def foreseen(*rows):
    return [(one.cause, one.read) for one in predictions(map(Logged.of, rows))]


def test_a_history_within_its_ttl_is_read_and_one_after_it_is_not():
    assert foreseen(
        row(0, 0, written=30_000),
        row(1, 200, read=30_000, written=500),
        row(2, 499, read=30_500, written=500),
        row(3, 799, written=31_500),
    ) == [("first", 0), ("warm", 30_000), ("warm", 30_500), ("expired", 0)]


def test_an_hour_lasts_an_hour():
    assert foreseen(
        row(0, 0, written=30_000, ttl="1h"),
        row(1, 3599, read=30_000, written=5, ttl="1h"),
        row(2, 7199, written=30_500, ttl="1h"),
    ) == [("first", 0), ("warm", 30_000), ("expired", 0)]


def test_after_a_compaction_the_head_is_read_once_it_is_known():
    def life(at, place):
        return (
            row(place, at, written=30_000),
            row(place + 1, at + 10, read=HEAD, written=5_000, compact=True),
        )

    assert foreseen(*life(0, 0), *life(20, 2))[1::2] == [("compacted", 0), ("compacted", HEAD)]


def test_a_prompt_cut_short_has_lost_its_history_and_one_a_little_shorter_has_not():
    assert foreseen(
        row(0, 0, written=30_000),
        row(1, 10, read=30_000, written=1_000),
        row(2, 20, read=30_000, written=500),
        row(3, 30, read=HEAD, written=5_000),
    ) == [("first", 0), ("warm", 30_000), ("warm", 30_000), ("cut short", 0)]


def test_another_model_reads_nothing_and_the_first_one_still_reads_its_own():
    assert foreseen(
        row(0, 0, written=30_000),
        row(1, 10, written=30_500, model="claude-haiku-4-5"),
        row(2, 20, read=30_000, written=1_000),
    ) == [("first", 0), ("other model", 0), ("other model", 30_000)]


def test_sessions_share_a_head_that_one_of_them_has_shown():
    assert foreseen(
        row(0, 0, read=HEAD, written=10_000),
        row(0, 10, read=HEAD, written=9_000, session="b"),
        row(0, 400, written=29_000, session="c"),
    ) == [("first", 0), ("first", HEAD), ("first", 0)]


def test_a_reply_with_server_tools_stands_for_several_requests():
    looped = [["server_tool_use", 0], ["advisor_tool_result", 0], ["text", 5]]
    assert foreseen(
        row(0, 0, written=30_000),
        row(1, 10, read=60_000, written=1_000, out_blocks=looped),
        row(2, 20, read=30_500, written=400),
    ) == [("first", 0), ("warm", 30_000), ("warm", 30_500)]


def test_no_prediction_looks_at_its_own_bill_or_reply():
    rows = [
        row(0, 0, written=30_000),
        row(1, 10, read=30_000, written=900),
        row(2, 20, read=30_900, written=90),
    ]
    requests = [Logged.of(each) for each in rows]
    expected = predictions(requests)[2].read
    lied = attrs.evolve(requests[2], read=7, prefix=7, rounds=4, reply_blocks=99)

    assert predictions([*requests[:2], lied])[2].read == expected == 30_900


def test_it_prints_the_share_the_causes_and_what_nobody_recorded(recorded, capsys):
    rows = [
        row(0, 0, written=30_000),
        row(1, 10, read=30_000, written=500),
        row(2, 20, read=90_000, written=5),
    ]
    code = main([recorded(*rows)])
    out = capsys.readouterr().out

    assert code == 1
    assert "2 of 3 predictions within 2 % of the billed prefix: 66.667%" in out
    assert "1 read more than anything recorded had sent" in out
    assert "a    2    30500    30500    90000  warm" in out
    assert [line.split() for line in out.splitlines() if line.startswith("warm")] == [
        ["warm", "2", "1", "0", "1", "0", "50.00%"]
    ]


@pytest.mark.parametrize(("wrong", "code"), [(1, 0), (2, 1)])
def test_it_fails_under_97_5_percent(recorded, wrong, code):
    rows = [row(0, 0, written=30_000)]
    rows += [row(place, place, read=30_000, written=100) for place in range(1, 60 - wrong)]
    rows += [row(place, place, written=30_100) for place in range(60 - wrong, 60)]

    assert main([recorded(*rows)]) == code
