"""The one place that touches the SDK's request objects and streams: a body put in, a reply listened to.

`APIRequest` and `Stream` are public; the type of `APIRequest.options` is not, so nothing else here reads it.
Written against anthropic 2.12 and httpx2 2.16.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, get_origin

import httpx2
from anthropic import APIRequest, APIResponse, AsyncAPIResponse, AsyncStream, Stream

Feed = Callable[[Any], None]
Finish = Callable[[], None]
Hear = Callable[[httpx2.Response], None]


def derived(
    request: APIRequest,
    *,
    body: Mapping[str, Any] | None = None,
    content: bytes | None = None,
    stream_cls: Any = None,
    in_one_piece: bool = False,
    timeout: float | None = None,
) -> APIRequest:
    """The request with another body, as JSON or as the bytes of it, or with its reply in one piece. `APIRequest.copy`
    would deep-copy the old body first."""
    options = request.options
    if content is not None:
        options = options.model_copy(update={"json_data": None, "content": content})
    elif body is not None and body is not request.json:
        options = options.model_copy(update={"json_data": body})
    if timeout is not None:
        options = options.model_copy(update={"timeout": timeout})
    return APIRequest(
        options=options,
        cast_to=request.cast_to,
        stream=request.stream and not in_one_piece,
        stream_cls=None if in_one_piece else stream_cls or request.stream_cls,
        retries_taken=request.retries_taken,
    )


def tapped(stream_cls: Any, feed: Feed, finish: Finish) -> Any:
    """The stream class, listened to: `feed` is given each event, `finish` is called when nobody reads on."""
    if stream_cls is None:
        return None
    plain = get_origin(stream_cls) or stream_cls
    return (_async_tap if issubclass(plain, AsyncStream) else _sync_tap)(stream_cls, feed, finish)


def _sync_tap(stream_cls: Any, feed: Feed, finish: Finish) -> Any:
    class Tapped(stream_cls):  # type: ignore[misc]  # a class that is told at run time
        def __iter__(self) -> Iterator[Any]:
            try:
                for event in super().__iter__():
                    feed(event)
                    yield event
            finally:
                finish()

        def __next__(self) -> Any:
            try:
                event = super().__next__()
            except BaseException:
                finish()
                raise
            feed(event)
            return event

        def close(self) -> None:
            finish()
            super().close()

    return Tapped


def _async_tap(stream_cls: Any, feed: Feed, finish: Finish) -> Any:
    class Tapped(stream_cls):  # type: ignore[misc]  # a class that is told at run time
        async def __aiter__(self) -> AsyncIterator[Any]:
            try:
                async for event in super().__aiter__():
                    feed(event)
                    yield event
            finally:
                finish()

        async def __anext__(self) -> Any:
            try:
                event = await super().__anext__()
            except BaseException:
                finish()
                raise
            feed(event)
            return event

        async def close(self) -> None:
            finish()
            await super().close()

    return Tapped


def overheard(response: APIResponse[Any] | AsyncAPIResponse[Any], hear: Hear) -> None:
    """Listen to a body while its caller reads it: once it is closed, `hear` is given a copy of what was read."""
    reply = response.http_response
    headers = {name: reply.headers.get(name, "") for name in ("content-type", "content-encoding")}
    if reply.is_closed:
        hear(reply)
        return

    def closed(read: bytes) -> None:
        hear(httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(read)))

    reply.stream = (_AsyncTee if isinstance(response, AsyncAPIResponse) else _SyncTee)(reply.stream, closed)


def events_of(reply: httpx2.Response) -> Iterator[dict[str, Any]]:
    """The events of a reply that came as JSON or as server-sent events, as far as they are whole. A reply in one piece
    is its own first event."""
    with suppress(ValueError, httpx2.DecodingError):
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            yield from (event.json() for event in Stream.raw_events(reply) if event.data)
        else:
            message = json.loads(reply.read())
            told = {"usage": message["usage"], "stop_reason": message.get("stop_reason")}
            yield {"type": "message_start", "message": told}


class _Tee:
    """A body that is listened to; the rest of it is the same in both colours."""

    def __init__(self, body: Any, closed: Callable[[bytes], None]) -> None:
        self._body, self._closed = body, closed
        self._read: list[bytes] = []

    @property
    def elapsed(self) -> timedelta | None:
        """What `httpx2.Response.elapsed` asks the body for."""
        return getattr(self._body, "elapsed", None)

    def _tell(self) -> None:
        read, self._read = self._read, []
        self._closed(b"".join(read))


class _SyncTee(_Tee, httpx2.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            self._read.append(chunk)
            yield chunk

    def close(self) -> None:
        try:
            self._body.close()
        finally:
            self._tell()


class _AsyncTee(_Tee, httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._body)
        try:
            async for chunk in chunks:
                self._read.append(chunk)
                yield chunk
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._tell()
