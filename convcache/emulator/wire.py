"""Requests and responses as values, without a socket.

Knows bytes, headers and when a chunk is due. Must not know what a request means nor how time passes.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs


def compact(value: Any) -> str:
    """JSON without spaces, keys in the order given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def on_the_wire(json_text: str) -> bytes:
    """JSON as UTF-8; half a surrogate pair, which UTF-8 cannot hold, as its escape."""
    return json_text.encode("utf-8", "backslashreplace")


@attrs.frozen(kw_only=True)
class Request:
    """What arrived: header names in lower case, the path without its query."""

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    query: str = ""


@attrs.frozen
class Chunk:
    """Bytes of a response body and the moment they leave."""

    at: datetime
    data: bytes


@attrs.frozen(kw_only=True)
class Response:
    """A response that has started."""

    status: int
    headers: Mapping[str, str]
    chunks: tuple[Chunk, ...]
    cut: bool = False
    """The connection breaks after the last chunk, before the body is complete."""

    @property
    def streams(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


@attrs.frozen(kw_only=True)
class Pending:
    """A response that has not started: nothing is written, billed or said until `start` is called.

    A shell waits until `starts_at`, then calls `start` once; if the client has gone by then, it never does.
    """

    starts_at: datetime
    begin: Callable[[datetime], Response]
    dropped: bool = False
    """The connection breaks instead of a response."""

    def start(self, at: datetime) -> Response:
        return self.begin(at)


def json_response(
    value: Any, *, at: datetime, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    body = on_the_wire(compact(value))
    return Response(
        status=status,
        headers={"content-type": "application/json", "content-length": str(len(body)), **(headers or {})},
        chunks=(Chunk(at, body),),
    )
