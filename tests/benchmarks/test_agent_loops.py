"""`python -m benchmarks.agent_loops`: what an agent loop costs, held to the floor."""

import json
import sys

import pytest

pytest.importorskip("langchain_anthropic", reason="needs convcache[langchain]")
pytest.importorskip("pydantic_ai", reason="needs convcache[pydantic-ai]")

from benchmarks import agent_loops

ROUNDS = (1, 3, 1, 40, 2, 1, 8, 1)


@pytest.mark.parametrize("platform", agent_loops.PLATFORMS)
@pytest.mark.parametrize("name", agent_loops.WAYS)
def test_every_loop_costs_what_its_floor_costs(name, platform):
    assert agent_loops.run(agent_loops.WAYS[name], platform, rounds=ROUNDS) == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("name", sorted(agent_loops.OWN["bedrock"]))
def test_on_bedrock_every_loops_own_caching_loses_the_turn_after_the_fan_out(name):
    assert agent_loops.run(agent_loops.WAYS[name], "bedrock", own=True, rounds=ROUNDS) > 1.05


def test_the_loop_has_sixty_requests_and_one_round_of_forty_calls():
    assert len(agent_loops.ROUNDS) + 1 == 60
    assert max(agent_loops.ROUNDS) == 40


def test_the_table_has_a_row_for_every_loop(monkeypatch, capsys):
    monkeypatch.setattr(agent_loops, "run", lambda *_, **__: 1.0)
    monkeypatch.setattr(sys, "argv", ["agent_loops", "--json"])
    agent_loops.main()
    table = json.loads(capsys.readouterr().out)

    assert list(table) == list(agent_loops.WAYS)
    assert table["LangChain"]["bedrock"] == {"convcache": 1.0, "own": 1.0}
