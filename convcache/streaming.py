"""A turn's reply as a stream: the SDK's `MessageStream`, with the books kept while it is read.

The two colours differ in `await` alone. What is read is the SDK's own events, unchanged.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
import httpx2
from anthropic import AsyncMessageStream, MessageStream, ParsedMessageStreamEvent
from anthropic.types import Message

from convcache.core.usage import UsageMeter
from convcache.pending import Pending
from convcache.request import Reply, plain
from convcache.state import ConversationState

StreamT = TypeVar("StreamT", bound=MessageStream[None] | AsyncMessageStream[None])

StreamEvent: TypeAlias = "ParsedMessageStreamEvent[None]"
"""An event of the SDK's message streams."""


@attrs.define
class _Tap:
    """Follows one turn's events into the books."""

    state: ConversationState
    pending: Pending
    meter: UsageMeter = attrs.field(factory=UsageMeter)

    def feed(self, event: Any) -> None:
        match event.type:
            case "message_start":
                self.meter.feed({"type": "message_start", "message": {"usage": plain(event.message.usage)}})
                self.state.begun(self.pending, self.meter.bill)
            case "message_delta":
                self.meter.feed({"type": "message_delta", "usage": plain(event.usage)})
            case "message_stop":
                self.meter.feed({"type": "message_stop"})

    def settle(self, stream: MessageStream[None] | AsyncMessageStream[None]) -> None:
        """Keep the turn if its reply is whole; book what was billed in any case. Once the reply has started, that
        is known."""
        if self.meter.complete:
            self.state.answered(self.pending, Reply.of(stream.current_message_snapshot))
        elif self.meter.bill is not None:
            self.state.settle(self.pending, self.meter.bill, kept=False)


class _View(Generic[StreamT]):
    """What both colours show of the SDK's stream."""

    def __init__(self, stream: StreamT, state: ConversationState, pending: Pending) -> None:
        self._stream: StreamT = stream
        self._tap = _Tap(state, pending)
        state.limits_told(stream.response.headers)

    @property
    def current_message_snapshot(self) -> Message:
        """The reply as far as it has arrived."""
        return self._stream.current_message_snapshot

    @property
    def response(self) -> httpx2.Response:
        """The HTTP response."""
        return self._stream.response

    @property
    def request_id(self) -> str | None:
        """The API's id of the request."""
        return self._stream.request_id


class ConversationStream(_View[MessageStream[None]]):
    """The reply of a turn as it arrives: iterate over its events, or over `text_stream`.

    Attributes:
        text_stream: Only the text, piece by piece.
    """

    def __init__(self, stream: MessageStream[None], state: ConversationState, pending: Pending) -> None:
        super().__init__(stream, state, pending)
        self._events = self._read()
        self.text_stream: Iterator[str] = self._text()

    def _read(self) -> Iterator[StreamEvent]:
        for event in self._stream:
            self._tap.feed(event)
            yield event

    def _text(self) -> Iterator[str]:
        for event in self:
            if event.type == "text":
                yield event.text

    def __iter__(self) -> Iterator[StreamEvent]:
        return self._events

    def __next__(self) -> StreamEvent:
        return next(self._events)

    def until_done(self) -> None:
        """Read the reply to its end."""
        for _ in self:
            pass

    def get_final_message(self) -> Message:
        """Read the reply to its end and return it."""
        self.until_done()
        return self._stream.get_final_message()

    def get_final_text(self) -> str:
        """Read the reply to its end and return its text."""
        self.until_done()
        return self._stream.get_final_text()

    def close(self) -> None:
        """Stop reading and release the connection."""
        self._stream.close()


class AsyncConversationStream(_View[AsyncMessageStream[None]]):
    """The reply of a turn as it arrives: iterate over its events, or over `text_stream`.

    Attributes:
        text_stream: Only the text, piece by piece.
    """

    def __init__(self, stream: AsyncMessageStream[None], state: ConversationState, pending: Pending) -> None:
        super().__init__(stream, state, pending)
        self._events = self._read()
        self.text_stream: AsyncIterator[str] = self._text()

    async def _read(self) -> AsyncIterator[StreamEvent]:
        async for event in self._stream:
            self._tap.feed(event)
            yield event

    async def _text(self) -> AsyncIterator[str]:
        async for event in self:
            if event.type == "text":
                yield event.text

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self._events

    async def __anext__(self) -> StreamEvent:
        return await anext(self._events)

    async def until_done(self) -> None:
        """Read the reply to its end."""
        async for _ in self:
            pass

    async def get_final_message(self) -> Message:
        """Read the reply to its end and return it."""
        await self.until_done()
        return await self._stream.get_final_message()

    async def get_final_text(self) -> str:
        """Read the reply to its end and return its text."""
        await self.until_done()
        return await self._stream.get_final_text()

    async def close(self) -> None:
        """Stop reading and release the connection."""
        await self._stream.close()
