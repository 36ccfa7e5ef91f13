"""The rhythm is a distribution, learns from what it is told, and can be kept and shared."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convcache.core.proof import Proof
from convcache.core.rhythm import EDGES, Rhythm, moment

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
MOMENTS = ["tool_use", "opener", "early", "settled", "pause_turn", "ended"]
gaps = st.tuples(
    st.sampled_from(MOMENTS), st.floats(0, 200_000).map(lambda seconds: seconds * SECOND), st.booleans()
)


def told(*told_gaps) -> Rhythm:
    rhythm = Rhythm()
    for what, gap, returned in told_gaps:
        rhythm = rhythm.after(what, gap, returned=returned)
    return rhythm


@given(st.lists(gaps, max_size=30), st.sampled_from(MOMENTS), st.lists(st.floats(0, 200_000), min_size=2))
def test_the_chance_to_be_still_idle_starts_at_one_and_only_falls(seen, what, ages):
    distribution = told(*seen).gaps(what)

    chances = [distribution.outlast(age) for age in sorted(ages)]

    assert distribution.outlast(0) == 1
    assert all(0 <= later <= earlier <= 1 for earlier, later in itertools.pairwise(chances))
    assert distribution.outlast(10 * EDGES[-1]) == distribution.gone


@pytest.mark.parametrize("what", MOMENTS)
def test_the_chance_to_be_still_idle_has_no_jumps_where_bins_meet(what):
    distribution = Rhythm().gaps(what)

    for edge in EDGES[:-1]:
        assert distribution.outlast(edge * (1 + 1e-9)) == pytest.approx(
            distribution.outlast(edge * (1 - 1e-9))
        )


def test_before_anything_is_seen_tools_return_at_once_and_people_take_their_time():
    rhythm = Rhythm()

    assert rhythm.gaps("tool_use").outlast(300) < 0.05
    assert 0.2 < rhythm.gaps("settled").outlast(300) < rhythm.gaps("opener").outlast(300)
    assert rhythm.gaps("ended").gone == 1


def test_the_rhythm_of_an_application_takes_over_from_the_prior():
    slow = told(*[("settled", 12 * MINUTE, True)] * 500)

    assert slow.gaps("settled").outlast(300) > 0.9
    assert slow.gaps("settled").outlast(3600) < 0.05
    assert slow.gaps("opener") == Rhythm().gaps("opener")


def test_a_conversation_that_keeps_its_own_time_is_believed_after_some_gaps():
    everybody, own = told(*[("settled", 20 * SECOND, True)] * 200), Rhythm(prior={})
    before = everybody.gaps("settled", own)
    for _ in range(12):
        own = own.after("settled", 30 * MINUTE)

    assert before == everybody.gaps("settled")
    assert everybody.gaps("settled", own).outlast(300) > everybody.gaps("settled").outlast(300) + 0.3


def test_who_does_not_come_back_makes_it_likelier_that_nobody_does():
    assert told(*[("opener", 2 * DAY, False)] * 50).gaps("opener").gone > Rhythm().gaps("opener").gone + 0.3


def test_a_gap_of_a_day_counts_as_none():
    assert told(("settled", 2 * DAY, True)) == told(("settled", 2 * DAY, False))


@given(
    st.lists(st.floats(1, 100_000), min_size=1, max_size=5).map(sorted), st.floats(1, 100_000), st.booleans()
)
def test_a_gap_told_bit_by_bit_is_the_gap_told_at_once(idle, more, returned):
    whole = (idle[-1] + more) * SECOND
    rhythm, before = Rhythm(), 0 * SECOND
    for seconds in idle:
        rhythm = rhythm.after("settled", seconds * SECOND, returned=False, since=before)
        before = seconds * SECOND
    rhythm = rhythm.after("settled", whole, returned=returned, since=before)

    assert rhythm.gaps("settled") == Rhythm().after("settled", whole, returned=returned).gaps("settled")


@given(st.lists(gaps, max_size=20), st.lists(gaps, max_size=20))
def test_what_two_learned_apart_is_merged_into_what_one_would_have_learned(some, others):
    merged, alone = told(*some).merged(told(*others)), told(*some, *others)

    assert {what: merged.gaps(what) for what in MOMENTS} == {what: alone.gaps(what) for what in MOMENTS}


@given(st.lists(gaps, max_size=20))
def test_a_rhythm_survives_being_saved_as_json(seen):
    rhythm = told(*seen)

    assert Rhythm.loaded(json.loads(json.dumps(rhythm.saved()))) == rhythm


def test_a_rhythm_saved_with_other_bins_is_refused():
    with pytest.raises(ValueError, match="other bins"):
        Rhythm.loaded({"edges": [1, 2], "tallies": {}})


def test_telling_leaves_the_rhythm_before_as_it_was():
    before = Rhythm()
    before.after("opener", 5 * SECOND)

    assert before == Rhythm()


@pytest.mark.parametrize(
    ("stop_reason", "hand_overs", "expected"),
    [
        ("tool_use", 3, "tool_use"),
        ("pause_turn", 0, "pause_turn"),
        ("end_turn", 0, "opener"),
        ("end_turn", 1, "early"),
        ("stop_sequence", 4, "settled"),
        ("refusal", 9, "ended"),
        ("max_tokens", 0, "ended"),
    ],
)
def test_a_reply_says_what_to_expect(stop_reason, hand_overs, expected):
    assert moment(stop_reason, hand_overs) == expected


def test_what_was_seen_of_upgrades_is_saved_and_merged_with_the_rhythm():
    seen = Rhythm().with_proof("claude-opus-5", Proof(held=2, lost=1))
    other = Rhythm().with_proof("claude-opus-5", Proof(held=3)).with_proof("claude-haiku-5-5", Proof(lost=1))
    loaded = Rhythm.loaded(json.loads(json.dumps(seen.saved())))
    merged = loaded.merged(other)

    assert loaded.proof("claude-opus-5") == Proof(held=2, lost=1)
    assert merged.proof("claude-opus-5") == Proof(held=5, lost=1)
    assert merged.proof("claude-haiku-5-5") == Proof(lost=1)


def test_an_outcome_that_is_awaited_is_not_saved():
    tried = Rhythm().with_proof("claude-opus-5", Proof().on_trial(datetime(2026, 3, 1, tzinfo=UTC)))

    assert Rhythm.loaded(tried.saved()).proof("claude-opus-5") == Proof()


def test_a_rhythm_that_was_saved_before_upgrades_were_kept_with_it_loads():
    saved = Rhythm().saved()
    del saved["proofs"]

    assert Rhythm.loaded(saved).proofs == {}
