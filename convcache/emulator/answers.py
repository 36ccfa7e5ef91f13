"""Answers that are decided but not yet begun: refusals and plain JSON; messages have their own module.

Knows statuses and bodies. Must not know routes, the log or faults.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import attrs

from convcache.emulator.cache import Breakpoint
from convcache.emulator.errors import ApiError
from convcache.emulator.log import NOTHING_BILLED, Hit, Usage
from convcache.emulator.settings import NO_TIME
from convcache.emulator.wire import Chunk, Response, json_response


@attrs.frozen(kw_only=True)
class Started:
    """A response and what the log should know about it."""

    response: Response
    usage: Usage = NOTHING_BILLED
    hit: Hit | None = None
    breakpoints: tuple[Breakpoint, ...] = ()


class Answer(Protocol):
    """Something that can be started, once, by the shell that is about to send it."""

    @property
    def delay(self) -> timedelta: ...

    def start(self, request_id: str, at: datetime) -> Started: ...


@attrs.frozen
class Refusal:
    """An error, which costs nothing and changes nothing."""

    error: ApiError
    delay: timedelta = NO_TIME

    def start(self, request_id: str, at: datetime) -> Started:
        body, headers = self.error.body(request_id), self.error.headers
        return Started(response=json_response(body, at=at, status=self.error.status, headers=headers))


@attrs.frozen
class Plain:
    """A value that needs no model and no cache."""

    value: Mapping[str, Any]
    delay: timedelta = NO_TIME

    def start(self, request_id: str, at: datetime) -> Started:
        return Started(response=json_response(self.value, at=at))


@attrs.frozen
class Text:
    """Bytes that are no JSON value."""

    data: bytes
    content_type: str
    delay: timedelta = NO_TIME

    def start(self, request_id: str, at: datetime) -> Started:
        headers = {"content-type": self.content_type, "content-length": str(len(self.data))}
        return Started(response=Response(status=200, headers=headers, chunks=(Chunk(at, self.data),)))
