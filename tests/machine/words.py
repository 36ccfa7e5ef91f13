"""Words the machines are written in: a world to live in, and how lives are led."""

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import attrs
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from convcache import Turn
from convcache.core.events import BreakpointsRefused, HelperFailed, TurnSettled
from convcache.emulator import Emulator, Settings, VirtualClock
from tests.conftest import START
from tests.words import marked_paths

Json = dict[str, Any]

MODELS = {
    "claude": ["claude-opus-5", "claude-opus-4-6", "claude-opus-4-8", "claude-haiku-4-5"],
    "bedrock": ["anthropic.claude-opus-5", "us.anthropic.claude-opus-4-6-v1", "anthropic.claude-haiku-4-5"],
}
"""Of each lookback rule: models that take system messages and that do not, that keep thinking and that do not."""

platforms = st.sampled_from(sorted(MODELS))
ttls = st.sampled_from(["5m", "1h"])
lengths = st.sampled_from([1, 1, 20, 300, 3_000])
pauses = st.sampled_from([1, 60, 200, 299, 301, 1_800, 3_599, 3_601])


class World(RuleBasedStateMachine):
    """The emulator on a clock that stands still between steps, and what holds whatever happens."""

    def emulate(self, platform: str) -> None:
        self.clock = VirtualClock(START)
        self.emulator = Emulator(Settings(platform=platform), clock=self.clock)
        self.events: list[Any] = []
        self.settled = 0
        self.billed: set[int] = set()
        self.names = 0

    def said(self, length: int) -> str:
        """Words that nobody said before."""
        self.names += 1
        return f"number {self.names} " * length

    @rule(seconds=pauses)
    def sleep(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @invariant()
    def every_forecast_was_the_bill(self) -> None:
        turns = self.told(TurnSettled)
        for event in turns[self.settled :]:
            self.check(event.turn)
        self.settled = len(turns)

    def check(self, turn: Turn) -> None:
        assert turn.forecast is not None
        assert turn.forecast == attrs.evolve(turn.actual, output=0)

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert not self.told((HelperFailed, BreakpointsRefused))
        assert not [request for request in self.emulator.requests if request.status == 400]

    @invariant()
    def breakpoints_are_few(self) -> None:
        for request in self.emulator.requests[-2:]:
            assert len(marked_paths(request.body)) <= 4

    def told(self, kind: type | tuple[type, ...]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def calls_of(messages: list[Json]) -> list[str]:
    """The calls that the last message waits for."""
    last = messages[-1]["content"] if messages and messages[-1]["role"] == "assistant" else []
    return [block["id"] for block in last if isinstance(block, dict) and block["type"] == "tool_use"]


def says(messages: Iterable[Json], words: str) -> bool:
    return words in json.dumps(list(messages))


def lived(
    machine: Callable[[], RuleBasedStateMachine], *, runs: int, steps: int, seeded: bool = False
) -> None:
    """Lead so many lives of so many steps; the same ones every time if they are seeded."""
    settings_ = settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        derandomize=seeded,
        database=None,
        suppress_health_check=list(HealthCheck),
        # A long life takes long to make short: the first failing one is told as it is.
        phases=[Phase.generate] if seeded else list(Phase),
    )
    run_state_machine_as_test(machine, settings=settings_)
