"""`python -m benchmarks.placement` and `benchmarks.borders`: what placement costs, held to the floor."""

import json
import sys

import pytest

from benchmarks import borders, placement


@pytest.mark.parametrize("case", placement.CASES)
def test_every_case_costs_what_the_floor_costs(case):
    for way in ("CacheMiddleware", "Conversation"):
        price, floor = placement.run(placement.CASES[case], placement.WAYS[way])
        assert abs(price - floor) < 0.1


@pytest.mark.parametrize("case", placement.CASES)
def test_automatic_caching_loses_where_prefixes_are_shared_or_turns_outgrow_the_lookback(case):
    price, floor = placement.run(placement.CASES[case], placement.automatic)

    assert (price - floor > 1) == (case in {"two", "nocol", "cite"})


def test_what_is_declared_is_written_once(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["borders", "--users", "6", "--json"])
    borders.main()
    users = json.loads(capsys.readouterr().out)["6 users"]

    assert users["declared"]["written"] < 10_020 + 6 * 540
    assert users["automatic"]["read"] == 0
    assert users["declared"]["written"] < users["learned"]["written"] < users["automatic"]["written"]
