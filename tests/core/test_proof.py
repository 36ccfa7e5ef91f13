"""Whether an upgrade holds for its hour: believed once it was seen, tried one at a time until then."""

from datetime import UTC, datetime, timedelta

from convcache.core.proof import TELLS_AFTER, Proof, tells

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_nothing_is_known_at_first_and_one_may_be_tried():
    assert Proof().allows(START)
    assert not Proof().holds


def test_while_one_is_on_trial_there_is_no_other_for_its_hour():
    tried = Proof().on_trial(START)

    assert not tried.allows(START + HOUR - timedelta(seconds=1))
    assert tried.allows(START + HOUR)


def test_one_that_told_nothing_makes_room_for_the_next():
    assert Proof().on_trial(START).told_nothing().allows(START)


def test_once_it_was_seen_to_hold_all_may_be_sent_and_none_is_on_trial():
    proof = Proof().on_trial(START).seen(held=True)

    assert proof.holds
    assert proof.allows(START)
    assert proof.on_trial(START).tried is None


def test_a_contradiction_ends_upgrades_and_one_loss_among_many_reads_does_not():
    refuted, lucky = Proof().seen(held=False), Proof(held=20).seen(held=False)

    assert not refuted.allows(START + timedelta(days=9))
    assert lucky.holds
    assert not Proof(held=1).seen(held=False).holds


def test_only_a_use_after_five_minutes_and_within_the_hour_tells():
    assert not tells(START, START + timedelta(minutes=5))
    assert tells(START, START + TELLS_AFTER)
    assert not tells(START, START + HOUR)
