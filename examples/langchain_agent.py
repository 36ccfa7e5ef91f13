"""A LangChain agent whose requests read what the last one wrote.

    pip install 'convcache[langchain]' && python examples/langchain_agent.py

With ANTHROPIC_API_KEY set this talks to the API; without, to an emulator inside this process, which makes its
answers up (`pip install 'convcache[emulator]'`).
"""

import os
from contextlib import ExitStack
from typing import Any

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic

from convcache import CacheMiddleware
from convcache.emulator import Emulator, EmulatorServer

STATIONS = {"Oslo": "4 degrees, rain", "Lagos": "31 degrees, sun"}
GUIDE = "You are a weather service. Call the weather tool for every city you are asked about. " * 60


def weather(city: str) -> str:
    """The weather in a city now."""
    return STATIONS.get(city, "unknown")


def cached(model: ChatAnthropic, placing: CacheMiddleware) -> ChatAnthropic:
    """The model, with a middleware on its clients. It takes no client from outside; it keeps its own two here."""
    model._client = model._client.with_middleware(placing)  # noqa: SLF001 - LangChain has no other way in
    model._async_client = model._async_client.with_middleware(placing)  # noqa: SLF001 - LangChain has no other way in
    return model


def run(placing: CacheMiddleware, **connection: Any) -> None:
    model = cached(ChatAnthropic(model_name="claude-opus-5", **connection), placing)
    agent = create_agent(model, [weather], system_prompt=GUIDE)
    messages: list[Any] = []
    for said in ("Use the weather tool: is it warmer in Oslo or in Lagos?", "And where is it dry?"):
        messages = agent.invoke({"messages": [*messages, {"role": "user", "content": said}]})["messages"]


def main() -> None:
    placing = CacheMiddleware()
    with ExitStack() as stack:
        connection: Any = {}
        if "ANTHROPIC_API_KEY" not in os.environ:
            server = stack.enter_context(EmulatorServer(Emulator()))
            connection = {"base_url": server.url, "api_key": "made-up"}
        run(placing, **connection)
    print(
        f"read {placing.usage.read:,}  written {placing.usage.written:,}  uncached {placing.usage.uncached:,}"
    )
    print(f"paid ${placing.costs.paid:.4f} instead of ${placing.costs.uncached:.4f}")


if __name__ == "__main__":
    main()
