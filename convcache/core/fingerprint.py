"""Whether messages are the ones that were seen before, told from all that is in them and nothing that is kept of them.

For requests of others, who may have changed anything since. Says yes only to the very same values in the very same
order; nothing is parsed or written as JSON.
"""

import hashlib
import marshal
from collections.abc import Sequence
from itertools import takewhile
from operator import eq
from typing import Any, Final

import attrs

CHUNK: Final = 32

# The last version of the format in which equal bytes mean equal values, however they are held in memory.
_BY_VALUE: Final = 2


@attrs.frozen
class Fingerprint:
    """The names of messages, a few of them at a time.

    Attributes:
        count: How many messages there are.
        chunks: The name of each full chunk.
        rest: That of the messages after them.
    """

    count: int
    chunks: tuple[bytes, ...]
    rest: bytes

    @classmethod
    def of(cls, messages: Sequence[Any]) -> "Fingerprint":
        """Read messages.

        Raises:
            ValueError: They hold an object that is not JSON.
        """
        full = len(messages) - len(messages) % CHUNK
        chunks = tuple(_name(messages[start : start + CHUNK]) for start in range(0, full, CHUNK))
        return cls(len(messages), chunks, _name(messages[full:]))

    def begins(self, messages: Sequence[Any], theirs: "Fingerprint") -> int:
        """How many of these messages others surely begin with, given those and their fingerprint."""
        same = sum(1 for _ in takewhile(bool, map(eq, self.chunks, theirs.chunks)))
        is_whole = same == len(self.chunks) and _name(messages[same * CHUNK : self.count]) == self.rest
        return self.count if is_whole else same * CHUNK


def _name(messages: Sequence[Any]) -> bytes:
    return hashlib.sha256(marshal.dumps([*messages], _BY_VALUE)).digest()[:16]
