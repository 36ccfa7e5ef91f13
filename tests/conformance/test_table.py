"""The table as a whole: complete, each rule once, and able to fail."""

import re
from datetime import timedelta

import attrs
import pytest

from convcache.conformance import RULES, Run
from convcache.conformance.models import DEFAULT, minimum, named
from convcache.emulator.catalog import find_model


def test_every_documented_rule_and_every_open_question_has_its_row():
    ids = [rule.id for rule in RULES]

    assert len(ids) == len(set(ids))
    assert {id_.partition(".")[0] for id_ in ids} == {
        *(f"T{n}" for n in range(1, 51)),
        *(f"U{n}" for n in range(1, 33)),
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_row_says_what_it_proves_and_where_that_stands(rule):
    assert rule.says.endswith(".")
    assert rule.source
    assert rule.proves
    assert all(re.fullmatch(r"[A-L]\d+", fact) for fact in rule.proves)


def test_every_documented_rule_has_a_test_named_after_it(request):
    names = " ".join(item.name for item in request.session.items)
    if "test_t1_" not in names or "test_t48_" not in names:
        pytest.skip("only a part of the tests was collected")

    assert [n for n in range(1, 51) if f"test_t{n}_" not in names] == []


@pytest.mark.parametrize("model", named())
def test_the_minimums_of_the_rules_are_the_emulators(model):
    """Two accounts of one table, which share no module."""
    known = find_model(model)

    assert known is not None
    assert minimum(model) == known.minimum


WRONG = {
    "T5": {"strict_strings": True},
    "T18": {"best_effort_miss_rate": 1.0},
    "T21": {"platform": "bedrock"},
    "T23": {"minimum": 0},
    "T24": {"grace_after_expiry": timedelta(minutes=1)},
    "T29": {"tool_prompt_tokens": 0, "minimum": 10**6},
    "T32.images": {"images": "in_place"},
    "T32.speed": {"strict_speed": True},
    "T32.thinking": {"thinking_first": True},
    "T41": {"platform": "bedrock"},
    "T50": {"batch_hit_rate": 0.0},
}


@pytest.mark.parametrize("id_", WRONG)
def test_an_endpoint_that_does_something_else_is_found_out(outcomes, id_):
    found = outcomes(id_, **WRONG[id_])[id_]

    assert found.verdict == "differ", found.observed


WITHOUT_A_CACHE = {"T9", "T10", "T13", "T14", "T15", "T49", "U15", "U18", "U20"}
"""What is about refusals and counting only."""


def test_an_endpoint_that_caches_nothing_agrees_with_refusals_only(reached):
    """No rule about the cache is content with zeros."""
    run = Run(endpoint=reached(minimum=10**6), model=DEFAULT)

    assert {
        rule.id for rule, outcome in run.outcomes(RULES) if outcome.verdict == "agree"
    } - WITHOUT_A_CACHE == {"T39.fingerprint"}


def test_a_second_run_does_not_read_what_the_first_one_wrote(reached):
    run = Run(endpoint=reached(), model=DEFAULT)
    rules = [rule for rule in RULES if rule.id in ("T1", "T3", "T17", "T30")]

    assert [outcome.verdict for _, outcome in run.outcomes([*rules, *rules])] == ["agree"] * 8


def test_what_takes_minutes_is_not_run_where_time_is_real(reached):
    endpoint = attrs.evolve(reached(), virtual=False)
    run = Run(endpoint=endpoint, model=DEFAULT)
    waiting = [rule for rule in RULES if rule.waits]

    assert waiting
    assert {outcome.verdict for _, outcome in run.outcomes(waiting)} == {"not run"}


def test_what_differs_on_a_real_endpoint_is_looked_at_twice(reached):
    """Hits are best effort there."""
    endpoint = attrs.evolve(reached(strict_strings=True), virtual=False)
    (rule,) = (rule for rule in RULES if rule.id == "T5")
    outcome = Run(endpoint=endpoint, model=DEFAULT).outcome(rule)

    assert outcome.verdict == "differ"
    assert outcome.observed.startswith("twice: ")
    assert len(outcome.sent) == 4


def test_a_check_that_waits_says_so_beforehand(reached):
    """Or it would stop a real run half way."""
    waited: dict[str, float] = {}
    endpoint = attrs.evolve(reached(), virtual=False, pause=lambda seconds: None)
    for rule in RULES:
        if rule.of_endpoint and not rule.waits:
            outcome = Run(endpoint=endpoint, model=DEFAULT, patient=False).outcome(rule)
            waited |= {rule.id: 1} if "real seconds of waiting" in outcome.observed else {}

    assert waited == {}
