"""The history as a value: what was asked, what was answered, what waits for the next turn.

Every verb gives a new transcript and leaves the old one as it was, so a turn that fails is simply not kept. Knows
the API's rules on the order of messages, and nothing of caching.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Final, Self

import attrs

from convcache.core.blocks import Json, as_blocks, as_bytes, is_empty_text
from convcache.core.calls import check_results, tool_use_ids
from convcache.core.growing import Growing
from convcache.core.staged import NOTHING, Staged, as_block, as_message, copied, items_of, own
from convcache.core.wire import Message, Messages
from convcache.errors import (
    ConversationEndedError,
    DanglingToolUseError,
    EmptyMessageError,
    TooManyMessagesError,
    UnencodableError,
    UnknownToolError,
)

# stop_reason -> what to do before the next turn.
_ENDINGS: Final = {
    "refusal": "Call rewind(1) and ask differently: the API refuses again while the refused turn is in the history.",
    "model_context_window_exceeded": (
        "The context window is full: call rewind(), or start a new conversation from a summary of this one."
    ),
}


_PAUSES: Final = {"pause_turn", "compaction"}

MAX_MESSAGES: Final = 100_000
"""Messages API reference: the most messages in one request."""


@attrs.frozen
class Kept:
    """One turn of the history.

    Attributes:
        end: How many messages the history has with this turn.
        stop_reason: Why the model stopped.
    """

    end: int
    stop_reason: str | None


@attrs.frozen
class Transcript:
    """A conversation's messages, turn by turn.

    Attributes:
        messages: Every message of the kept turns, and before them the adopted ones.
        start: The first message that is still sent: the last summary that was asked for stands for those before it.
        adopted: How many messages the conversation began with.
        turns: Where each kept turn ends.
        has_system: Whether there are messages of the system's among those still sent.
        staged: Messages that go out with the next turn.
    """

    messages: Messages = attrs.field(factory=Messages)
    start: int = 0
    adopted: int = 0
    turns: Growing[Kept] = attrs.field(factory=Growing)
    has_system: bool = False
    staged: Staged = NOTHING

    @classmethod
    def adopting(cls, messages: Iterable[Json]) -> Self:
        """A transcript that goes on from an existing history.

        Raises:
            ConversationError: A message is empty, or tool calls and results do not belong together.
        """
        history = [as_message(copied(message)) for message in messages]
        check_results((), history)
        start = _start(history)
        return cls(
            messages=Messages(history),
            start=start,
            adopted=len(history),
            has_system=_has_system(history[start:]),
        )

    @property
    def needs_system(self) -> bool:
        """Whether only a model that takes messages of the system's can take the next request."""
        asides = self.staged.asides
        return self.has_system or (len(asides) > 0 and any(block["type"] != "text" for block in asides))

    @property
    def sent(self) -> Messages:
        """The messages of the history that are still sent."""
        return self.messages.since(self.start)

    def append(self, *items: Json | str) -> Self:
        """Stage messages or blocks for the next turn. Blocks that follow one another make one user message.

        Raises:
            EmptyMessageError: An item says nothing.
            UnencodableError: An item has no JSON form.
        """
        return attrs.evolve(self, staged=self.staged.joined_by(map(own, items)))

    def aside(self, *blocks: Json) -> Self:
        """Stage blocks that are said to the model besides what the user says.

        Raises:
            EmptyMessageError: A block says nothing.
            UnencodableError: A block has no JSON form.
        """
        asides = (*self.staged.asides, *map(as_block, map(copied, blocks)))
        return attrs.evolve(self, staged=attrs.evolve(self.staged, asides=asides))

    def asked(
        self,
        content: object = None,
        context: object = None,
        *,
        takes_system: bool = False,
        clears: bool = False,
    ) -> Messages:
        """The messages of the next request: the history, what is staged, and `content` as a user message.

        Args:
            content: What the user says, as JSON that nobody else changes: it is kept as it is if the turn is.
            context: What is true for this turn only.
            takes_system: Whether the model takes messages of the system's in mid-conversation.
            clears: Whether it takes such as are cleared at the next user message.

        Raises:
            ConversationError: There is nothing to say, a tool call lacks its result or a result its call, the
                content has no JSON form, there are too many messages, or the last reply ended the conversation.
        """
        self._check_not_ended()
        staged = self.staged if content is None else self.staged.joined_by(items_of(content))
        says_nothing = not staged.messages
        # A message of the system's stands behind one of the user's: where only a paused reply goes on, asides wait.
        follows_user = not says_nothing or (bool(self.messages) and self.messages[-1]["role"] == "user")
        told = None if context is None else [as_block(item) for item in items_of(context)]
        if told and not (clears and follows_user):
            staged = staged.joined_by(told)
        if follows_user:
            staged = staged.with_asides(takes_system=takes_system)
        if told and clears and follows_user:
            staged = staged.with_cleared(told)
        ask, before = staged.messages, (self.messages[-1],) if self.messages else ()
        if len(self.messages) - self.start + len(ask) > MAX_MESSAGES:
            raise TooManyMessagesError(MAX_MESSAGES)
        check_results(before, ask)
        for last in (*before, *ask)[-1:]:
            if pending := tool_use_ids(last):
                raise DanglingToolUseError(pending)
        if says_nothing and not self._awaits_reply:
            raise EmptyMessageError("There is nothing to send.")
        asked = self.sent.plus(ask)
        for message in asked.whole().since(len(self.messages)).each():
            _check_encodable(message)
        return asked

    def followed(self, messages: Sequence[Json]) -> Self:
        """The transcript that goes on as somebody else sends it: what it shares with these messages, and the others
        staged."""
        before = self.sent
        shared = next(
            (i for i, (old, new) in enumerate(zip(before, messages, strict=False)) if old != new),
            min(len(before), len(messages)),
        )
        kept = self.turns.first(bisect_right(self.turns, self.start + shared, key=attrgetter("end")))
        history = self if shared == len(before) else self._cut(self.start + shared, kept)
        return attrs.evolve(history, staged=Staged(tuple(messages[shared:])))

    def answered(self, asked: Messages, reply: Sequence[Json], stop_reason: str | None) -> Self:
        """The transcript after a turn. What the API gives and does not take back would end the conversation: empty
        text is left out, and so is a message of nothing else; half a character becomes the mark of a lost one. Asides
        that got no answer, or were not sent, go with the next turn."""
        blocks = [block for block in reply if not is_empty_text(block)]
        said = asked.latest(len(self.messages))
        asides = () if said else self.staged.asides
        before = asked.whole()
        if not blocks:
            spoken = _spoken(said)
            before, asides = before.first(len(self.messages) + spoken), (*asides, *_asides(said))
            said = said[:spoken]
        messages = before.plus([_answer(blocks)]) if blocks else before
        is_summary = any(map(_stands_for_all, blocks))
        return type(self)(
            messages=messages,
            start=len(before) if is_summary else self.start,
            adopted=self.adopted,
            turns=self.turns.plus([Kept(len(messages), stop_reason)]),
            has_system=not is_summary and (self.has_system or _has_system(said)),
            staged=Staged(asides=asides) if asides else NOTHING,
        )

    def rewound(self, turns: int) -> Self:
        """The transcript without its last turns, and with nothing staged.

        Raises:
            ValueError: It has not that many turns.
        """
        if not 1 <= turns <= len(self.turns):
            raise ValueError(f"cannot rewind {turns} turns of a conversation that has {len(self.turns)}")
        kept = self.turns.first(len(self.turns) - turns)
        return self._cut(kept[-1].end if kept else self.adopted, kept)

    def edited(self, messages: Iterable[Json]) -> Self:
        """The transcript with other messages. Turns can still be taken back if there are as many of them.

        Raises:
            ConversationError: A message is empty, tool calls and results do not belong together, or a tool goes that
                has not come.
        """
        other = self.adopting(messages)
        came_in = _named(self.sent, "tool_addition") - _named(other.sent, "tool_addition")
        if lost := came_in & _named([*other.sent, self.staged.said_aside], "tool_removal"):
            raise UnknownToolError(lost)
        if len(other.messages) != len(self.sent):
            return attrs.evolve(other, staged=self.staged)
        whole = self.messages.first(self.start).plus(other.messages)
        return attrs.evolve(self, messages=whole, has_system=other.has_system)

    def _cut(self, end: int, turns: Growing[Kept]) -> Self:
        messages = self.messages.first(end)
        start = self.start if self.start < len(messages) else _start(messages)
        return attrs.evolve(
            self,
            messages=messages,
            start=start,
            adopted=min(self.adopted, end),
            turns=turns,
            has_system=(self.has_system or start < self.start) and _has_system(messages.since(start)),
            staged=NOTHING,
        )

    @property
    def added_tools(self) -> tuple[str, ...]:
        """The names of the tools that came in by the way and were not taken away since, staged ones included."""
        names: dict[str, None] = {}
        blocks = (
            block
            for message in (*self.sent, self.staged.said_aside)
            if message["role"] == "system"
            for block in as_blocks(message["content"])
        )
        for block in blocks:
            match block:
                case {"type": "tool_addition", "tool": {"definition": {"name": str(name)}}}:
                    names[name] = None
                case {"type": "tool_removal", "tool": {"name": str(name)}}:
                    names.pop(name, None)
        return tuple(names)

    @property
    def _awaits_reply(self) -> bool:
        """Whether the history alone is a request: it ends with the user, with a reply that was paused, or with a summary
        that was asked for."""
        if self.turns and self.turns[-1].stop_reason in _PAUSES:
            return True
        return any(
            last["role"] != "assistant" or any(map(_stands_for_all, as_blocks(last["content"])))
            for last in self.messages[-1:]
        )

    def _check_not_ended(self) -> None:
        stop_reason = self.turns[-1].stop_reason if self.turns else None
        if stop_reason in _ENDINGS:
            raise ConversationEndedError(stop_reason, remedy=_ENDINGS[stop_reason])


def _spoken(messages: Sequence[Json]) -> int:
    """How many messages there are up to the last one that is not the system's."""
    return max(
        (index + 1 for index, message in enumerate(messages) if message["role"] != "system"), default=0
    )


def _asides(messages: Sequence[Json]) -> Iterator[Json]:
    """What the messages of the system's at the end say for longer than one turn."""
    for message in messages[_spoken(messages) :]:
        if "clear_at" not in message:
            yield from as_blocks(message["content"])


def _named(messages: Iterable[Json], kind: str) -> set[str]:
    """The tools that messages of the system's bring or take away."""
    return {
        str(block["tool"].get("name") or (block["tool"].get("definition") or {}).get("name"))
        for message in messages
        if message["role"] == "system"
        for block in as_blocks(message["content"])
        if block.get("type") == kind
    }


_ROLE: Final = itemgetter("role")


def _has_system(messages: Iterable[Json]) -> bool:
    return "system" in map(_ROLE, messages)


def _stands_for_all(block: Json) -> bool:
    """Whether this is a summary that was asked for. It has to be the first block of what is sent next."""
    return block.get("type") == "compaction" and bool(block.get("content")) and "signature" in block


def _start(messages: Sequence[Json]) -> int:
    for index in range(len(messages) - 1, -1, -1):
        if any(map(_stands_for_all, as_blocks(messages[index]["content"]))):
            return index
    return 0


def _check_encodable(message: Message) -> None:
    try:
        _ = message.pieces
        for name, value in message.json.items():
            if name != "content":
                as_bytes(value)
    except (TypeError, ValueError) as error:
        raise UnencodableError(str(error)) from error


def _answer(blocks: Sequence[Json]) -> Message:
    """The reply of these blocks as it can be sent back: half a character as the mark of a lost one, a number that no JSON
    number is as null, which is what the SDK makes of it."""
    message = Message({"role": "assistant", "content": list(blocks)})
    try:
        _ = message.pieces
    except ValueError:
        text = _LONE_SURROGATE.sub("\ufffd", json.dumps(blocks, ensure_ascii=False))
        sound: list[Json] = json.loads(text, parse_constant=lambda _: None)
        return Message({"role": "assistant", "content": sound})
    return message


_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
