"""A pydantic-ai agent whose requests read what the last one wrote.

    pip install 'convcache[pydantic-ai]' && python examples/pydantic_ai_agent.py

With ANTHROPIC_API_KEY set this talks to the API; without, to an emulator inside this process, which makes its
answers up (`pip install 'convcache[emulator]'`).
"""

import asyncio
import os
from contextlib import ExitStack
from typing import Any

from anthropic import AsyncAnthropic
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from convcache import CacheMiddleware
from convcache.emulator import Emulator, EmulatorServer

STATIONS = {"Oslo": "4 degrees, rain", "Lagos": "31 degrees, sun"}
GUIDE = "You are a weather service. Call the weather tool for every city you are asked about. " * 60


def weather(city: str) -> str:
    """The weather in a city now."""
    return STATIONS.get(city, "unknown")


async def run(client: AsyncAnthropic) -> None:
    model = AnthropicModel("claude-opus-5", provider=AnthropicProvider(anthropic_client=client))
    agent = Agent(model, instructions=GUIDE, tools=[weather])
    history: list[ModelMessage] = []
    for said in ("Use the weather tool: is it warmer in Oslo or in Lagos?", "And where is it dry?"):
        history = (await agent.run(said, message_history=history)).all_messages()


async def main() -> None:
    placing = CacheMiddleware()
    with ExitStack() as stack:
        connection: Any = {}
        if "ANTHROPIC_API_KEY" not in os.environ:
            server = stack.enter_context(EmulatorServer(Emulator()))
            connection = {"base_url": server.url, "api_key": "made-up"}
        async with AsyncAnthropic(middleware=[placing], **connection) as client:
            await run(client)
    print(
        f"read {placing.usage.read:,}  written {placing.usage.written:,}  uncached {placing.usage.uncached:,}"
    )
    print(f"paid ${placing.costs.paid:.4f} instead of ${placing.costs.uncached:.4f}")


if __name__ == "__main__":
    asyncio.run(main())
