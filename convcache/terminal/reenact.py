"""A recorded session lived through again: a `Conversation` per thread, the recorded times, the recorded replies.

Knows how a conversation follows a transcript that goes on, goes back, or rewrites what was said. Must not know how
the outcome is printed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs
from anthropic import Anthropic, APIStatusError

from convcache import Conversation, ConversationError, Turn
from convcache.emulator import Emulator, VirtualClock
from convcache.emulator.tokens import BYTES_PER_TOKEN, estimated_tokens
from convcache.terminal.transcripts import Exchange

_MAX_TOKENS: Final = 8192
_FILLER: Final = "This stands in for the system prompt and the tools, which a transcript does not record. "


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one request.

    Attributes:
        index: Its number in the replay, from 1.
        exchange: What was recorded of it.
        conversation: The number of its conversation, from 1.
        before: The request before it in its conversation; `None` for a first one.
        goes_back: How many turns of its conversation it does not go on from.
        kept: How many messages of the history it goes on from were sent before.
        rewrites: Whether it replaces replies that were sent before by others.
        turn: The booking; `None` if the request was refused.
        status: The HTTP status; `None` if the request never left.
        error: Why it was refused.
    """

    index: int
    exchange: Exchange
    conversation: int
    before: "Outcome | None"
    goes_back: int
    kept: int
    rewrites: bool
    turn: Turn | None
    status: int | None
    error: str | None

    @property
    def pause(self) -> timedelta | None:
        """From the start of the request before it to its own."""
        return None if self.before is None else self.exchange.at - self.before.exchange.at

    @property
    def switched_from(self) -> str | None:
        """The model of the request before it, if that was another."""
        if self.before is None or self.before.exchange.model == self.exchange.model:
            return None
        return self.before.exchange.model


@attrs.frozen(eq=False, kw_only=True)
class _Branch:
    """A conversation as far as it got.

    Attributes:
        said: Its messages as recorded, with the last reply.
        ends: How many of them there were after each turn.
        last: Its last request.
    """

    number: int
    conversation: Conversation
    said: tuple[Mapping[str, Any], ...] = ()
    ends: tuple[int, ...] = ()
    last: Outcome | None = None

    def turns_shared_with(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """How many of its turns are the beginning of a history."""
        pairs = zip(self.said, messages, strict=False)
        same = next((i for i, (one, other) in enumerate(pairs) if one != other), len(messages))
        return sum(end <= same for end in self.ends)


class Reenactment:
    """Sends the requests of a transcript, one after the other.

    Args:
        client: A client of the emulator.
        emulator: Whose replies are put into its mouth.
        clock: Its time.
    """

    def __init__(self, client: Anthropic, emulator: Emulator, clock: VirtualClock) -> None:
        self._client, self._emulator, self._clock = client, emulator, clock
        self._branches: defaultdict[str, list[_Branch]] = defaultdict(list)
        self._played = 0
        self._opened = 0

    def play(self, exchange: Exchange) -> Outcome:
        """Send the next request at its time, and go on from what it shares with those before it."""
        branches = self._branches[exchange.thread]
        if not branches:
            branches.append(self._new_branch(exchange))
        branch = max(reversed(branches), key=lambda each: each.turns_shared_with(exchange.messages))
        turns = branch.turns_shared_with(exchange.messages)
        kept = branch.ends[turns - 1] if turns else 0
        # A fork, so that a refused request changes nothing and a branch can be gone back to.
        conversation = branch.conversation.fork()
        if turns < len(branch.ends):
            conversation.rewind(len(branch.ends) - turns)
        self._played += 1
        turn, status, error = self._send(conversation, exchange, exchange.messages[kept:])
        outcome = Outcome(
            index=self._played,
            exchange=exchange,
            conversation=branch.number,
            before=branch.last,
            goes_back=len(branch.ends) - turns,
            kept=kept,
            rewrites=any(message["role"] == "assistant" for message in exchange.messages[kept:]),
            turn=turn,
            status=status,
            error=error,
        )
        if turn is not None:
            self._keep(branch, conversation, outcome)
        return outcome

    def _new_branch(self, exchange: Exchange) -> _Branch:
        self._opened += 1
        conversation = Conversation(
            self._client,
            model=exchange.model,
            max_tokens=_MAX_TOKENS,
            system=_filler(exchange),
            clock=self._clock.now,
        )
        return _Branch(number=self._opened, conversation=conversation)

    def _send(
        self, conversation: Conversation, exchange: Exchange, news: Sequence[Any]
    ) -> tuple[Turn | None, int | None, str | None]:
        self._clock.set(max(exchange.at, self._clock.now()))
        self._emulator.replies.clear()
        self._emulator.script({"content": exchange.reply, "usage": {"output_tokens": exchange.usage.output}})
        conversation.update(model=exchange.model)
        try:
            conversation.append(*news)
            conversation.send()
        except ConversationError as error:
            return None, None, str(error)
        except APIStatusError as error:
            return None, error.status_code, error.message
        return conversation.turns[-1], 200, None

    def _keep(self, branch: _Branch, conversation: Conversation, outcome: Outcome) -> None:
        reply = {"role": "assistant", "content": list(outcome.exchange.reply)}
        said = (*outcome.exchange.messages, *((reply,) if outcome.exchange.reply else ()))
        ends = branch.ends[: len(branch.ends) - outcome.goes_back]
        branches = self._branches[outcome.exchange.thread]
        if not outcome.goes_back:
            branches.remove(branch)
        branches.append(
            _Branch(
                number=branch.number,
                conversation=conversation,
                said=said,
                ends=(*ends, len(said)),
                last=outcome,
            )
        )


def _filler(exchange: Exchange) -> str:
    """A system prompt that brings a first request to its recorded size, by the emulator's way of counting."""
    said = sum(estimated_tokens(block) for message in exchange.messages for block in message["content"])
    size = max(0, exchange.usage.prompt - said) * BYTES_PER_TOKEN
    return (_FILLER * (size // len(_FILLER) + 1))[:size]
