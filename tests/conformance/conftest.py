"""Emulators to hold to the rules, each on a real port with a clock that moves when told."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from convcache.conformance import RULES, Endpoint, Outcome, Run
from convcache.conformance.models import DEFAULT
from convcache.emulator import Emulator, EmulatorServer, Settings, VirtualClock


@pytest.fixture
def reached() -> Iterator[Callable[..., Endpoint]]:
    """Starts an emulator with these settings and reaches it."""
    with ExitStack() as stack:

        def start(**settings: Any) -> Endpoint:
            server = stack.enter_context(EmulatorServer(Emulator(Settings(**settings), clock=VirtualClock())))
            return stack.enter_context(Endpoint.reached(server.url, "made-up"))

        yield start


@pytest.fixture
def outcomes(reached: Callable[..., Endpoint]) -> Callable[..., dict[str, Outcome]]:
    """What the rows of a rule come to on an emulator."""

    def look(
        id_: str, *, model: str = DEFAULT, expecting: str = "claude", **settings: Any
    ) -> dict[str, Outcome]:
        run = Run(endpoint=reached(**settings), model=model, platform=expecting)
        rows = [rule for rule in RULES if id_ in (rule.id, rule.id.partition(".")[0])]
        return {rule.id: outcome for rule, outcome in run.outcomes(rows)}

    return look


@pytest.fixture
def agrees(outcomes: Callable[..., dict[str, Outcome]]) -> Callable[..., None]:
    """Every row of a rule agrees; what was observed instead is told."""

    def check(id_: str, **how: Any) -> None:
        found = outcomes(id_, **how)
        assert found
        assert {row: (outcome.verdict, outcome.observed) for row, outcome in found.items()} == {
            row: ("agree", outcome.observed) for row, outcome in found.items()
        }

    return check
