"""What happened to each request, as frozen records.

Knows what was asked, billed and found. Must not know how it was decided.
"""

import json
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import attrs

from convcache.emulator.cache import Bill, Breakpoint


@attrs.frozen(kw_only=True)
class Usage:
    """The tokens billed."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0
    uncached: int = 0
    output: int = 0

    @classmethod
    def of(cls, bill: Bill, *, output: int = 0) -> "Usage":
        return cls(
            read=bill.read,
            written_5m=bill.written_5m,
            written_1h=bill.written_1h,
            uncached=bill.uncached,
            output=output,
        )

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            read=self.read + other.read,
            written_5m=self.written_5m + other.written_5m,
            written_1h=self.written_1h + other.written_1h,
            uncached=self.uncached + other.uncached,
            output=self.output + other.output,
        )

    @property
    def written(self) -> int:
        return self.written_5m + self.written_1h

    @property
    def prompt(self) -> int:
        """Every token of the prompt, at whatever price."""
        return self.read + self.written + self.uncached


NOTHING_BILLED: Final = Usage()


@attrs.frozen
class Hit:
    """Where a request found an entry: the block its prefix ends with."""

    path: str
    digest: str
    tokens: int


class _Body:
    """The bytes of a body, until they are let go."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data


@attrs.frozen(kw_only=True)
class Record:
    """One request to the API."""

    id: str
    at: datetime
    method: str
    path: str
    status: int = 0
    """What it was answered with; 0 as long as no response has started."""
    usage: Usage = NOTHING_BILLED
    """What was billed: nothing before the response starts, nothing for an error."""
    hit: Hit | None = None
    breakpoints: tuple[Breakpoint, ...] = ()
    _body: _Body = attrs.field(alias="body", repr=False, eq=False)

    @property
    def body(self) -> Any:
        """The request body as it was sent, parsed anew each time; `None` if there was none or it was no JSON.

        Raises:
            LookupError: The body was let go; `Settings.kept_body_bytes` says how many are kept.
        """
        if self._body.data is None:
            raise LookupError("The body of this request is no longer kept. Raise Settings.kept_body_bytes.")
        try:
            return json.loads(self._body.data) if self._body.data else None
        except ValueError:
            return None

    @property
    def kept_body(self) -> Any:
        """The body, or `None` if it was let go."""
        return None if self._body.data is None else self.body


class RequestLog:
    """Records in the order of arrival; the oldest bodies are let go when they grow too many."""

    def __init__(self, kept_body_bytes: int) -> None:
        self._room = kept_body_bytes
        self._records: dict[str, Record] = {}
        self._bodies: deque[_Body] = deque()
        self._held = 0

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def arrived(self, id_: str, *, at: datetime, method: str, path: str, body: bytes) -> None:
        kept = _Body(body)
        self._records[id_] = Record(id=id_, at=at, method=method, path=path, body=kept)
        self._bodies.append(kept)
        self._held += len(body)
        while self._held > self._room and len(self._bodies) > 1:
            self._let_go(self._bodies.popleft())

    def answered(self, id_: str, **outcome: Any) -> None:
        if id_ in self._records:
            self._records[id_] = attrs.evolve(self._records[id_], **outcome)

    def clear(self) -> None:
        self._records.clear()
        self._bodies.clear()
        self._held = 0

    def _let_go(self, body: _Body) -> None:
        self._held -= len(body.data or b"")
        body.data = None
