"""What is shared and who pays for it: a hundred users, 10,000 tokens of instructions, a profile of 500 each.

    python -m benchmarks.borders [--users 100] [--json]

Each user asks one question, through the real SDK over HTTP against the emulator: by automatic caching, by
`CacheMiddleware` with plain text blocks (the border is learned), and with the instructions declared by `shared`.
Then a document of 4,000 tokens between the two is replaced four times. Printed are the tokens written and read, and
the price of all prompt tokens in per cent of the same tokens uncached.
"""

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from anthropic import Anthropic

from convcache import CacheMiddleware, shared
from convcache.emulator import Emulator, EmulatorServer, VirtualClock

START: Final = datetime(2026, 11, 22, 9, tzinfo=UTC)
Block = dict[str, Any]
Declare = Callable[[str], Any]


def words(tokens: int, seed: str) -> str:
    """Text of so many tokens by the emulator's counter, four bytes each."""
    return "".join(f"{seed[:1]}{n % 1000:03}" for n in range(tokens))


def text(words_: str) -> Block:
    """A plain text block."""
    return {"type": "text", "text": words_}


WAYS: Final[dict[str, tuple[bool, Declare]]] = {
    "automatic": (False, text),
    "learned": (True, text),
    "declared": (True, shared),
}


def run(way: str, systems: list[list[str]]) -> dict[str, float]:
    """Ask one question under each system prompt; the last part of each is the user's own."""
    places, declare = WAYS[way]
    emulator = Emulator(clock=VirtualClock(START))
    with EmulatorServer(emulator) as server:
        placing = [CacheMiddleware(clock=emulator.clock.now)] if places else []
        client = Anthropic(base_url=server.url, api_key="x", middleware=placing)
        extra: Any = {} if places else {"extra_body": {"cache_control": {"type": "ephemeral"}}}
        for *common, own in systems:
            # A declaration holds for a whole process, so each way says its instructions in words of its own.
            blocks: Any = [*(declare(f"{way} {part}") for part in common), text(own)]
            question: Any = [{"role": "user", "content": "a question of some ten tokens, more or less"}]
            client.messages.create(
                model="claude-opus-5", max_tokens=20, system=blocks, messages=question, **extra
            )
    usages = [request.usage for request in emulator.requests]
    prompts = sum(usage.prompt for usage in usages)
    paid = sum(usage.read * 0.1 + usage.written * 1.25 + usage.uncached for usage in usages)
    return {
        "written": sum(usage.written for usage in usages),
        "read": sum(usage.read for usage in usages),
        "percent_of_uncached": round(100 * paid / prompts, 1),
    }


def main() -> None:
    """Run both scenes every way."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.borders", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--users", type=int, default=100, help="how many users there are")
    parser.add_argument("--json", action="store_true", help="one JSON document: scene -> way -> figures")
    options = parser.parse_args()
    instructions = words(10_000, "i")
    scenes = {
        f"{options.users} users": [
            [instructions, f"user {n} " + words(500, "u")] for n in range(options.users)
        ],
        "a document replaced": [
            [instructions, f"version {n} " + words(4_000, "d"), words(500, "p")] for n in range(5)
        ],
    }
    table = {scene: {way: run(way, systems) for way in WAYS} for scene, systems in scenes.items()}
    if options.json:
        print(json.dumps(table))
        return
    for scene, rows in table.items():
        print(f"{scene:22}{'written':>12}{'read':>12}{'% of uncached':>16}")
        for way, row in rows.items():
            print(f"  {way:20}{row['written']:12,.0f}{row['read']:12,.0f}{row['percent_of_uncached']:16.1f}")


if __name__ == "__main__":
    main()
