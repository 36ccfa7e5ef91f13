"""A chat in the terminal: turns with their one line about the cache, and slash commands.

Knows what to do with a line somebody typed. Must not know where lines come from.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import httpx2
from anthropic import AnthropicError, APIConnectionError, APIStatusError
from rich.console import Console

from convcache import ConvCacheError, Conversation, Costs, Usage
from convcache.terminal import render
from convcache.terminal.screen import Flow, printable

HELP: Final = """\
/cache  what is cached, when it lapses, how much was read from it
/cost   what the chat cost, and what it would have cost uncached
/fork   go on in a fork: what you say there is not part of this conversation
/back   leave the fork and go on where it began
/help   this list
/quit   end the chat (so does Ctrl-D)
Ctrl-C while an answer comes in cancels that answer."""

_COMMAND: Final = re.compile(r"/[a-z]*", re.IGNORECASE)
_COST_LINES: Final = "paid      {}\nuncached  {}\nsaved     {} ({})\ntokens    {}, {:,} output"


class Chat:
    """A conversation, the forks somebody made of it, and what they cost together.

    Args:
        conversation: What to talk to.
        out: Where answers go.
        err: Where trouble goes.
        now: Gives the time.
        patient: Whether Ctrl-C during an answer only cancels that answer.

    Attributes:
        is_over: Whether somebody asked to end it.
        failed: Whether any turn failed.
    """

    def __init__(
        self,
        conversation: Conversation,
        out: Console,
        err: Console,
        now: Callable[[], datetime],
        *,
        patient: bool,
    ) -> None:
        self._path = [conversation]
        self._all = [conversation]
        self._out, self._err, self._now, self._patient = out, err, now, patient
        self._commands: dict[str, Callable[[], None]] = {
            "/cache": self._tell_cache,
            "/cost": self._tell_cost,
            "/fork": self._fork,
            "/back": self._back,
            "/help": lambda: self._note(HELP),
            "/quit": self._quit,
        }
        self.is_over = False
        self.failed = False

    @property
    def forks(self) -> int:
        """How many forks deep the chat is."""
        return len(self._path) - 1

    @property
    def lapses(self) -> datetime | None:
        """When the cache of the last turn lapses, if it left one."""
        turns = self._conversation.turns
        return turns[-1].lapses if turns else None

    def countdown(self) -> str:
        """What is left of the cache's life; nothing before there is one."""
        return render.countdown(self.lapses - self._now()) if self.lapses else ""

    def take(self, line: str) -> None:
        """Do what a line says: a command, or a turn. An empty one says nothing."""
        line = line.strip()
        if not line:
            return
        word = line.split()[0]
        if not _COMMAND.fullmatch(word):
            self._say(line)
        elif command := self._commands.get(word.lower()):
            command()
        else:
            self._trouble(f"There is no command {word}. /help lists the commands.")
        if not self.is_over:
            self._out.print()

    @property
    def _conversation(self) -> Conversation:
        return self._path[-1]

    def _say(self, text: str) -> None:
        flow = Flow(self._out)
        with self._survived(flow):
            with self._conversation.stream(text) as stream:
                for piece in stream.text_stream:
                    flow.add(piece)
            flow.end()
            self._tell_turn(stream.current_message_snapshot.stop_reason)

    def _tell_turn(self, stop_reason: str | None) -> None:
        turns = self._conversation.turns
        if turns:
            pause = turns[-1].started - turns[-2].started if len(turns) > 1 else None
            self._note(render.cache_line(turns[-1], pause))
        if stop_reason == "max_tokens":
            self._note("The answer was cut off; --max-tokens allows longer ones.")
        if stop_reason == "refusal":
            self._conversation.rewind()
            self._note("The model refused. That turn is forgotten, so that the chat can go on.")

    @contextmanager
    def _survived(self, flow: Flow) -> Iterator[None]:
        """A turn that fails or is cancelled ends neither the chat nor its history."""
        before = self._costs.paid
        try:
            yield
        except KeyboardInterrupt:
            if not self._patient:
                raise
            flow.end()
            self._note(f"Cancelled: the chat is as it was before your message.{self._billed_since(before)}")
        except (AnthropicError, httpx2.HTTPError, ConvCacheError) as error:
            self.failed = True
            if flow.has_begun:
                flow.end()
            self._trouble(f"{explained(error)}{self._billed_since(before)}")

    def _billed_since(self, before: Decimal | None) -> str:
        paid = self._costs.paid
        if paid is None or before is None or paid == before:
            return ""
        return f" {render.money(paid - before)} was billed for it."

    @property
    def _costs(self) -> Costs:
        return sum((conversation.costs for conversation in self._all), start=Costs())

    @property
    def _usage(self) -> Usage:
        return sum((conversation.usage for conversation in self._all), start=Usage())

    def _tell_cache(self) -> None:
        turns, usage = self._conversation.turns, self._usage
        if not turns or self.lapses is None:
            self._note("Nothing is cached yet: a turn writes the cache.")
            return
        left = self.lapses - self._now()
        when = f"in {render.duration(left)}" if left > timedelta(0) else f"{render.duration(-left)} ago"
        self._note(f"cached    {turns[-1].actual.cached:,} tokens, up to the end of your last message")
        self._note(
            f"{'lapses' if left > timedelta(0) else 'lapsed'}    {when}, at {self.lapses.astimezone():%H:%M:%S}"
        )
        self._note("TTL       5 minutes from the start of each turn; the next turn starts it anew")
        self._note(
            f"hit rate  {render.percent(usage.read, usage.prompt)} of all prompt tokens were read from the cache"
        )

    def _tell_cost(self) -> None:
        costs, usage = self._costs, self._usage
        if costs.paid is None or costs.uncached is None:
            self._note(
                f"No prices are known for this model. {render.tokens(usage)}, {usage.output:,} output."
            )
            return
        saved = costs.uncached - costs.paid
        shares = (render.money(saved), render.percent(saved, costs.uncached))
        amounts = (render.money(costs.paid), render.money(costs.uncached))
        self._note(_COST_LINES.format(*amounts, *shares, render.tokens(usage), usage.output))

    def _fork(self) -> None:
        self._path.append(self._conversation.fork())
        self._all.append(self._conversation)
        self._note(
            "You are in a fork. It knows all that was said; what you say now stays in it. /back leaves it."
        )

    def _back(self) -> None:
        if not self.forks:
            self._trouble("This is not a fork, so there is nothing to go back to.")
            return
        self._path.pop()
        where = "fork it began in" if self.forks else "conversation"
        self._note(f"You left the fork. The {where} goes on where it was.")

    def _quit(self) -> None:
        self.is_over = True

    def _note(self, text: str) -> None:
        self._out.print(text, style="dim")

    def _trouble(self, text: str) -> None:
        self._err.print(printable(text), style="red")


def explained(error: Exception) -> str:
    """What went wrong, in one plain line."""
    match error:
        case APIStatusError():
            said = error.body.get("error") if isinstance(error.body, dict) else None
            message = said.get("message") if isinstance(said, dict) else None
            return f"The API answered {error.status_code}: {message or error.message}"
        case APIConnectionError():
            return f"The API cannot be reached: {error.__cause__ or error.message}."
        case httpx2.HTTPError():
            return f"The connection broke off: {error}."
    return str(error)
