"""The idle decision spends where it should save, and does nothing where it should not."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convcache.core.catalog import model
from convcache.core.proof import TELLS_AFTER
from convcache.core.refresh import (
    CREDIT,
    LAPSE,
    Account,
    Caution,
    Idle,
    Outlook,
    decide,
    lifetime,
)
from convcache.core.rhythm import EDGES, Gaps, Rhythm

START = datetime(2026, 11, 22, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PRICES = {
    ".1": model("claude-opus-5").prices,
    ".05": model("claude-opus-5-5").prices,
    ".025": model("claude-fable-5-1").prices,
}
OPUS = PRICES[".1"]


def always(minutes: float) -> Gaps:
    """The next request comes after this long, for certain."""
    return Gaps(tuple(1.0 if edge <= minutes * 60 else 0.0 for edge in EDGES))


NEVER = Gaps((1.0,) * len(EDGES))


def maybe(chance: float, minutes: float) -> Gaps:
    return Gaps(tuple(1 - chance * (1 - left) for left in always(minutes).survival))


def idle(**changes) -> Idle:
    waiting = Idle(since=START, tokens=100_000, ttl="5m", expires=START + 5 * MINUTE, reply=500)
    return attrs.evolve(waiting, **changes)


def decided(waiting: Idle, gaps: Gaps, *, prices=OPUS, at=START, **caution):
    return decide(waiting, gaps, prices, at=at, caution=Caution(**caution))


def test_nothing_is_spent_where_nobody_comes_back():
    assert decided(idle(), NEVER) == LAPSE


def test_nothing_is_spent_where_the_next_request_is_sure_to_come_in_time():
    assert decided(idle(), always(1)) == LAPSE


def test_a_pause_that_one_keep_alive_bridges_gets_one():
    decision = decided(idle(reply=None), always(6))

    assert (decision.action, decision.due) == ("keep_alive", START + 5 * MINUTE - timedelta(seconds=15))
    assert decision.cost == 100_000 * OPUS.read / 1_000_000
    assert float(decision.saving) == pytest.approx(100_000 * 5e-6 * (1.15 - 0.1))


def test_a_long_pause_is_bridged_by_an_upgrade_and_not_by_many_keep_alives():
    decision = decided(idle(), always(50))

    assert decision.action == "upgrade"
    assert decision.cost == (100_000 * OPUS.read + 500 * OPUS.write_1h) / 1_000_000


def test_a_reply_too_long_to_be_written_for_an_hour_is_not_upgraded():
    assert decided(idle(reply=90_000), always(6)).action == "keep_alive"


def test_after_a_tool_call_there_is_no_upgrade():
    assert decided(idle(reply=None), always(20)).action == "keep_alive"


def test_upgrades_can_be_forbidden():
    assert decided(idle(), always(20), upgrades=False).action == "keep_alive"


@pytest.mark.parametrize(("read", "longest"), [(".1", 40), (".05", 80), (".025", 150)])
def test_the_cheaper_the_reads_the_longer_a_conversation_is_kept_alive(read, longest):
    kept = [
        minutes
        for minutes in (6, 40, 80, 150, 300)
        if decided(idle(reply=None), always(minutes), prices=PRICES[read]).action == "keep_alive"
    ]

    assert max(kept) == longest


@pytest.mark.parametrize(("read", "worth"), [(".1", 0.09), (".05", 0.045), (".025", 0.022)])
def test_an_upgrade_needs_a_chance_of_return_that_pays_for_the_read(read, worth):
    def action(chance: float) -> str:
        return decided(idle(reply=0), maybe(chance, 20), prices=PRICES[read], min_gain=0.0).action

    assert (action(worth * 0.9), action(worth * 1.1)) == ("lapse", "upgrade")


def test_an_entry_that_has_lapsed_is_not_revived():
    assert decided(idle(), always(20), at=START + 5 * MINUTE) == LAPSE


def test_a_deadline_that_has_just_passed_is_due_at_once():
    late = START + 5 * MINUTE - timedelta(seconds=3)

    assert decided(idle(), always(20), at=late).due == late


def test_an_hour_is_renewed_when_it_ends_if_that_pays():
    hour = idle(ttl="1h", expires=START + 60 * MINUTE, reply=None)

    assert decided(hour, always(90)).action == "keep_alive"
    assert decided(hour, maybe(0.05, 90)) == LAPSE


def test_what_is_held_for_an_hour_anyway_is_not_paid_for_again():
    covered = idle(reply=None, hour_tokens=99_000, hour_expires=START + 60 * MINUTE)

    assert decided(idle(reply=None), always(20)).action == "keep_alive"
    assert decided(covered, always(20)) == LAPSE


def test_a_saving_below_the_floor_is_not_worth_a_request():
    gaps = always(6)
    saving = decided(idle(reply=None), gaps).saving

    assert decided(idle(reply=None), gaps, min_saving=saving) == LAPSE
    assert decided(idle(reply=None), gaps, min_saving=saving * Decimal("0.9")) != LAPSE


def test_what_saves_a_little_more_than_it_costs_may_be_asked_to_save_more():
    gaps = maybe(0.2, 9)
    certain = decided(idle(reply=None), gaps, min_gain=0.0)
    share = float(certain.saving / certain.cost)

    assert decided(idle(reply=None), gaps, min_gain=share * 1.01) == LAPSE
    assert decided(idle(reply=None), gaps, min_gain=share * 0.99) == certain


def test_an_upgrade_on_trial_is_read_as_soon_as_that_tells_even_if_nobody_comes_back():
    upgraded = START + 5 * MINUTE
    waiting = idle(ttl="1h", expires=upgraded + 60 * MINUTE, is_on_trial=True)

    decision = decided(waiting, maybe(0.0, 9), at=upgraded)

    assert (decision.action, decision.due) == ("keep_alive", upgraded + TELLS_AFTER)
    assert decision.cost == waiting.tokens * OPUS.read / 1_000_000
    assert decided(waiting, maybe(0.0, 9), at=upgraded + 60 * MINUTE) == LAPSE


def test_a_wider_margin_makes_the_deadline_earlier():
    decision = decided(idle(reply=None), always(6), margin=timedelta(seconds=40))

    assert decision.due == START + 5 * MINUTE - timedelta(seconds=40)


survivals = st.lists(st.floats(0.3, 1), min_size=len(EDGES), max_size=len(EDGES)).map(
    lambda factors: Gaps(tuple(_product(factors[: n + 1]) for n in range(len(factors))))
)


def _product(factors):
    left = 1.0
    for factor in factors:
        left *= factor
    return left


@given(survivals, st.integers(2_000, 500_000), st.integers(0, 20_000), st.sampled_from(list(PRICES)))
def test_what_is_done_saves_more_than_nothing_and_upgrades_are_never_a_worse_choice(
    gaps, tokens, reply, read
):
    waiting = idle(tokens=tokens, reply=reply)

    free, bound = (
        decided(waiting, gaps, prices=PRICES[read], upgrades=upgrades) for upgrades in (True, False)
    )

    assert free.saving >= bound.saving >= 0
    assert (free.action == "lapse") == (free.saving == 0)


@given(survivals, st.integers(2_000, 500_000), st.sampled_from(list(PRICES)))
def test_twice_the_tokens_are_decided_alike_and_save_twice_as_much(gaps, tokens, read):
    one, two = (decided(idle(tokens=n * tokens, reply=n * 100), gaps, prices=PRICES[read]) for n in (1, 2))

    assert one.action == two.action
    assert float(two.saving) == pytest.approx(2 * float(one.saving))


def sure(gaps: Gaps, reply: int | None = None) -> list[Outlook]:
    return [Outlook(chance=1.0, gaps=gaps, reply=reply)]


def test_inside_a_tool_loop_the_tail_is_written_for_five_minutes():
    assert lifetime(2_000, sure(Rhythm().gaps("tool_use")), OPUS, held=80_000) == "5m"


def test_what_nobody_will_read_is_not_written():
    assert lifetime(5_000, sure(NEVER), OPUS) is None
    assert lifetime(5_000, sure(maybe(0.21, 1)), OPUS) is None
    assert lifetime(5_000, sure(maybe(0.23, 1)), OPUS) == "5m"


def test_a_short_addition_before_a_long_pause_is_written_for_an_hour():
    gaps = maybe(0.9, 40)

    assert lifetime(500, sure(gaps), OPUS, held=80_000, held_ttl="1h") == "1h"
    assert lifetime(500, sure(gaps, 500), OPUS, held=80_000) == "1h"


def test_an_hour_above_five_minutes_is_not_hoped_for_where_upgrades_are_forbidden():
    gaps, cautious = maybe(0.9, 40), Caution(upgrades=False)

    assert lifetime(500, sure(gaps), OPUS, held=80_000, caution=cautious) == "5m"
    assert lifetime(500, sure(gaps), OPUS, held=80_000, held_ttl="1h", caution=cautious) == "1h"


@given(survivals, st.integers(1, 100_000), st.integers(0, 300_000), st.sampled_from(list(PRICES)))
def test_of_two_sure_things_the_mixture_chooses_one_that_either_would(gaps, new, held, read):
    halves = [Outlook(chance=0.5, gaps=gaps, reply=None)] * 2

    assert lifetime(new, halves, PRICES[read], held=held) == lifetime(
        new, sure(gaps), PRICES[read], held=held
    )


def test_an_account_affords_what_was_saved_and_a_little_of_what_was_paid():
    account = Account(paid=10, saved=1, spent=1)

    assert account.affords(10 * CREDIT)
    assert not account.affords(10 * CREDIT + 0.001)
    assert not Account().affords(0.001)
