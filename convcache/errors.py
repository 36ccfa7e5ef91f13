"""What can go wrong, one class for each failure that a caller can act on.

Every message says what happened, with the value, and what to do; `.remedy` is the second half alone. Errors of
the SDK are not wrapped: they pass through as they are.
"""

from collections.abc import Iterable
from decimal import Decimal


class ConvCacheError(Exception):
    """The root of convcache's own errors.

    Attributes:
        remedy: What to do about it, as a sentence.
    """

    def __init__(self, happened: str, *, remedy: str) -> None:
        super().__init__(f"{happened} {remedy}")
        self.remedy = remedy


class ConversationError(ConvCacheError):
    """A turn that cannot be sent. Nothing was sent and the history is as it was."""


class TurnInProgressError(ConversationError):
    """A second turn was started while one is running."""

    def __init__(self) -> None:
        super().__init__(
            "This conversation is in the middle of a turn.",
            remedy="Finish or leave that turn first, or send on a fork().",
        )


class EmptyMessageError(ConversationError):
    """A turn, or a message in it, says nothing; the API refuses empty content."""

    def __init__(self, happened: str) -> None:
        super().__init__(happened, remedy="Give at least one non-empty block.")


class UnencodableError(ConversationError):
    """Content that has no JSON form: a lone surrogate, NaN, an infinity, or an object that is not JSON."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The content cannot be written as JSON: {reason}.", remedy="Clean or replace it before sending."
        )


class DanglingToolUseError(ConversationError):
    """The model called tools and the turn does not answer every call.

    Attributes:
        tool_use_ids: The calls without a result.
    """

    def __init__(self, tool_use_ids: Iterable[str]) -> None:
        self.tool_use_ids = tuple(tool_use_ids)
        super().__init__(
            f"The model's tool calls have no result: {', '.join(self.tool_use_ids)}.",
            remedy="Send a tool_result block for each of them (is_error=True if the tool failed), or rewind(1).",
        )


class OrphanToolResultError(ConversationError):
    """A tool result answers no call of the message before it.

    Attributes:
        tool_use_ids: The ids that no call has.
    """

    def __init__(self, tool_use_ids: Iterable[str]) -> None:
        self.tool_use_ids = tuple(tool_use_ids)
        super().__init__(
            f"No tool call before it has the tool_use_id {', '.join(self.tool_use_ids)}.",
            remedy="Use the ids of the tool_use blocks in the last reply.",
        )


class UnknownToolError(ConversationError):
    """A change of the history leaves out where tools came in, and keeps where they are taken away.

    Attributes:
        names: The tools.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(names))
        super().__init__(
            f"The history takes away {', '.join(self.names)}, which it no longer brings in.",
            remedy="Keep both messages of the role system, or leave out both.",
        )


class TooManyMessagesError(ConversationError):
    """The history has more messages than the API takes in one request.

    Attributes:
        most: How many it takes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__(
            f"A request holds at most {most:,} messages.",
            remedy="Call rewind(), or start a new conversation from a summary of this one.",
        )


class SystemMessagesRefusedError(ConversationError):
    """The history has messages of the role `system`, and the model of this turn takes none.

    Attributes:
        model: The model.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(
            f"The history has notes or changes of tools in system messages, and {model} takes none.",
            remedy="Stay with a model that does, or rewind() to before the first of them.",
        )


class ConversationEndedError(ConversationError):
    """The last reply ended the conversation: a refusal, or a context window that is full.

    Attributes:
        stop_reason: What the API said: `refusal` or `model_context_window_exceeded`.
    """

    def __init__(self, stop_reason: str, *, remedy: str) -> None:
        self.stop_reason = stop_reason
        super().__init__(f"The last reply ended with stop_reason={stop_reason!r}.", remedy=remedy)


class InvalidationRefusedError(ConvCacheError):
    """A request would throw a warm cache away, and `Policy(on_invalidation="refuse")` forbids it. Nothing was sent.

    Attributes:
        changed: What changed, by the names of request fields.
        tokens: How many cached tokens would be lost.
        cost: Dollars for writing them again; `None` without known prices.
    """

    def __init__(self, changed: tuple[str, ...], tokens: int, cost: Decimal | None) -> None:
        self.changed, self.tokens, self.cost = changed, tokens, cost
        price = "" if cost is None else f" (${cost:.4f})"
        super().__init__(
            f"A change of {', '.join(changed)} would lose {tokens:,} cached tokens{price}.",
            remedy="Undo the change, wait until the cache has lapsed, or use a Policy that tells instead of refusing.",
        )


class MissingExtraError(ConvCacheError, ImportError):
    """A part of convcache was used whose extra is not installed.

    Attributes:
        extra: The name of the extra.
    """

    def __init__(self, extra: str, *, missing: str) -> None:
        self.extra = extra
        super().__init__(
            f"This needs the package {missing!r}, which is not installed.",
            remedy=f"Run: pip install 'convcache[{extra}]'",
        )
