"""A chat held in each of the ways that `benchmarks.overhead` compares, through the real SDK and a transport that answers
at once."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import attrs
import httpx2
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message

from benchmarks.histories import Json, Kind, asked, replied
from convcache import AsyncConversation, CacheMiddleware, Conversation
from convcache.emulator import sse

FIELDS: Final[dict[str, Any]] = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "system": "You answer in a sentence. " * 40,
    "tools": [{"name": "find", "description": "Finds.", "input_schema": {"type": "object"}}],
}
PLAIN: Final = "plain SDK"
WAYS: Final = (PLAIN, "SDK, objects", "CacheMiddleware", "Conversation")


@attrs.define
class Answers:
    """A transport that answers a chat's requests at once, each as though it had read all that was written before."""

    kind: Kind
    number: int = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body = reply(self.kind, self.number)
        self.number += 1
        if "x-stainless-stream-helper" not in request.headers:
            return httpx2.Response(200, json=body)
        told = b"".join(map(sse.encoded, sse.events(body)))
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, stream=httpx2.ByteStream(told), headers=headers)

    async def soon(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0)
        return self(request)


def reply(kind: Kind, number: int) -> Json:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": FIELDS["model"],
        "content": replied(kind, number),
        "stop_reason": "tool_use" if kind == "agent" else "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 10,
            "output_tokens": 20,
            "cache_read_input_tokens": 1_000 + 100 * number,
            "cache_creation_input_tokens": 100,
        },
    }


def client(answers: Answers, *, is_async: bool, **options: Any) -> Any:
    """A client of the real SDK that is answered by these."""
    if is_async:
        async_http = httpx2.AsyncClient(transport=httpx2.MockTransport(answers.soon))
        return AsyncAnthropic(api_key="x", max_retries=0, http_client=async_http, **options)
    http = httpx2.Client(transport=httpx2.MockTransport(answers))
    return Anthropic(api_key="x", max_retries=0, http_client=http, **options)


class Chat(Protocol):
    """A chat by one way. Only `send` is measured, which is awaited on an async client, and the entering of `stream`."""

    def prepare(self) -> None:
        """Make the next thing that the user's side says."""

    def send(self) -> Any:
        """Send it."""

    def stream(self) -> AbstractContextManager[Any]:
        """Send it where the block is entered, for a reply that is streamed."""

    def keep(self, reply: Any) -> None:
        """Take the reply into the history."""


class Loop:
    """The loop that everybody writes: a list of messages, and the reply appended to it."""

    def __init__(
        self, kind: Kind, said: Sequence[Json], client: Any, *, objects: bool, **fields: Any
    ) -> None:
        self.kind, self.turn, self.client, self.objects = kind, len(said) // 2, client, objects
        self.messages: list[Any] = [_in_objects(message) for message in said] if objects else [*said]
        self.fields = {**FIELDS, **fields}

    def prepare(self) -> None:
        self.messages.append({"role": "user", "content": asked(self.kind, self.turn)})
        self.turn += 1

    def send(self) -> Any:
        return self.client.messages.create(**self.fields, messages=self.messages)

    def stream(self) -> AbstractContextManager[Any]:
        manager: AbstractContextManager[Any] = self.client.messages.stream(
            **self.fields, messages=self.messages
        )
        return manager

    def keep(self, reply: Any) -> None:
        content = reply.content if self.objects else [block.to_dict() for block in reply.content]
        self.messages.append({"role": "assistant", "content": content})


def _in_objects(message: Json) -> Json:
    if message["role"] == "user":
        return message
    return {**message, "content": Message.model_validate({**reply("chat", 0), **message}).content}


class Owned:
    """A `Conversation`, which has the history."""

    def __init__(self, kind: Kind, said: Sequence[Json], client: Any, *, is_async: bool) -> None:
        self.kind, self.turn, self.content = kind, len(said) // 2, list[Json]()
        conversation: Any = AsyncConversation if is_async else Conversation
        self.chat = conversation(client, **FIELDS, messages=said)

    def prepare(self) -> None:
        self.content = asked(self.kind, self.turn)
        self.turn += 1

    def send(self) -> Any:
        return self.chat.send(self.content)

    def stream(self) -> AbstractContextManager[Any]:
        manager: AbstractContextManager[Any] = self.chat.stream(self.content)
        return manager

    def keep(self, reply: Any) -> None:
        pass


@attrs.define
class Application:
    """An application that holds its chats by one way, all on one client."""

    way: str
    kind: Kind
    is_async: bool = False
    _answers: Answers = attrs.field(default=attrs.Factory(lambda self: Answers(self.kind), takes_self=True))
    _client: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        middleware = {"middleware": [CacheMiddleware()]} if self.way == "CacheMiddleware" else {}
        self._client = client(self._answers, is_async=self.is_async, **middleware)

    def begun(self, said: Sequence[Json]) -> Chat:
        """A chat that goes on from a history, which ends with a reply. The one before it is over."""
        self._answers.number = len(said) // 2
        if self.way == "Conversation":
            return Owned(self.kind, said, self._client, is_async=self.is_async)
        automatic = {} if self.way == "CacheMiddleware" else {"cache_control": {"type": "ephemeral"}}
        return Loop(self.kind, said, self._client, objects=self.way == "SDK, objects", **automatic)
