"""What a pause costs: the same chat, left for 400 seconds and for 50 minutes, with and without a keeper.

    python -m benchmarks.pauses [--json]

The scenario of `benchmarks.placement` through the real SDK against the emulator, with the pause before the fourth
turn. Printed is the price of all prompt tokens, those of keep-alives and upgrades included, in per cent of the chat's
own tokens uncached, for models whose reads cost .1, .05 and .025 of the input price. The keeper knows the last 2,000 gaps
of the application: four in five are of seconds, as in this chat; of the others, in `returns` every user comes back after
such a pause, in `leaves` none ever does, and there a keeper should spend nothing.
"""

import argparse
import json
from datetime import timedelta
from typing import Any, Final, get_args

import attrs
from anthropic import Anthropic

from benchmarks.placement import START, SYSTEM, TOOL, TURNS, Case, drive
from convcache import Conversation, Keeper
from convcache.core.catalog import model
from convcache.core.rhythm import Moment, Rhythm
from convcache.emulator import Emulator, EmulatorServer, VirtualClock
from convcache.habits import Habits

MODELS: Final = {".1": "claude-opus-5", ".05": "claude-opus-5-5", ".025": "claude-fable-5-1"}
PAUSES: Final = {"400 s": timedelta(seconds=400), "50 min": timedelta(minutes=50)}
_SEEN: Final = 2_000
_NEVER: Final = timedelta(hours=25)


def application(pause: timedelta, *, returns: bool) -> Habits:
    """What a keeper has learned of an application in which people pause like this."""
    rhythm = Rhythm()
    moments: tuple[Moment, ...] = get_args(Moment)
    for moment in moments:
        for number in range(_SEEN):
            quick = moment in {"tool_use", "pause_turn"} or number % 5 > 0
            gap = timedelta(seconds=5) if quick else pause if returns else _NEVER
            rhythm = rhythm.after(moment, gap, returned=quick or returns)
    return Habits(rhythm)


def run(model_id: str, pause: timedelta, habits: Habits | None) -> tuple[float, int]:
    """The price in per cent, and how many keep-alives and upgrades were sent; without habits there is no keeper."""
    clock = VirtualClock(START)
    emulator = Emulator(clock=clock)
    with EmulatorServer(emulator) as server:
        keeper = None if habits is None else Keeper(habits=habits, clock=clock.now)
        if keeper is not None:
            keeper.pause()
        tools: Any = [TOOL]
        chat = Conversation(
            Anthropic(base_url=server.url, api_key="x"),
            model=model_id,
            max_tokens=4_000,
            system=SYSTEM,
            tools=tools,
            keeper=keeper,
            clock=clock.now,
        )
        case = Case(model=model_id)
        drive(chat.send, attrs.evolve(case, turns=TURNS[:3]), emulator, clock, 0)
        _rest(chat, clock, pause, is_kept=keeper is not None)
        drive(chat.send, attrs.evolve(case, turns=TURNS[3:]), emulator, clock, 1)
    return _price(emulator, model_id)


def _rest(chat: Conversation, clock: VirtualClock, pause: timedelta, *, is_kept: bool) -> None:
    """The pause, in which what a keeper decides is carried out when it is due."""
    end = clock.now() + pause
    while is_kept and (due := chat.decision.due) is not None and due < end:
        clock.advance(max(timedelta(0), due - clock.now()))
        if chat.keep_alive() is None:
            break
    clock.advance(end - clock.now())


def _price(emulator: Emulator, model_id: str) -> tuple[float, int]:
    prices = model(model_id).prices
    assert prices is not None  # noqa: S101 - the models are known
    each = {name: float(getattr(prices, name) / prices.input) for name in ("read", "write_5m", "write_1h")}
    paid = prompts = sent = 0.0
    for request in emulator.requests:
        usage = request.usage
        paid += usage.read * each["read"] + usage.uncached
        paid += usage.written_5m * each["write_5m"] + usage.written_1h * each["write_1h"]
        if request.body["max_tokens"]:
            prompts += usage.prompt
        else:
            sent += 1
    return 100 * paid / prompts, int(sent)


def main() -> None:
    """Run every pause on every model, kept warm and not."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pauses", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON document: pause -> way -> read -> per cent"
    )
    options = parser.parse_args()
    table: dict[str, dict[str, dict[str, tuple[float, int]]]] = {}
    for pause, length in PAUSES.items():
        ways = {
            "no keeper": None,
            "returns": application(length, returns=True),
            "leaves": application(length, returns=False),
        }
        for way, habits in ways.items():
            row = table.setdefault(pause, {}).setdefault(way, {})
            for read, model_id in MODELS.items():
                # Each run learns by itself: the habits it starts with stay as they are.
                row[read] = run(model_id, length, None if habits is None else Habits(habits.rhythm))
    if options.json:
        print(json.dumps(table))
        return
    print(f"{'% of uncached (keep-alives)':30}" + "".join(f"{'read ' + read:>14}" for read in MODELS))
    for pause, rows in table.items():
        for way, row in rows.items():
            print(
                f"{pause + ', ' + way:30}"
                + "".join(f"{row[read][0]:9.1f} ({row[read][1]:2})" for read in MODELS)
            )


if __name__ == "__main__":
    main()
