"""U1 to U32: the recommended choice is what the emulator does, and its options do the other thing."""

from datetime import timedelta

import pytest

from convcache.conformance import RULES

OPEN = [rule.id for rule in RULES if rule.id.startswith("U")]


@pytest.mark.parametrize("id_", OPEN)
def test_the_recommended_choice_is_observed(agrees, id_):
    agrees(id_)


OTHER_CHOICES = {
    "U1": {"refresh": "matched_only"},
    "U2": {"mixed_ttl": "lapses"},
    "U4": {"strict_strings": True},
    "U5": {"strict_borders": True},
    "U7": {"collapse_server_tools": True},
    "U9": {"thinking_first": True},
    "U10": {"images": "in_place"},
    "U11": {"geo_partitions": False},
    "U16": {"residual_tail_tokens": 9},
    "U18": {"thread_marks": 3},
    "U20": {"automatic_counts": False},
    "U21": {"grace_after_expiry": timedelta(minutes=1)},
    "U24": {"betas_in_key": True},
    "U27": {"strict_speed": True},
}


@pytest.mark.parametrize("id_", OTHER_CHOICES)
def test_another_choice_is_seen_to_differ(outcomes, id_):
    """Each question can be answered either way, so that a report says which way it was."""
    found = outcomes(id_, **OTHER_CHOICES[id_])[id_]

    assert found.verdict == "differ", found.observed
