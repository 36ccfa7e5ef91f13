"""The course of an answer: each time the model is asked, what it reads, writes and says, until it is done.

Knows compaction, the server's own tools, and their bills. Must not know messages on the wire, time or threads.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import attrs

from convcache.emulator import compaction, server_tools
from convcache.emulator.cache import Bill, Cache
from convcache.emulator.log import NOTHING_BILLED, Usage
from convcache.emulator.reading import Reader, Reading
from convcache.emulator.replies import Replies, Reply
from convcache.emulator.tokens import CountTokens

Kind = Literal["message", "compaction"]

PREWARMED: Final = Reply(content=(), stop_reason="max_tokens", output_tokens=0)


@attrs.frozen
class Iteration:
    """One time the model was asked."""

    kind: Kind
    usage: Usage


@attrs.frozen(kw_only=True)
class Course:
    """An answer and what it took."""

    reply: Reply
    iterations: tuple[Iteration, ...]

    @property
    def usage(self) -> Usage:
        """What a message says at the top: compaction is not part of it."""
        return _sum([step.usage for step in self.iterations if step.kind == "message"])

    @property
    def billed(self) -> Usage:
        return _sum([step.usage for step in self.iterations])

    @property
    def is_told(self) -> bool:
        """Whether the iterations are told one by one."""
        return len(self.iterations) > 1 or self.iterations[0].kind == "compaction"


@attrs.frozen(kw_only=True)
class Answering:
    """What an answer is made with."""

    cache: Cache
    reader: Reader
    replies: Replies
    count_tokens: CountTokens

    def run(self, reading: Reading, bill: Bill) -> Course:
        """Answers a request, carrying out every bill on the way.

        Args:
            reading: The request, read.
            bill: The bill of the first time the model is asked.
        """
        body = reading.asked.body
        self.cache.carry_out(bill)
        if not body["max_tokens"]:
            return self._answered(PREWARMED, [Iteration("message", Usage.of(bill))])
        if compaction.is_asked_for(body) or compaction.is_due(body, reading.tokens):
            return self._compacted(reading, bill)
        return self._sampled(reading, bill)

    def _compacted(self, reading: Reading, bill: Bill) -> Course:
        body = reading.asked.body
        block = compaction.summary(body)
        first = Iteration("compaction", Usage.of(bill, output=self.count_tokens(block)))
        if compaction.pauses(body):
            return self._answered(Reply(content=(block,), stop_reason="compaction"), [first])
        shorter = self._with(reading, [block], keep="head")
        again = self._bill(shorter, bill.at)
        self.cache.carry_out(again)
        rest = self._sampled(shorter, again)
        reply = attrs.evolve(rest.reply, content=(block, *rest.reply.content))
        return self._answered(reply, [first, *rest.iterations])

    def _sampled(self, reading: Reading, bill: Bill) -> Course:
        """Asks the model, and asks it again after each result of a tool that the server runs."""
        reply = self.replies.reply(reading.asked.body)
        parts = server_tools.samplings(reply.content)
        iterations = [Iteration("message", Usage.of(bill, output=self._output(reply, parts, 0)))]
        for number in range(1, len(parts)):
            said = [block for part in parts[:number] for block in part]
            continued = self._with(reading, said, keep="all")
            bill = self._bill(continued, bill.at)
            self.cache.carry_out(bill)
            iterations.append(Iteration("message", Usage.of(bill, output=self._output(reply, parts, number))))
        return self._answered(reply, iterations)

    def _output(self, reply: Reply, parts: Sequence[Sequence[Mapping[str, Any]]], number: int) -> int:
        """The tokens of one part; a number told for the whole goes to the last."""
        if reply.output_tokens is not None:
            return reply.output_tokens if number == len(parts) - 1 else 0
        return sum(self.count_tokens(block) for block in parts[number] if not server_tools.is_result(block))

    def _with(
        self, reading: Reading, said: Sequence[Mapping[str, Any]], *, keep: Literal["head", "all"]
    ) -> Reading:
        """The prompt of the next sampling. Marked requests get a breakpoint of five minutes at its end.

        The server's own breakpoint takes no slot and is exempt from the order of TTLs.
        """
        kept = [piece for piece in reading.pieces if keep == "all" or piece.section != "messages"]
        added = server_tools.as_pieces(said, reading.next_message)
        paths = {piece.path for piece in kept}
        ttls = {path: ttl for path, ttl in reading.ttls.items() if path in paths}
        if reading.ttls and keep == "all":
            ttls[added[-1].path] = "5m"
        return self.reader.laid_out(reading.asked, [*kept, *added], ttls, reading.scope)

    def _bill(self, reading: Reading, at: datetime) -> Bill:
        tail = self.reader.settings.residual_tail_tokens
        return self.cache.bill(reading.steps, reading.breakpoints, tail=tail, at=at)

    def _answered(self, reply: Reply, iterations: Sequence[Iteration]) -> Course:
        return Course(reply=reply, iterations=tuple(iterations))


def _sum(usages: Sequence[Usage]) -> Usage:
    return sum(usages, start=NOTHING_BILLED)
