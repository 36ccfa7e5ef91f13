"""What we believe the server holds: under which digest, how many tokens, until when.

A belief, corrected by every bill. Shared by the conversations of one scope, so it takes a lock; it has no time of
its own: `at` is always an argument.
"""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

import attrs

from convcache.core.blocks import Ttl

TTL: Final[dict[Ttl, timedelta]] = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}

MAX_ENTRIES: Final = 50_000
"""Some 10 MB. A server of many chats forgets the prefixes it has not used for longest; forgetting costs nothing
but a pessimistic forecast."""


@attrs.frozen
class Entry:
    """A prefix that the server is believed to hold.

    Attributes:
        digest: Names the prefix.
        tokens: Its length as billed, or as estimated where no bill tells.
        ttl: How long it lives after each use.
        expires: When it lapses unless it is used again.
    """

    digest: bytes
    tokens: int
    ttl: Ttl
    expires: datetime

    def used(self, at: datetime, tokens: int) -> "Entry":
        """The entry after a request that started at `at` read so many tokens of it; its lifetime runs from there."""
        return Entry(self.digest, tokens, self.ttl, max(self.expires, at + TTL[self.ttl]))


class CacheClock:
    """The entries of one scope, safe to share between threads. Each request records what it used; looking needs no lock."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES) -> None:
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._max_entries = max_entries
        self._lock = Lock()

    def warm(self, digest: bytes, at: datetime) -> Entry | None:
        """The entry of a prefix if it is believed alive at `at`."""
        entry = self._entries.get(digest)
        return entry if entry is not None and at < entry.expires else None

    def known(self, digest: bytes) -> Entry | None:
        """The last entry of a prefix, whether it is still held or not: its tokens stay the same."""
        return self._entries.get(digest)

    def record(self, entries: Iterable[Entry]) -> None:
        """Believe these entries, in the place of what was believed of the same prefixes."""
        with self._lock:
            for entry in entries:
                self._entries[entry.digest] = entry
                self._entries.move_to_end(entry.digest)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
