"""An agent loop: the model calls a tool until it has its answer, and every request reads what the last one wrote.

    python examples/tool_loop.py

With ANTHROPIC_API_KEY set this talks to the API; without, to an emulator inside this process, which makes its
answers up (`pip install 'convcache[emulator]'`).
"""

import os
from contextlib import ExitStack
from typing import Any

from anthropic import Anthropic
from anthropic.types import Message, ToolUseBlock

from convcache import Conversation
from convcache.emulator import Emulator, EmulatorServer

STATIONS = {"Oslo": "4 degrees, rain", "Lagos": "31 degrees, sun"}
WEATHER: Any = {
    "name": "weather",
    "description": "The weather in a city now.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
GUIDE = "You are a weather service. Call the weather tool for every city you are asked about. " * 60


def results(reply: Message) -> list[dict[str, str]]:
    calls = [block for block in reply.content if isinstance(block, ToolUseBlock)]
    return [
        {
            "type": "tool_result",
            "tool_use_id": call.id,
            "content": STATIONS.get(str(call.input["city"]), "unknown"),
        }
        for call in calls
    ]


def run(client: Anthropic) -> Conversation:
    conversation = Conversation(client, model="claude-opus-5", max_tokens=1024, system=GUIDE, tools=[WEATHER])
    reply = conversation.send("Use the weather tool: is it warmer in Oslo or in Lagos?")
    while reply.stop_reason == "tool_use":
        reply = conversation.send(results(reply))
    return conversation


def main() -> None:
    with ExitStack() as stack:
        if "ANTHROPIC_API_KEY" in os.environ:
            client = Anthropic()
        else:
            server = stack.enter_context(EmulatorServer(Emulator()))
            client = Anthropic(base_url=server.url, api_key="made-up")
        conversation = run(client)
    for turn in conversation.turns:
        print(
            f"read {turn.actual.read:5,}  written {turn.actual.written:5,}  uncached {turn.actual.uncached:3,}"
        )
    print(f"paid ${conversation.costs.paid:.4f} instead of ${conversation.costs.uncached:.4f}")


if __name__ == "__main__":
    main()
