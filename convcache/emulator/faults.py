"""Trouble on demand: errors, delays and broken connections, one per request, in the order asked for.

Knows what can go wrong between a client and the API. Must not know how a shell breaks a connection.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from convcache.emulator import sse
from convcache.emulator.errors import ApiError
from convcache.emulator.settings import NO_TIME, not_negative, whole
from convcache.emulator.wire import Chunk, Response

_OVERLOADED: Final = 529
_LONGEST_RETRY: Final = 31_622_400
_TEXTS: Final = {
    429: "This request would exceed your organization's rate limit. Please try again later.",
    500: "Internal server error",
    _OVERLOADED: "Overloaded",
}


def _seconds(value: Any) -> Any:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{value} seconds are no duration") from error


def _some_seconds(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= _LONGEST_RETRY:  # type: ignore[operator]  # a float where it is a number
        raise ValueError(f"{attribute.name} must be seconds, between 0 and {_LONGEST_RETRY:,} ({value!r}).")


@attrs.frozen(kw_only=True)
class Fault:
    """What goes wrong with one request; fields combine.

    >>> Fault(status=429, delay=2).delay
    datetime.timedelta(seconds=2)
    """

    status: int | None = attrs.field(default=None, validator=attrs.validators.optional(whole(400, 599)))
    """Answer with this error; with `error_after`, in the middle of a stream."""
    retry_after: float | None = attrs.field(default=None, validator=attrs.validators.optional(_some_seconds))
    """Seconds in the `retry-after` header of that error."""
    cut_after: int | None = attrs.field(default=None, validator=attrs.validators.optional(whole(0)))
    """Break the connection after so many chunks (events of a stream); 0 is before any response."""
    delay: timedelta = attrs.field(default=NO_TIME, converter=_seconds, validator=not_negative)
    """Start the response so much later."""
    chunk_delay: timedelta = attrs.field(default=NO_TIME, converter=_seconds, validator=not_negative)
    """Wait so much longer before each chunk after the first."""
    error_after: int | None = attrs.field(default=None, validator=attrs.validators.optional(whole(1)))
    """End a stream with an `error` event after so many others; an overload, unless `status` says otherwise."""

    @property
    def drops(self) -> bool:
        return self.cut_after == 0

    def strike(self) -> None:
        """Refuses the request, if that is what goes wrong."""
        if self.status is not None and self.error_after is None:
            raise self._error(self.status)

    def befall(self, response: Response, request_id: str) -> Response:
        """What still arrives of a response."""
        chunks = self._ended_by_error(response, request_id)
        late = (
            Chunk(chunk.at + number * self.chunk_delay, chunk.data) for number, chunk in enumerate(chunks)
        )
        return attrs.evolve(response, chunks=self._cut(tuple(late)), cut=self.cut_after is not None)

    def _error(self, status: int) -> ApiError:
        headers = {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        text = _TEXTS.get(status, f"Emulated error {status}")
        return ApiError(text, status=status, headers=headers)

    def _ended_by_error(self, response: Response, request_id: str) -> Sequence[Chunk]:
        if self.error_after is None or not response.streams:
            return response.chunks
        chunks = response.chunks[: min(self.error_after, len(response.chunks) - 1)]
        error = self._error(self.status or _OVERLOADED).body(request_id)
        return (*chunks, Chunk(chunks[-1].at, sse.encoded(error)))

    def _cut(self, chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
        """Never all chunks, or nothing would be cut."""
        if self.cut_after is None:
            return tuple(chunks)
        if self.cut_after < len(chunks):
            return tuple(chunks[: self.cut_after])
        last = chunks[-1]
        return (*chunks[:-1], Chunk(last.at, last.data[: len(last.data) // 2]))


NO_FAULT: Final = Fault()


def fault_from(value: Mapping[str, Any]) -> Fault:
    """A fault from JSON, where delays are in seconds.

    Raises:
        ValueError: It has an unknown field or an impossible value.
    """
    try:
        return Fault(**value)
    except TypeError as error:
        names = ", ".join(field.name for field in attrs.fields(Fault))
        raise ValueError(f"not a fault ({error}); its fields are {names}") from error


class FaultQueue:
    """Faults that wait for the next requests."""

    def __init__(self) -> None:
        self._waiting: deque[Fault] = deque()

    def add(self, faults: Sequence[Fault]) -> None:
        self._waiting.extend(faults)

    def take(self) -> Fault:
        return self._waiting.popleft() if self._waiting else NO_FAULT

    def clear(self) -> None:
        self._waiting.clear()

    def __len__(self) -> int:
        return len(self._waiting)
