"""Agent loops that others wrote, through the middleware: every request reads what the last one left, and nothing but
breakpoints changes on the wire."""

import json
import re
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_async_tool, beta_tool

from convcache import CacheMiddleware
from convcache.emulator import Emulator, EmulatorServer, Settings, VirtualClock
from tests.conftest import START
from tests.words import GUIDE, MODEL, call, reply, text, thinking

SAID = ("Look these words up.", "And some more.")
CALLS = ((2, 1, 25, 1, 3, 1, 1, 0), (1, 2, 1, 0))
"""What the agent calls in each of its replies to each of the two."""

ADAPTIVE: Any = {"type": "adaptive"}
HEAD: dict[str, Any] = {"model": MODEL, "max_tokens": 300, "system": GUIDE, "thinking": ADAPTIVE}


def look_up(word: str) -> str:
    """Looks a word up."""
    return f"{word} is a word. " * 10


async def look_up_slowly(word: str) -> str:
    """Looks a word up."""
    await anyio.lowlevel.checkpoint()
    return look_up(word)


def client(url: str, placing: list[Any]) -> Anthropic:
    return Anthropic(base_url=url, api_key="made-up", max_retries=0, middleware=placing)


def async_client(url: str, placing: list[Any]) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=url, api_key="made-up", max_retries=0, middleware=placing)


def tool_runner(url: str, placing: list[Any]) -> None:
    messages: list[Any] = []
    for said in SAID:
        messages.append({"role": "user", "content": said})
        runner = client(url, placing).beta.messages.tool_runner(
            **HEAD, tools=[beta_tool(look_up)], messages=list(messages), thread=False
        )
        for answer in runner:
            messages.append({"role": "assistant", "content": answer.content})
            if results := runner.generate_tool_call_response():
                messages.append(results)


async def streaming_tool_runner(url: str, placing: list[Any]) -> None:
    messages: list[Any] = []
    async with async_client(url, placing) as api:
        for said in SAID:
            messages.append({"role": "user", "content": said})
            runner = api.beta.messages.tool_runner(
                **HEAD,
                tools=[beta_async_tool(look_up_slowly, name="look_up")],
                messages=list(messages),
                thread=False,
                stream=True,
            )
            async for stream in runner:
                answer = await stream.get_final_message()
                messages.append({"role": "assistant", "content": answer.content})
                if results := await runner.generate_tool_call_response():
                    messages.append(results)


def thread(url: str, placing: list[Any]) -> None:
    held = client(url, placing).beta.messages.thread(**HEAD, tools=[beta_tool(look_up)])
    for said in SAID:
        held.append({"role": "user", "content": said})
        held.tool_runner().until_done()


def langchain_agent(url: str, placing: list[Any], middleware: tuple[Any, ...] = ()) -> Any:
    agents = pytest.importorskip("langchain.agents", reason="needs convcache[langchain]")
    anthropic = pytest.importorskip("langchain_anthropic", reason="needs convcache[langchain]")
    model = anthropic.ChatAnthropic(
        model=MODEL, base_url=url, api_key="made-up", max_tokens=300, max_retries=0, thinking=ADAPTIVE
    )
    for one in placing:
        model._client = model._client.with_middleware(one)
        model._async_client = model._async_client.with_middleware(one)
    return agents.create_agent(model, [look_up], system_prompt=GUIDE, middleware=middleware)


LIMIT: Any = {"recursion_limit": 100}


def langchain(url: str, placing: list[Any], *middleware: Any) -> None:
    agent = langchain_agent(url, placing, middleware)
    messages: list[Any] = []
    for said in SAID:
        messages = agent.invoke({"messages": [*messages, ("user", said)]}, LIMIT)["messages"]


def langchain_with_its_own_caching(url: str, placing: list[Any]) -> None:
    own = pytest.importorskip("langchain_anthropic.middleware", reason="needs convcache[langchain]")
    langchain(url, placing, own.AnthropicPromptCachingMiddleware())


async def streaming_langchain(url: str, placing: list[Any]) -> None:
    agent = langchain_agent(url, placing)
    state: Any = {"messages": []}
    for said in SAID:
        asked = {"messages": [*state["messages"], ("user", said)]}
        async for mode, part in agent.astream(asked, LIMIT, stream_mode=["messages", "values"]):
            state = part if mode == "values" else state


async def pydantic_ai(url: str, placing: list[Any], settings: Any = None, watch: Any = None) -> None:
    ai = pytest.importorskip("pydantic_ai", reason="needs convcache[pydantic-ai]")
    models = pytest.importorskip("pydantic_ai.models.anthropic", reason="needs convcache[pydantic-ai]")
    providers = pytest.importorskip("pydantic_ai.providers.anthropic", reason="needs convcache[pydantic-ai]")
    async with async_client(url, placing) as api:
        agent = ai.Agent(
            models.AnthropicModel(MODEL, provider=providers.AnthropicProvider(anthropic_client=api)),
            instructions=GUIDE,
            tools=[look_up],
            model_settings={"max_tokens": 300, "anthropic_thinking": ADAPTIVE, **(settings or {})},
        )
        history = None
        for said in SAID:
            run = await agent.run(said, message_history=history, event_stream_handler=watch)
            history = run.all_messages()


async def pydantic_ai_with_its_own_caching(url: str, placing: list[Any]) -> None:
    await pydantic_ai(url, placing, settings={"cache": True})


async def streaming_pydantic_ai(url: str, placing: list[Any]) -> None:
    async def watch(_: Any, events: Any) -> None:
        async for _event in events:
            pass

    await pydantic_ai(url, placing, watch=watch)


LOOPS = [
    tool_runner,
    streaming_tool_runner,
    thread,
    langchain,
    streaming_langchain,
    pydantic_ai,
    streaming_pydantic_ai,
]
OWN = [langchain_with_its_own_caching, pydantic_ai_with_its_own_caching]
CASES = [(loop, "claude") for loop in [*LOOPS, *OWN]]
CASES += [(loop, "bedrock") for loop in [*LOOPS, *OWN] if loop is not thread]
"""Bedrock has no message threads."""


def named(loop: Callable[..., Any]) -> str:
    return loop.__name__


def replies() -> list[dict[str, Any]]:
    said = []
    for turn, calls in enumerate(CALLS):
        for place, count in enumerate(calls):
            made = [call(f"{turn}-{place}-{n}", word=f"word {n}") for n in range(count)]
            said.append(
                reply(thinking(f"hm {turn} {place}"), text("Let me see." if made else "Done."), *made)
            )
    return said


def held(loop: Callable[..., Any], platform: str = "claude", *, placed: bool = True) -> Emulator:
    """The emulator after the loop was run against it, with the middleware or without."""
    emulator = Emulator(Settings(platform=platform), clock=VirtualClock(START))
    emulator.script(*replies())
    placing = [CacheMiddleware(clock=emulator.clock.now, platform=platform)] if placed else []
    with EmulatorServer(emulator) as server:
        given = loop(server.url, placing)
        if given is not None:
            anyio.run(lambda: given)
    return emulator


def bare(body: dict[str, Any]) -> str:
    """A body without breakpoints, its strings as the blocks they stand for, and its message ids all alike."""
    sections = {
        "system": _bare(body.get("system", [])),
        "tools": _bare(body.get("tools", [])),
        "messages": [{**message, "content": _bare(message["content"])} for message in body["messages"]],
    }
    rest = {name: value for name, value in body.items() if name not in {"cache_control", *sections}}
    return re.sub(r"msg_\w+", "msg", json.dumps([rest, sections]))


def _bare(content: Any) -> list[dict[str, Any]]:
    blocks = [text(content)] if isinstance(content, str) else content
    return [{name: value for name, value in block.items() if name != "cache_control"} for block in blocks]


@pytest.mark.parametrize(("loop", "platform"), CASES, ids=lambda given: getattr(given, "__name__", given))
def test_every_request_reads_all_that_the_last_one_left(loop, platform):
    requests = held(loop, platform).requests
    usages = [request.usage for request in requests]

    assert [request.status for request in requests] == [200] * 12
    assert usages[0].written > 5_000
    assert [usage.read for usage in usages[1:]] == [usage.read + usage.written for usage in usages[:-1]]
    assert [usage.uncached for usage in usages] == [0] * 12


@pytest.mark.parametrize("loop", LOOPS, ids=named)
def test_nothing_but_breakpoints_changes_on_the_wire(loop):
    placed, written = (
        [bare(request.body) for request in held(loop, placed=placed).requests] for placed in (True, False)
    )

    assert placed == written
