"""The SDK's own tool loop, twice: over the whole history, and over a thread that the server holds.

    python examples/tool_runner.py

With ANTHROPIC_API_KEY set this talks to the API; without, to an emulator inside this process, which makes its
answers up (`pip install 'convcache[emulator]'`).
"""

import os
from contextlib import ExitStack
from typing import Any

from anthropic import Anthropic, beta_tool

from convcache import CacheMiddleware
from convcache.emulator import Emulator, EmulatorServer

STATIONS = {"Oslo": "4 degrees, rain", "Lagos": "31 degrees, sun"}
GUIDE = "You are a weather service. Call the weather tool for every city you are asked about. " * 60
ASKED = "Use the weather tool: is it warmer in Oslo or in Lagos?"


@beta_tool
def weather(city: str) -> str:
    """The weather in a city now."""
    return STATIONS.get(city, "unknown")


def run(client: Anthropic) -> None:
    head: Any = {"model": "claude-opus-5", "max_tokens": 1024, "system": GUIDE, "tools": [weather]}
    client.beta.messages.tool_runner(
        **head, messages=[{"role": "user", "content": ASKED}], thread=False
    ).until_done()

    thread = client.beta.messages.thread(**head)
    for said in (ASKED, "And where is it dry?"):
        thread.append({"role": "user", "content": said})
        thread.tool_runner().until_done()


def main() -> None:
    placing = CacheMiddleware()
    with ExitStack() as stack:
        connection: Any = {}
        if "ANTHROPIC_API_KEY" not in os.environ:
            server = stack.enter_context(EmulatorServer(Emulator()))
            connection = {"base_url": server.url, "api_key": "made-up"}
        run(Anthropic(middleware=[placing], **connection))
    print(
        f"read {placing.usage.read:,}  written {placing.usage.written:,}  uncached {placing.usage.uncached:,}"
    )
    print(f"paid ${placing.costs.paid:.4f} instead of ${placing.costs.uncached:.4f}")


if __name__ == "__main__":
    main()
