"""A web chatbot for many users in one process: Starlette, answers as server-sent events, one middleware.

    pip install 'convcache[emulator]' && python examples/web_chat.py
    curl -N -d 'hello' http://127.0.0.1:8000/chat/ada

With ANTHROPIC_API_KEY set this talks to the API; without, to an emulator inside this process, which makes its
answers up. All users share the instructions, so these are written to the cache once.
"""

import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

import convcache
from convcache.emulator import Emulator, EmulatorServer

INSTRUCTIONS = "You are the help desk of a bicycle shop. Answer briefly, and kindly. " * 200


def application(client: AsyncAnthropic) -> Starlette:
    """The chatbot. The client is an ordinary one, with a `CacheMiddleware`."""
    histories: dict[str, list[MessageParam]] = defaultdict(list)

    async def chat(request: Request) -> StreamingResponse:
        user, said = request.path_params["user"], (await request.body()).decode()
        return StreamingResponse(answer(user, said), media_type="text/event-stream")

    async def answer(user: str, said: str) -> AsyncIterator[str]:
        asked: list[MessageParam] = [*histories[user], {"role": "user", "content": said}]
        system: Any = [convcache.shared(INSTRUCTIONS), {"type": "text", "text": f"You talk to {user}."}]
        with convcache.conversation(user):
            opening = client.messages.stream(
                model="claude-opus-5", max_tokens=500, system=system, messages=asked
            )
            async with opening as stream:
                async for text in stream.text_stream:
                    yield f"data: {json.dumps(text)}\n\n"
                reply = await stream.get_final_message()
        histories[user] = [*asked, {"role": "assistant", "content": reply.content}]

    return Starlette(routes=[Route("/chat/{user}", chat, methods=["POST"])])


def main() -> None:
    placing = convcache.CacheMiddleware()
    if "ANTHROPIC_API_KEY" in os.environ:
        uvicorn.run(application(AsyncAnthropic(middleware=[placing])))
        return
    with EmulatorServer(Emulator()) as server:
        client = AsyncAnthropic(base_url=server.url, api_key="made-up", middleware=[placing])
        uvicorn.run(application(client))


if __name__ == "__main__":
    main()
