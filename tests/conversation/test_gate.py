"""Where requests that share a cold prefix pass: one goes first, the others wait for it and for nobody else."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from convcache import Policy
from convcache.core.clock import CacheClock
from convcache.core.ledger import Ledger
from convcache.core.planner import Plan
from convcache.core.prompt import Prompt
from convcache.gate import Gate, Leader
from tests.words import MODEL, text

AT = datetime(2026, 11, 23, tzinfo=UTC)
GUIDE = "Answer in a sentence, and say where you have it from. " * 400


def plan(question: str, guide: str = GUIDE) -> Plan:
    request = {
        "model": MODEL,
        "system": [text(guide)],
        "messages": [{"role": "user", "content": [text(question)]}],
    }
    return Ledger().plan(Prompt.of(request), CacheClock(), at=AT, policy=Policy())


def enter(gate: Gate, plan: Plan, min_saving: Decimal = Decimal(0)) -> tuple[Leader | None, Leader | None]:
    return gate.enter(plan, min_saving=min_saving)


def first(gate: Gate, plan: Plan) -> Leader:
    ahead, leader = enter(gate, plan)
    assert ahead is None
    assert leader is not None
    return leader


def test_of_many_on_their_way_a_request_waits_for_the_one_that_writes_what_it_reads():
    gate = Gate()
    leaders = [first(gate, plan("Who?", f"{number} {GUIDE}")) for number in range(50)]

    for number, leader in enumerate(leaders):
        assert enter(gate, plan("Why?", f"{number} {GUIDE}")) == (leader, None)


def test_once_it_is_over_the_next_one_goes_first():
    gate = Gate()
    leader = first(gate, plan("Who?"))
    enter(gate, plan("Why?"))
    gate.leave(leader)

    assert leader.awaited().done()
    assert first(gate, plan("Why?")) is not leader


@pytest.mark.parametrize("over", [0, 1])
def test_of_two_that_write_the_same_the_other_one_is_waited_for_once_one_is_over(over):
    """Where a wait saves too little, both go."""
    gate, enough = Gate(), Decimal(1_000)
    leaders = [enter(gate, plan(question), enough)[1] for question in ("Who?", "Why?")]
    gate.leave(leaders[over])

    assert enter(gate, plan("When?")) == (leaders[1 - over], None)


def test_nothing_is_left_of_requests_that_are_over():
    gate = Gate()
    for leader in [first(gate, plan("Who?", f"{number} {GUIDE}")) for number in range(5)]:
        gate.leave(leader)

    assert not gate._leaders
