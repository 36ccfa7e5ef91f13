"""A sequence that grows by a turn without being copied, and shares what it has with all that grew from it.

Knows nothing of what it holds.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, Self, TypeVar, overload

T_co = TypeVar("T_co", covariant=True)

_CHUNK: Final = 64


class Growing(Sequence[T_co]):
    """A tuple whose `plus` costs what is added: full chunks are shared, only the last few items are copied."""

    __slots__ = ("_chunks", "_last")

    def __init__(self, items: Iterable[T_co] = ()) -> None:
        self._chunks: tuple[tuple[T_co, ...], ...] = ()
        self._last: tuple[T_co, ...] = ()
        self._take(tuple(items))

    def _take(self, items: tuple[T_co, ...]) -> None:
        items = (*self._last, *items)
        full = len(items) - len(items) % _CHUNK
        if full:
            self._chunks += tuple(items[start : start + _CHUNK] for start in range(0, full, _CHUNK))
        self._last = items[full:]

    def plus(self, items: Iterable[T_co]) -> Self:
        """This and more. What was grown from before stays as it is."""
        grown = object.__new__(type(self))
        grown._chunks, grown._last = self._chunks, self._last
        grown._take(tuple(items))
        return grown

    def first(self, count: int) -> Self:
        """The first items, sharing them."""
        cut = object.__new__(type(self))
        chunks, rest = divmod(min(count, len(self)), _CHUNK)
        cut._chunks = self._chunks[:chunks]
        cut._last = (self._chunks[chunks] if chunks < len(self._chunks) else self._last)[:rest]
        return cut

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Growing) and (self._chunks, self._last) == (other._chunks, other._last)

    def __hash__(self) -> int:
        return hash((self._chunks, self._last))

    def __len__(self) -> int:
        return len(self._chunks) * _CHUNK + len(self._last)

    def __iter__(self) -> Iterator[T_co]:
        return chain.from_iterable((*self._chunks, self._last))

    @overload
    def __getitem__(self, at: int) -> T_co: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[T_co]: ...

    def __getitem__(self, at: int | slice) -> T_co | Sequence[T_co]:
        if isinstance(at, slice):
            return tuple(self[index] for index in range(*at.indices(len(self))))
        index = at + len(self) if at < 0 else at
        if not 0 <= index < len(self):
            raise IndexError(at)
        chunk, place = divmod(index, _CHUNK)
        return self._chunks[chunk][place] if chunk < len(self._chunks) else self._last[place]
