"""`Conversation` and `AsyncConversation`: a chat that owns its history and keeps its prompt cache placed right.

The shells: the only I/O, in two colours that differ in `await` alone. What a turn is made of, and what its reply
changes, is in `state`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, Unpack, cast, overload
from weakref import WeakMethod

from anthropic import (
    Anthropic,
    AnthropicAWS,
    AnthropicBedrock,
    AnthropicBedrockMantle,
    AnthropicFoundry,
    AnthropicGoogleCloud,
    AnthropicVertex,
    AsyncAnthropic,
    AsyncAnthropicAWS,
    AsyncAnthropicBedrock,
    AsyncAnthropicBedrockMantle,
    AsyncAnthropicFoundry,
    AsyncAnthropicGoogleCloud,
    AsyncAnthropicVertex,
    BadRequestError,
    PermissionDeniedError,
    RateLimitError,
)
from anthropic.lib.tools import (
    BetaAsyncStreamingToolRunner,
    BetaAsyncToolRunner,
    BetaStreamingToolRunner,
    BetaToolLike,
    BetaToolRunner,
)
from anthropic.types import Message, MessageParam, TextBlockParam, ToolUnionParam
from anthropic.types.beta import BetaMessage, BetaMessageParam, BetaToolUnionParam
from pydantic import BaseModel

from convcache.books import Books, Clock, OnEvent, left_alone, utc_now
from convcache.core.edit import Change, Edit, When
from convcache.core.events import Turn
from convcache.core.node import CountTokens
from convcache.core.policy import Policy
from convcache.core.refresh import Decision
from convcache.core.usage import Bill, Costs, Usage
from convcache.keeper import AsyncKeeper, Keeper
from convcache.observe import emit, keep_alive_span
from convcache.pending import Pending
from convcache.request import (
    Reply,
    RequestOptions,
    TurnOptions,
    besides_the_body,
    countable,
    definitions,
    is_beta,
    plain,
)
from convcache.resting import KEEP_ALIVE_TIMEOUT
from convcache.route import Carrier, routed
from convcache.runner import TurnsOf
from convcache.scope import scope_of
from convcache.state import ConversationState
from convcache.streaming import AsyncConversationStream, ConversationStream

SyncClient = Anthropic | AnthropicBedrock | AnthropicBedrockMantle | AnthropicVertex
"""The SDK's sync clients; those of the other platforms are kinds of `Anthropic`."""

AsyncClient = AsyncAnthropic | AsyncAnthropicBedrock | AsyncAnthropicBedrockMantle | AsyncAnthropicVertex
"""Their async twins."""

_ELSEWHERE = (
    AnthropicAWS,
    AnthropicBedrock,
    AnthropicBedrockMantle,
    AnthropicFoundry,
    AnthropicGoogleCloud,
    AnthropicVertex,
    AsyncAnthropicAWS,
    AsyncAnthropicBedrock,
    AsyncAnthropicBedrockMantle,
    AsyncAnthropicFoundry,
    AsyncAnthropicGoogleCloud,
    AsyncAnthropicVertex,
)
# Prompt-caching page, 2026-09: a run of calls, or of results, is one lookback position on the Claude API only.

Block = Mapping[str, object] | BaseModel
"""A content block: a dict, or an object of the SDK."""

Content = str | Block | Iterable[Block]
"""What a user says in a turn: a string, a block, or a list of blocks or tool results."""

AnyMessage = MessageParam | BetaMessageParam | Message | BetaMessage
"""A message of a history: a dict, or a reply of the SDK."""

AnyTool = ToolUnionParam | BetaToolUnionParam | BetaToolLike
"""A tool: its definition, or a function that the SDK's tool runner can run."""

T = TypeVar("T")
ClientT = TypeVar("ClientT")
KeeperT = TypeVar("KeeperT", bound=Keeper | AsyncKeeper)


class _BaseConversation(Generic[ClientT, KeeperT]):
    """The part of a conversation that sends nothing."""

    _takes: ClassVar[str]
    _wrong_clients: ClassVar[Any]
    _keepers: ClassVar[type[Any]]

    def __init__(
        self,
        client: ClientT,
        *,
        model: str,
        max_tokens: int,
        system: str | Iterable[TextBlockParam] | None = None,
        tools: Iterable[AnyTool] = (),
        messages: Iterable[AnyMessage] = (),
        policy: Policy = Policy(),
        keeper: KeeperT | None = None,
        clock: Clock = utc_now,
        count: CountTokens | None = None,
        on_event: OnEvent = emit,
        in_bytes: bool = True,
        **request: Unpack[RequestOptions],
    ) -> None:
        """Start a conversation on `client`. Sends nothing.

        Args:
            client: The SDK's client. Conversations on one client share what is known of its cache.
            model: The model of every turn.
            max_tokens: The longest reply, in tokens.
            system: The system prompt, as a string or as text blocks.
            tools: Tool definitions, or `@beta_tool` functions of the SDK for `tool_runner`. Their order is part of the
                cache's key, and so is the order of the keys in a schema.
            messages: An existing history to go on from.
            policy: How breakpoints are placed.
            keeper: Keeps the conversation warm while it rests, as long as that pays. Without one nothing is sent that
                was not asked for.
            clock: Gives the time as an aware datetime.
            count: Counts the tokens of a block, given as JSON; without it they are estimated from what was billed.
            on_event: Told of what happened (`convcache.core.events`); the default logs it.
            in_bytes: Whether a history of 40 messages or more goes to the SDK as bytes that are kept, instead of
                JSON that the SDK copies and writes again in every turn. What reaches the API is the same. With a
                client whose platform, middleware or traces need the JSON, it goes as JSON anyway.
            **request: Other fields of `messages.create`, for every turn. With `betas`, requests go by
                `client.beta.messages`, and replies are its messages.

        Raises:
            TypeError: An unknown field, or a client of the other colour.
            ConversationError: The existing history is one the API would refuse.
        """
        if isinstance(client, self._wrong_clients) or not hasattr(client, "with_options"):
            raise TypeError(f"{type(self).__name__} takes {self._takes}, not {type(client).__name__}")
        if isinstance(client, type):
            raise TypeError(f"{type(self).__name__} takes a client, not its class: {client.__name__}()")
        if keeper is not None and not isinstance(keeper, self._keepers):
            raise TypeError(
                f"{type(self).__name__} takes {self._keepers.__name__}, not {type(keeper).__name__}"
            )
        self._client, self._keeper = client, keeper
        self._carrier = Carrier() if in_bytes else None
        self._state = ConversationState(
            books=Books(
                scope=scope_of(client),
                policy=policy,
                rules="bedrock" if isinstance(client, _ELSEWHERE) else None,
                count=count,
                on_event=on_event,
            ),
            fields={"model": model, "max_tokens": max_tokens, "system": system, "tools": tools},
            options=request,
            messages=messages,
            clock=clock,
            keeper=keeper,
        )
        if keeper is not None:
            self._state.pauses.on_rest = WeakMethod(self._rests)

    @property
    def messages(self) -> list[MessageParam]:
        """The history and what is staged, as a plain copy without breakpoints that works with the bare SDK."""
        return cast("list[MessageParam]", self._state.messages)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns of the history as booked, the last one last: what each was to cost, and what it did cost."""
        return self._state.turns

    @property
    def usage(self) -> Usage:
        """All tokens billed to this conversation, turns that failed or were rewound included."""
        return self._state.usage

    @property
    def costs(self) -> Costs:
        """What those tokens cost in dollars, and what they would have cost uncached."""
        return self._state.costs

    def append(self, *items: AnyMessage | Block | str) -> None:
        """Stage messages or blocks for the next turn without sending anything.

        Args:
            items: Messages are staged as they are. Blocks and strings that follow one another make one user
                message, which the content of the next `send` joins.

        Raises:
            EmptyMessageError: An item says nothing.
            TurnInProgressError: A turn is running.
        """
        self._state.append(items)

    def update(self, **options: Unpack[TurnOptions]) -> None:
        """Change request fields of all later turns without sending anything. `None` takes a field away.

        Raises:
            TurnInProgressError: A turn is running.
        """
        self._state.update(options)

    def note(self, text: str) -> None:
        """Tell the model something with the next turn that the user does not say, without sending anything.

        It goes out as a message of the role `system` where the model takes those in the middle of a conversation
        (Opus 4.8, 5 and 5.5, Fable and Mythos 5 and 5.1, Sonnet 5.5), else as a block of the user's message. Either
        way everything before it stays cached, which a changed system prompt would not.

        Raises:
            EmptyMessageError: It says nothing.
            TurnInProgressError: A turn is running.
        """
        self._state.note(text)

    def add_tools(self, *tools: AnyTool) -> None:
        """Give the model more tools from the next turn on, without sending anything.

        Where the model takes messages of the role `system` in the middle of a conversation, the definitions go out in
        one, and everything before it stays cached. Else the list of tools is another, which the next request tells
        and prices as an invalidation.

        Args:
            tools: Tool definitions, or `@beta_tool` functions of the SDK for `tool_runner`.

        Raises:
            TurnInProgressError: A turn is running.
        """
        self._state.add_tools(tools)

    def remove_tools(self, *names: str) -> None:
        """Take tools away from the next turn on, by the same ways as `add_tools`.

        Raises:
            ValueError: There is no tool of that name.
            TurnInProgressError: A turn is running.
        """
        self._state.remove_tools(names)

    def pin(self) -> None:
        """Keep a breakpoint at the end of the last turn, as far as one of the four is to spare, so that a `rewind` or
        a `fork` to it finds its entry fresh. Each request on the way there renews it.

        Raises:
            ValueError: There is no turn yet.
            TurnInProgressError: A turn is running.
        """
        self._state.pin()

    def edit(self, change: Change, *, when: When = "pays") -> Edit:
        """Change the history, such as to clear old tool results or to put a summary in the place of what it stands for.

        Everything behind the first change is written to the cache anew, so it is made when that is cheap.

        ```python
        weighed = conversation.edit(without_old_results, when="pays")
        print(weighed.price, weighed.saving, weighed.done)
        ```

        Args:
            change: Gives the history that should be, from a plain copy of the one that is. Where it waits, it is
                called again when its time has come. Models that bind thinking to its prefix (Opus and Sonnet 5.5,
                Fable and Mythos 5.1 and 5.2) refuse thinking behind a change: leave it out from there on.
            when: `"now"`; `"cold"`, before the first turn that finds the cache lapsed, where it costs nothing; or
                `"pays"`, then or as soon as it costs no more than it saves over as many more turns as there were.

        Returns:
            What it costs if it is made now, what it saves each later request, and whether it is made.

        Raises:
            ConversationError: The API would refuse what `change` gives. The history is as it was.
            TurnInProgressError: A turn is running.
        """
        return self._state.edit(change, when)

    def rewind(self, turns: int = 1) -> None:
        """Forget the last turns and what is staged. What they cost stays in the books.

        Raises:
            ValueError: There are not that many turns.
            TurnInProgressError: A turn is running.
        """
        self._state.rewind(turns)

    def _runner(
        self,
        content: Content | None,
        options: TurnOptions,
        *,
        stream: bool,
        context: Content | None,
        max_iterations: int | None,
    ) -> Any:
        request = self._state.first_of_loop(content, options, context=context)
        tools = self._state.runnable_tools(request)
        turns = TurnsOf(
            self._state,
            handed=definitions(tools),
            sent=request.get("tools") or [],
            besides=besides_the_body(request),
        )
        client = cast("Any", self._client)
        client = client.copy(middleware=[turns, *client.middleware])
        return client.beta.messages.tool_runner(
            **{**request, "messages": list(request["messages"]), "tools": tools},
            stream=stream,
            max_iterations=max_iterations,
            thread=False,
        )

    def fork(self) -> Self:
        """A new, independent conversation that goes on from here, shares the cache, and has books of its own.

        While a turn is running, the fork goes on from the turns before it.
        """
        fork = object.__new__(type(self))
        fork.__dict__.update(self.__dict__)
        fork._state = self._state.fork()
        if fork._keeper is not None:
            fork._state.pauses.on_rest = WeakMethod(fork._rests)
        return fork

    def _rests(self) -> None:
        cast("Any", self._keeper).watch(self)

    @property
    def decision(self) -> Decision:
        """What to do about the cache while the conversation rests, and when: let it lapse, keep it alive, or upgrade it
        to an hour. A keeper carries that out; so does `keep_alive`, for those with a scheduler of their own."""
        return self._state.decision

    def left_to_lapse(self) -> None:
        """Tell the books that nobody keeps the conversation warm any more."""
        self._state.pauses.give_up()

    def _once(self, pending: Pending) -> tuple[Any, dict[str, Any]]:
        """The same for what is sent once, and not waited for long."""
        once = cast("Any", self._client).with_options(max_retries=0, timeout=KEEP_ALIVE_TIMEOUT)
        client, body = routed(once, pending.body, Carrier() if self._carrier else None)
        return _api(client, body), body

    def _routed(self, pending: Pending) -> tuple[Any, dict[str, Any]]:
        """What to call, and with which arguments."""
        client, body = routed(self._client, pending.body, self._carrier)
        return _api(client, body), body


def _api(client: Any, request: Mapping[str, Any]) -> Any:
    return client.beta.messages if is_beta(request) else client.messages


class Conversation(_BaseConversation[SyncClient, Keeper]):
    """A conversation with Claude whose prompt cache is kept placed right.

    Each request carries a breakpoint at the end of what never changes, at the end of the last turn and at its own
    end, so that everything sent before is read from the cache however much a turn adds.

    ```python
    conversation = Conversation(Anthropic(), model="claude-opus-5", max_tokens=1024, system=guide)
    reply = conversation.send("Where do breakpoints go?")
    print(conversation.turns[-1].actual.read)
    ```
    """

    _takes = "a sync client (AsyncConversation takes an async one)"
    _wrong_clients = AsyncClient
    _keepers = Keeper

    def send(
        self,
        content: Content | None = None,
        *,
        context: Content | None = None,
        final: bool = False,
        **this_turn_only: Unpack[TurnOptions],
    ) -> Message:
        """Send a turn and return the reply.

        Args:
            content: What the user says; without it, what is staged, or the rest of a paused reply is asked for.
            context: What is true for this turn and changes with each, such as the time or what a memory recalled. It
                goes behind everything that stays: in a system message that the API clears at the next user message,
                where the model takes those, else as the last block of the user's message.
            final: Nobody will go on from this turn, so its end is not written to the cache.
            **this_turn_only: Request fields for this turn.

        Raises:
            ConversationError: The turn cannot be sent; the message says what to do. Nothing was sent.
            anthropic.AnthropicError: As the SDK raises it. The history is as it was; send again.
        """
        with self._state.turn(content, this_turn_only, context=context, final=final) as pending:
            reply: Message = self._call(pending, lambda messages, body: messages.create(**body))
            self._state.answered(pending, Reply.of(reply))
        return reply

    @contextmanager
    def stream(
        self,
        content: Content | None = None,
        *,
        context: Content | None = None,
        final: bool = False,
        **this_turn_only: Unpack[TurnOptions],
    ) -> Iterator[ConversationStream]:
        """Like `send`, with the reply as it arrives. The request is sent on entering the `with` block.

        A block that is left before the reply's end leaves the history as it was.

        ```python
        with conversation.stream("Tell me more.") as stream:
            for text in stream.text_stream:
                print(text, end="", flush=True)
        ```
        """
        with (
            self._state.turn(content, this_turn_only, context=context, final=final) as pending,
            self._call(pending, lambda messages, body: messages.stream(**body).__enter__()) as opened,
        ):
            stream = ConversationStream(opened, self._state, pending)
            try:
                yield stream
            finally:
                stream._tap.settle(opened)  # noqa: SLF001 - the other half of the stream

    @overload
    def tool_runner(
        self,
        content: Content | None = None,
        *,
        stream: Literal[False] = False,
        context: Content | None = None,
        max_iterations: int | None = None,
        **this_turn_only: Unpack[TurnOptions],
    ) -> BetaToolRunner[None]: ...

    @overload
    def tool_runner(
        self,
        content: Content | None = None,
        *,
        stream: Literal[True],
        context: Content | None = None,
        max_iterations: int | None = None,
        **this_turn_only: Unpack[TurnOptions],
    ) -> BetaStreamingToolRunner[None]: ...

    def tool_runner(
        self,
        content: Content | None = None,
        *,
        stream: bool = False,
        context: Content | None = None,
        max_iterations: int | None = None,
        **this_turn_only: Unpack[TurnOptions],
    ) -> BetaToolRunner[None] | BetaStreamingToolRunner[None]:
        """The SDK's own tool loop, on this conversation: it runs the tools that the model calls until it stops calling.

        Each answered request of the loop is a turn. The tools that are run are the `@beta_tool` functions among the
        conversation's `tools`.

        ```python
        conversation = Conversation(Anthropic(), model="claude-opus-5", max_tokens=1024, tools=[get_weather])
        for message in conversation.tool_runner("What is the weather in Paris?"):
            print(message.content)
        ```

        Args:
            content: What the user says; see `send`.
            stream: Yield each reply as the SDK's stream.
            context: What is true for this turn only; see `send`.
            max_iterations: The most requests that the loop sends.
            **this_turn_only: Request fields for this loop.

        Raises:
            ConversationError: The first request cannot be sent. Nothing was sent.
        """
        runner: BetaToolRunner[None] | BetaStreamingToolRunner[None] = self._runner(
            content, this_turn_only, stream=stream, context=context, max_iterations=max_iterations
        )
        return runner

    def keep_alive(self) -> Turn | None:
        """Do now what is decided about a conversation that rests: a keep-alive, which reads what it holds for another
        period, or an upgrade, which writes its last reply for an hour. Nothing is added to the history, a turn may run
        meanwhile, and it is sent once, without the SDK's retries.

        Returns:
            What it was billed; `None` if there is nothing worth sending.

        Raises:
            anthropic.AnthropicError: As the SDK raises it.
        """
        with self._state.keeping_warm() as warming, left_alone(), keep_alive_span():
            if warming is None:
                return None
            messages, body = self._once(warming.pending)
            reply: Message = messages.create(**body)
            return self._state.warmed(warming, Bill.of(plain(reply.usage)))

    def prewarm(self) -> Turn | None:
        """Write what will not change to the cache before anybody speaks: tools, the system prompt, and a history that was
        given. It asks for no reply, and nothing is added to the history.

        Returns:
            What it was billed.

        Raises:
            ValueError: The API pre-warms no such request: with a thinking budget, an output format or a forced tool.
            anthropic.AnthropicError: As the SDK raises it.
        """
        with self._state.prewarming() as pending, left_alone():
            messages, body = self._once(pending)
            reply: Message = messages.create(**body)
            self._state.answered(pending, Reply.of(reply))
            return pending.turn

    def count_tokens(self, content: Content | None = None, **this_turn_only: Unpack[TurnOptions]) -> int:
        """Ask the API how many prompt tokens a turn would have. Nothing is billed, and the history is as it was;
        until the next bill, estimates are made with that.

        Raises:
            ConversationError: The turn could not be sent.
        """
        request = self._state.request(content, this_turn_only)
        tokens = int(_api(self._client, request).count_tokens(**countable(request)).input_tokens)
        self._state.measured(request, tokens)
        return tokens

    def _call(self, pending: Pending, call: Callable[[Any, dict[str, Any]], T]) -> T:
        while (leader := self._state.ahead_of(pending)) is not None:
            self._state.waited(pending, leader.wait(self._state.patience(pending)))
        with left_alone():
            try:
                return call(*self._routed(pending))
            except (BadRequestError, PermissionDeniedError) as error:
                if not self._state.recovers_from(pending, str(error)):
                    raise
                refusal = error
            except RateLimitError as error:
                self._state.limited(error.response.headers)
                raise
            answer = call(*self._routed(pending))
            self._state.refused(pending, str(refusal))
            return answer


class AsyncConversation(_BaseConversation[AsyncClient, AsyncKeeper]):
    """A conversation with Claude whose prompt cache is kept placed right; see `Conversation`, whose twin it is.

    ```python
    conversation = AsyncConversation(AsyncAnthropic(), model="claude-opus-5", max_tokens=1024, system=guide)
    reply = await conversation.send("Where do breakpoints go?")
    ```
    """

    _takes = "an async client (Conversation takes a sync one)"
    _wrong_clients = SyncClient
    _keepers = AsyncKeeper

    async def send(
        self,
        content: Content | None = None,
        *,
        context: Content | None = None,
        final: bool = False,
        **this_turn_only: Unpack[TurnOptions],
    ) -> Message:
        """Send a turn and return the reply; see `Conversation.send`."""
        with self._state.turn(content, this_turn_only, context=context, final=final) as pending:
            reply: Message = await self._call(pending, lambda messages, body: messages.create(**body))
            self._state.answered(pending, Reply.of(reply))
        return reply

    @asynccontextmanager
    async def stream(
        self,
        content: Content | None = None,
        *,
        context: Content | None = None,
        final: bool = False,
        **this_turn_only: Unpack[TurnOptions],
    ) -> AsyncIterator[AsyncConversationStream]:
        """Like `send`, with the reply as it arrives; see `Conversation.stream`.

        ```python
        async with conversation.stream("Tell me more.") as stream:
            async for text in stream.text_stream:
                print(text, end="", flush=True)
        ```
        """
        with self._state.turn(content, this_turn_only, context=context, final=final) as pending:
            opening = self._call(pending, lambda messages, body: messages.stream(**body).__aenter__())
            async with await opening as opened:
                stream = AsyncConversationStream(opened, self._state, pending)
                try:
                    yield stream
                finally:
                    stream._tap.settle(opened)  # noqa: SLF001 - the other half of the stream

    @overload
    def tool_runner(
        self,
        content: Content | None = None,
        *,
        stream: Literal[False] = False,
        context: Content | None = None,
        max_iterations: int | None = None,
        **this_turn_only: Unpack[TurnOptions],
    ) -> BetaAsyncToolRunner[None]: ...

    @overload
    def tool_runner(
        self,
        content: Content | None = None,
        *,
        stream: Literal[True],
        context: Content | None = None,
        max_iterations: int | None = None,
        **this_turn_only: Unpack[TurnOptions],
    ) -> BetaAsyncStreamingToolRunner[None]: ...

    def tool_runner(
        self,
        content: Content | None = None,
        *,
        stream: bool = False,
        context: Content | None = None,
        max_iterations: int | None = None,
        **this_turn_only: Unpack[TurnOptions],
    ) -> BetaAsyncToolRunner[None] | BetaAsyncStreamingToolRunner[None]:
        """The SDK's own tool loop, on this conversation; see `Conversation.tool_runner`. The tools are
        `@beta_async_tool` functions."""
        runner: BetaAsyncToolRunner[None] | BetaAsyncStreamingToolRunner[None] = self._runner(
            content, this_turn_only, stream=stream, context=context, max_iterations=max_iterations
        )
        return runner

    async def keep_alive(self) -> Turn | None:
        """Do now what is decided about a conversation that rests; see `Conversation.keep_alive`."""
        with self._state.keeping_warm() as warming, left_alone(), keep_alive_span():
            if warming is None:
                return None
            messages, body = self._once(warming.pending)
            reply: Message = await messages.create(**body)
            return self._state.warmed(warming, Bill.of(plain(reply.usage)))

    async def prewarm(self) -> Turn | None:
        """Write what will not change to the cache before anybody speaks; see `Conversation.prewarm`."""
        with self._state.prewarming() as pending, left_alone():
            messages, body = self._once(pending)
            reply: Message = await messages.create(**body)
            self._state.answered(pending, Reply.of(reply))
            return pending.turn

    async def count_tokens(
        self, content: Content | None = None, **this_turn_only: Unpack[TurnOptions]
    ) -> int:
        """Ask the API how many prompt tokens a turn would have; see `Conversation.count_tokens`."""
        request = self._state.request(content, this_turn_only)
        tokens = int((await _api(self._client, request).count_tokens(**countable(request))).input_tokens)
        self._state.measured(request, tokens)
        return tokens

    async def _call(self, pending: Pending, call: Callable[[Any, dict[str, Any]], Awaitable[T]]) -> T:
        while (leader := self._state.ahead_of(pending)) is not None:
            self._state.waited(pending, await leader.wait_async(self._state.patience(pending)))
        with left_alone():
            try:
                return await call(*self._routed(pending))
            except (BadRequestError, PermissionDeniedError) as error:
                if not self._state.recovers_from(pending, str(error)):
                    raise
                refusal = error
            except RateLimitError as error:
                self._state.limited(error.response.headers)
                raise
            answer = await call(*self._routed(pending))
            self._state.refused(pending, str(refusal))
            return answer
