"""A sequence that grows by a turn without being copied, and shares what it has with all that grew from it.

Knows nothing of what it holds.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, Self, TypeVar, overload

T_co = TypeVar("T_co", covariant=True)

CHUNK: Final = 64
"""Items that are held together."""


class Growing(Sequence[T_co]):
    """A tuple whose `plus` costs what is added: full chunks are shared, only the last few items are copied."""

    __slots__ = ("_chunks", "_full", "_last", "_size")

    def __init__(self, items: Iterable[T_co] = ()) -> None:
        self._set((), tuple(items))

    def _set(self, chunks: tuple[tuple[T_co, ...], ...], last: tuple[T_co, ...]) -> None:
        full = len(last) - len(last) % CHUNK
        if full:
            chunks += tuple(last[start : start + CHUNK] for start in range(0, full, CHUNK))
            last = last[full:]
        self._chunks, self._last = chunks, last
        self._full = len(chunks) * CHUNK
        self._size = self._full + len(last)

    def plus(self, items: Iterable[T_co]) -> Self:
        """This and more. What was grown from before stays as it is."""
        grown, last = object.__new__(type(self)), (*self._last, *items)
        if len(last) < CHUNK:
            grown._chunks, grown._last, grown._full = self._chunks, last, self._full
            grown._size = self._full + len(last)
        else:
            grown._set(self._chunks, last)
        return grown

    def first(self, count: int) -> Self:
        """The first items, sharing them."""
        if count >= self._size:
            return self
        cut = object.__new__(type(self))
        chunks, rest = divmod(min(count, self._size), CHUNK)
        last = self._chunks[chunks] if chunks < len(self._chunks) else self._last
        cut._set(self._chunks[:chunks], last[:rest])
        return cut

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Growing) and (self._chunks, self._last) == (other._chunks, other._last)

    def __hash__(self) -> int:
        return hash((self._chunks, self._last))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T_co]:
        return chain.from_iterable((*self._chunks, self._last)) if self._chunks else iter(self._last)

    def __reversed__(self) -> Iterator[T_co]:
        return self.back_from(self._size)

    def chunks(self, start: int = 0) -> tuple[tuple[T_co, ...], ...]:
        """The items from one on, in the tuples that hold them: full ones are the same in all that share them."""
        skipped, within = divmod(start, CHUNK)
        first, *others = (*self._chunks[skipped:], self._last) if start < self._size else ((),)
        return (first[within:], *others)

    def since(self, start: int) -> tuple[T_co, ...]:
        """The items from one on."""
        if start >= self._full:
            return self._last[start - self._full :]
        return tuple(chain.from_iterable(self.chunks(start)))

    def back_from(self, end: int) -> Iterator[T_co]:
        """The items before a place, the last one first."""
        if end >= self._full:
            last = reversed(self._last[: end - self._full])
            return (
                chain(last, chain.from_iterable(map(reversed, reversed(self._chunks))))
                if self._chunks
                else last
            )
        full, rest = divmod(end, CHUNK)
        earlier = chain.from_iterable(map(reversed, reversed(self._chunks[:full])))
        return chain(reversed(self._chunks[full][:rest]), earlier)

    @overload
    def __getitem__(self, at: int) -> T_co: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[T_co]: ...

    def __getitem__(self, at: int | slice) -> T_co | Sequence[T_co]:
        if isinstance(at, slice):
            return tuple([self[index] for index in range(*at.indices(self._size))])
        if at >= self._full:
            return self._last[at - self._full]
        if at >= 0:
            return self._chunks[at // CHUNK][at % CHUNK]
        if at < -self._size:
            raise IndexError(at)
        return self[at + self._size]


def find_late(items: Growing[T_co], value: Any, key: Callable[[T_co], Any]) -> int:
    """Like `bisect_left`, for what is sought near the end of long sequences."""
    end, step = len(items), 1
    while step <= end and key(items[end - step]) >= value:
        end, step = end - step, 2 * step
    # The item before is known to be less, if there is one.
    return bisect_left(items, value, max(0, end - step + 1), end, key=key)
