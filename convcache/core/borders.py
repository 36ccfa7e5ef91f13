"""Where the prompts of a scope part: the ends of what several conversations share, learned from what was sent.

Remembers digests alone. Only the head of a prompt and its first message are looked at: further on, conversations
are their own.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from threading import Lock
from typing import Final

from convcache.core.node import Node

MAX_REMEMBERED: Final = 20_000

_SEVERAL: Final = b""


class Borders:
    """What followed each prefix: once two different blocks did, its end is a border. Safe to share by threads; looking
    needs no lock."""

    def __init__(self, *, max_remembered: int = MAX_REMEMBERED) -> None:
        self._followed_by: OrderedDict[bytes, bytes] = OrderedDict()
        self._max_remembered = max_remembered
        self._lock = Lock()

    def learn(self, nodes: Sequence[Node]) -> None:
        """Take in a prompt that was sent."""
        with self._lock:
            for before, after in pairwise(nodes):
                known = self._followed_by.setdefault(before.digest, after.digest)
                self._followed_by.move_to_end(before.digest)
                if known not in (after.digest, _SEVERAL):
                    self._followed_by[before.digest] = _SEVERAL
                if after.section == "messages" and after.path[1] > 0:
                    break
            while len(self._followed_by) > self._max_remembered:
                self._followed_by.popitem(last=False)

    def is_border(self, node: Node) -> bool:
        """Whether prompts are known to part after this node."""
        return self._followed_by.get(node.digest) == _SEVERAL
