"""Every tool call is answered in the next turn, and every answer has its call in the turn before.

Knows `tool_use` and `tool_result`. Must not know other blocks or the cache.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from convcache.emulator.bodies import folded
from convcache.emulator.errors import ApiError
from convcache.emulator.layout import Body, blocks_of


class _Turn(NamedTuple):
    """Consecutive messages of one role, which the API reads as one."""

    number: int
    role: str
    blocks: list[tuple[str, Any]]

    def ids(self, type_: str, key: str) -> list[tuple[str, str]]:
        return [(path, block[key]) for path, block in self.blocks if block["type"] == type_]

    @property
    def calls(self) -> list[tuple[str, str]]:
        return self.ids("tool_use", "id") if self.role == "assistant" else []

    @property
    def results(self) -> list[tuple[str, str]]:
        return self.ids("tool_result", "tool_use_id") if self.role == "user" else []

    @property
    def results_that_lead(self) -> set[str]:
        """The ids answered before anything else is said."""
        leading = set()
        for _, block in self.blocks:
            if self.role != "user" or block["type"] != "tool_result":
                break
            leading.add(block["tool_use_id"])
        return leading


def check(body: Body) -> None:
    names = [tool.get("name") for tool in body.get("tools") or () if tool.get("name")]
    if len(names) != len(set(names)):
        raise ApiError("tools: Tool names must be unique.")
    if folded(body["messages"], "paired", _Pairing(), _paired).is_complete:
        return
    turns = list(_turns(body["messages"]))
    _check_unique(turns)
    nothing = _Turn(len(body["messages"]), "", [])
    for before, turn, after in zip([nothing, *turns], turns, [*turns[1:], nothing], strict=False):
        _check_results(turn, before)
        _check_calls(turn, after)


class _Pairing(NamedTuple):
    """Where a conversation that is in order so far stands; to say what is wrong takes the whole of it."""

    role: str = ""
    calls: frozenset[str] = frozenset()
    """Of the turn of the assistant that is, or was last."""
    answered: frozenset[str] = frozenset()
    is_leading: bool = True
    """Nothing but results has been said in this turn."""
    in_order: bool = True

    @property
    def is_complete(self) -> bool:
        return self.in_order and self.calls <= self.answered

    def turned_to(self, role: str) -> "_Pairing":
        """The next turn: calls wait for their results, or have all been answered by now."""
        if role == "user":
            return _Pairing(role, self.calls, in_order=self.in_order)
        return _Pairing(role, in_order=self.is_complete)

    def after(self, block: Mapping[str, Any]) -> "_Pairing":
        if self.role == "user" and block["type"] == "tool_result":
            id_ = block["tool_use_id"]
            answered = self.answered | {id_} if self.is_leading else self.answered
            return self._replace(answered=answered, in_order=self.in_order and id_ in self.calls)
        if self.role == "assistant" and block["type"] == "tool_use":
            id_ = block["id"]
            return self._replace(calls=self.calls | {id_}, in_order=self.in_order and id_ not in self.calls)
        return self._replace(is_leading=False) if self.is_leading else self


def _paired(so_far: _Pairing, _place: int, message: Mapping[str, Any]) -> _Pairing:
    if message["role"] == "system":
        return so_far
    state = so_far if message["role"] == so_far.role else so_far.turned_to(message["role"])
    for block in blocks_of(message["content"])[0]:
        state = state.after(block)
    return state


def _check_unique(turns: Sequence[_Turn]) -> None:
    """Within a turn; the API was recorded answering a chat whose later turn used an id again."""
    for turn in turns:
        seen: set[str] = set()
        for path, id_ in turn.calls:
            if id_ in seen:
                raise ApiError(f"{path}: `tool_use` ids must be unique")
            seen.add(id_)


def _check_results(turn: _Turn, before: _Turn) -> None:
    known = {id_ for _, id_ in before.calls}
    for path, id_ in turn.results:
        if id_ not in known:
            raise ApiError(
                f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: {id_}. Each `tool_result` block "
                "must have a corresponding `tool_use` block in the previous message."
            )


def _check_calls(turn: _Turn, after: _Turn) -> None:
    open_calls = [id_ for _, id_ in turn.calls if id_ not in after.results_that_lead]
    if open_calls:
        raise ApiError(
            f"messages.{turn.number}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(open_calls)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
            "next message."
        )


def _turns(messages: Sequence[Any]) -> Iterator[_Turn]:
    spoken = [(number, message) for number, message in enumerate(messages) if message["role"] != "system"]
    for role, run in groupby(spoken, key=lambda numbered: numbered[1]["role"]):
        members = list(run)
        blocks = [
            (f"messages.{number}.content.{index}", block)
            for number, message in members
            for index, block in enumerate(blocks_of(message["content"])[0])
        ]
        yield _Turn(members[-1][0], role, blocks)
