"""Trouble on demand: errors, delays and broken connections, one per request, in the order asked for.

Knows what can go wrong between a client and the API. Must not know how a shell breaks a connection.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from convcache.emulator.errors import ApiError
from convcache.emulator.settings import NO_TIME
from convcache.emulator.wire import Chunk

_TEXTS: Final = {
    429: "This request would exceed your organization's rate limit. Please try again later.",
    500: "Internal server error",
    529: "Overloaded",
}


def _seconds(value: Any) -> Any:
    return (
        timedelta(seconds=value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    )


@attrs.frozen(kw_only=True)
class Fault:
    """What goes wrong with one request; fields combine.

    >>> Fault(status=429, retry_after=0)
    Fault(status=429, retry_after=0, cut_after=None, delay=datetime.timedelta(0))
    """

    status: int | None = attrs.field(
        default=None,
        validator=attrs.validators.optional([attrs.validators.ge(400), attrs.validators.lt(600)]),
    )
    """Answer with this error."""
    retry_after: float | None = None
    """Seconds in the `retry-after` header of that error."""
    cut_after: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
    )
    """Break the connection after so many chunks (events of a stream); 0 is before any response."""
    delay: timedelta = attrs.field(
        default=NO_TIME, converter=_seconds, validator=attrs.validators.instance_of(timedelta)
    )
    """Start the response so much later."""

    @property
    def drops(self) -> bool:
        return self.cut_after == 0

    def strike(self) -> None:
        """Refuses the request, if that is what goes wrong."""
        if self.status is None:
            return
        headers = {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        text = _TEXTS.get(self.status, f"Emulated error {self.status}")
        raise ApiError(text, status=self.status, headers=headers)

    def cut(self, chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
        """The chunks that still arrive; never all of them, or nothing would be cut."""
        if self.cut_after is None:
            return tuple(chunks)
        if self.cut_after < len(chunks):
            return tuple(chunks[: self.cut_after])
        last = chunks[-1]
        return (*chunks[:-1], Chunk(last.at, last.data[: len(last.data) // 2]))


NO_FAULT: Final = Fault()


def fault_from(value: Mapping[str, Any]) -> Fault:
    """A fault from JSON, where `delay` is in seconds.

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
