"""The one place that touches the SDK's request objects and streams: a body put in, a stream listened to.

`APIRequest` and `Stream` are public; the type of `APIRequest.options` is not, so nothing else here reads it.
Written against anthropic 2.12.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, get_origin

from anthropic import APIRequest, AsyncStream

Feed = Callable[[Any], None]
Finish = Callable[[], None]


def derived(request: APIRequest, *, body: dict[str, Any], stream_cls: Any) -> APIRequest:
    """The request with another body. `APIRequest.copy` would deep-copy the old body first."""
    options = request.options
    if body is not request.json:
        options = options.model_copy(update={"json_data": body})
    return APIRequest(
        options=options,
        cast_to=request.cast_to,
        stream=request.stream,
        stream_cls=stream_cls or request.stream_cls,
        retries_taken=request.retries_taken,
    )


def tapped(stream_cls: Any, feed: Feed, finish: Finish) -> Any:
    """The stream class, listened to: `feed` is given each event, `finish` is called when nobody reads on."""
    if stream_cls is None:
        return None
    plain = get_origin(stream_cls) or stream_cls
    return (_async_tap if issubclass(plain, AsyncStream) else _sync_tap)(stream_cls, feed, finish)


def _sync_tap(stream_cls: Any, feed: Feed, finish: Finish) -> Any:
    class Tapped(stream_cls):  # type: ignore[misc]
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
    class Tapped(stream_cls):  # type: ignore[misc]
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
