"""What an agent loop costs: 60 requests by six loops, each through convcache and by the caching it has of its own.

    python -m benchmarks.agent_loops [--json]

One scripted agent, thinking on: calls one by one, rounds of parallel calls, and one reply with 40 calls. Every loop is
driven through the real SDK over HTTP against the emulator, by the lookback rules of the Claude API and of Bedrock, and
runs the tools itself. Printed is the price of all prompt tokens over its floor: each token written once and then
read, computed from the prompts that this very loop sent, because every loop phrases its requests in its own way.

*own* is the API's automatic caching, LangChain's `AnthropicPromptCachingMiddleware` or pydantic-ai's `cache=True`.
"""

import argparse
import base64
import json
from collections.abc import Callable, Iterator, Sequence
from math import nan
from typing import Any, Final

import attrs
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from anthropic.types import Message, ToolUseBlock
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_anthropic.middleware import AnthropicPromptCachingMiddleware
from pydantic_ai import Agent, UsageLimits
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
from pydantic_ai.providers.anthropic import AnthropicProvider

from benchmarks.placement import READ, START, SYSTEM, WRITE, Case, Json, floor, words
from convcache import CacheMiddleware, Conversation
from convcache.core.catalog import Platform
from convcache.emulator import Emulator, EmulatorServer, Settings, VirtualClock

ROUNDS: Final = (*(1, 1, 3, 1, 2, 8) * 5, 40, *(2, 1, 1, 5) * 7)
"""How many tools the agent calls after each request but the last."""

TASK: Final = words(200, "u")
THINKING: Final[Any] = {"type": "adaptive"}
REQUEST: Final[Any] = {
    "model": "claude-opus-5",
    "max_tokens": 4_000,
    "system": SYSTEM,
    "thinking": THINKING,
}


def find(query: str) -> str:
    """Finds what is known about something."""
    return words(120, query)


TOOL: Final[Any] = {
    "name": "find",
    "description": find.__doc__,
    "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}


def replies(rounds: Sequence[int]) -> Iterator[Json]:
    """What the model says, whatever the loop."""
    for place, calls in enumerate(rounds):
        signature = base64.b64encode(f"{place}".encode()).decode()
        yield {
            "content": [
                {"type": "thinking", "thinking": words(60, "h"), "signature": signature},
                {"type": "text", "text": words(20, "a")},
                *(
                    {"type": "tool_use", "id": f"{place}-{n}", "name": "find", "input": {"query": f"q{n}"}}
                    for n in range(calls)
                ),
            ],
            "stop_reason": "tool_use",
        }
    yield {"content": [{"type": "text", "text": words(60, "a")}], "stop_reason": "end_turn"}


@attrs.frozen
class Api:
    """Where a loop sends its requests.

    Attributes:
        url: The emulator.
        placing: Places the breakpoints; `None` if the loop is to place its own.
    """

    url: str
    placing: CacheMiddleware | None

    @property
    def connection(self) -> Any:
        return {"base_url": self.url, "api_key": "x", "middleware": [self.placing] if self.placing else []}

    @property
    def automatic(self) -> Any:
        return {} if self.placing else {"cache_control": {"type": "ephemeral"}}


def raw_loop(api: Api) -> None:
    client = Anthropic(**api.connection)
    messages: list[Any] = [{"role": "user", "content": TASK}]
    while True:
        reply = client.messages.create(**REQUEST, **api.automatic, tools=[TOOL], messages=messages)
        if reply.stop_reason != "tool_use":
            return
        messages += [
            {"role": "assistant", "content": reply.content},
            {"role": "user", "content": results(reply)},
        ]


def results(reply: Message) -> list[Any]:
    return [
        {"type": "tool_result", "tool_use_id": block.id, "content": find(str(block.input["query"]))}
        for block in reply.content
        if isinstance(block, ToolUseBlock)
    ]


def tool_runner(api: Api) -> None:
    messages: list[Any] = [{"role": "user", "content": TASK}]
    Anthropic(**api.connection).beta.messages.tool_runner(
        **REQUEST, **api.automatic, tools=[beta_tool(find)], messages=messages, thread=False
    ).until_done()


def conversation(api: Api) -> None:
    chat = Conversation(Anthropic(base_url=api.url, api_key="x"), **REQUEST, tools=[TOOL])
    reply = chat.send(TASK)
    while reply.stop_reason == "tool_use":
        reply = chat.send(results(reply))


def conversation_runner(api: Api) -> None:
    chat = Conversation(Anthropic(base_url=api.url, api_key="x"), **REQUEST, tools=[beta_tool(find)])
    chat.tool_runner(TASK).until_done()


def langchain(api: Api) -> None:
    options: Any = {"base_url": api.url, "api_key": "x", "max_tokens": 4_000, "thinking": THINKING}
    model = ChatAnthropic(model_name=REQUEST["model"], **options)
    if api.placing:
        model._client = model._client.with_middleware(api.placing)  # noqa: SLF001 - LangChain has no other way in
    own = [] if api.placing else [AnthropicPromptCachingMiddleware()]
    agent = create_agent(model, [find], system_prompt=SYSTEM, middleware=own)
    agent.invoke({"messages": [{"role": "user", "content": TASK}]}, {"recursion_limit": 1_000})


def pydantic_ai(api: Api) -> None:
    client = AsyncAnthropic(**api.connection)
    agent = Agent(
        AnthropicModel(REQUEST["model"], provider=AnthropicProvider(anthropic_client=client)),
        instructions=SYSTEM,
        tools=[find],
        model_settings=AnthropicModelSettings(
            max_tokens=4_000, anthropic_thinking=THINKING, cache=not api.placing
        ),
    )
    agent.run_sync(TASK, usage_limits=UsageLimits(request_limit=None))


WAYS: Final[dict[str, Callable[[Api], None]]] = {
    "raw loop": raw_loop,
    "tool_runner": tool_runner,
    "Conversation.send": conversation,
    "Conversation.tool_runner": conversation_runner,
    "LangChain": langchain,
    "pydantic-ai": pydantic_ai,
}
PLATFORMS: Final[tuple[Platform, ...]] = ("claude", "bedrock")

OWN: Final[dict[Platform, set[str]]] = {
    "claude": {"raw loop", "tool_runner", "LangChain", "pydantic-ai"},
    "bedrock": {"raw loop", "tool_runner", "LangChain"},
}
"""What has caching of its own there. Pydantic-ai's has a rule more for its Bedrock client, which this is not."""


def run(
    way: Callable[[Api], None], platform: Platform, *, own: bool = False, rounds: Sequence[int] = ROUNDS
) -> float:
    """The price of a loop over its floor."""
    emulator = Emulator(Settings(platform=platform), clock=VirtualClock(START))
    emulator.script(*replies(rounds))
    placing = None if own else CacheMiddleware(clock=emulator.clock.now, platform=platform)
    with EmulatorServer(emulator) as server:
        way(Api(server.url, placing))
    usages = [request.usage for request in emulator.requests]
    if len(usages) != len(rounds) + 1:
        raise RuntimeError(f"The loop took {len(usages)} requests, not {len(rounds) + 1}.")
    paid = sum(usage.read * READ + usage.written * WRITE + usage.uncached for usage in usages)
    return paid / floor([usage.prompt for usage in usages], Case(), shared=0, paused_at=None)


def main() -> None:
    """Run every loop by both rules, through convcache and by its own caching."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agent_loops", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON document: loop -> platform -> caching -> ratio"
    )
    options = parser.parse_args()
    table = {name: {platform: _cells(name, platform) for platform in PLATFORMS} for name in WAYS}
    if options.json:
        print(json.dumps(table))
        return
    print(f"{'cost over floor':24}" + "".join(f"{name + ': convcache':>20}{'own':>8}" for name in PLATFORMS))
    for name, cells in table.items():
        ratios = (f"{cell['convcache']:20.3f}{cell.get('own', nan):8.3f}" for cell in cells.values())
        print(f"{name:24}" + "".join(ratios).replace("nan", "  -"))


def _cells(name: str, platform: Platform) -> dict[str, float]:
    cells = {"convcache": run(WAYS[name], platform)}
    return {**cells, "own": run(WAYS[name], platform, own=True)} if name in OWN[platform] else cells


if __name__ == "__main__":
    main()
