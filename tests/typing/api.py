"""The public API as a type checker sees it; checked by mypy and pyright, never run."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import assert_type

from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message, MessageParam
from anthropic.types.messages import MessageBatchIndividualResponse
from anthropic.types.messages.batch_create_params import Request

from convcache import AsyncBatch, AsyncConversation, Batch, Conversation, Costs, Miss, Policy, Turn, Usage

client = Anthropic()
conversation = Conversation(
    client,
    model="claude-opus-5",
    max_tokens=100,
    system=[{"type": "text", "text": "Be brief."}],
    tools=[{"name": "look_up", "input_schema": {"type": "object"}}],
    messages=[{"role": "user", "content": "hello"}],
    policy=Policy(ttl="1h"),
    clock=lambda: datetime.now(UTC),
    thinking={"type": "adaptive"},
    betas=["some-beta"],
)

reply = assert_type(conversation.send("hello", max_tokens=5), Message)
conversation.send()
conversation.send([{"type": "text", "text": "hello"}])
conversation.send({"type": "tool_result", "tool_use_id": "a", "content": "found", "is_error": True})
conversation.send(reply.content)
conversation.append("hello", {"type": "text", "text": "and"}, {"role": "user", "content": "so"}, reply)
conversation.update(system="Be very brief.", tools=[], metadata={"user_id": "u"})
conversation.rewind(2)

with conversation.stream("hello") as stream:
    for piece in stream.text_stream:
        assert_type(piece, str)
    for event in stream:
        if event.type == "text":
            assert_type(event.text, str)
    assert_type(stream.get_final_message(), Message)

fork = assert_type(conversation.fork(), Conversation)
history = assert_type(conversation.messages, list[MessageParam])
client.messages.create(model="claude-opus-5", max_tokens=5, messages=history)
Conversation(client, model="claude-opus-5", max_tokens=5, messages=history)

turn = assert_type(conversation.turns[-1], Turn)
assert_type(turn.forecast, Usage | None)
assert_type(turn.actual.read, int)
assert_type(turn.miss, Miss | None)
assert_type(turn.lapses, datetime | None)
assert_type(conversation.costs, Costs)
assert_type(conversation.costs.paid, Decimal | None)
assert_type(conversation.usage + turn.actual, Usage)

Conversation(client, model="claude-opus-5", max_tokens=5, modle="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
conversation.send("hello", temperature=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Conversation(AsyncAnthropic(), model="claude-opus-5", max_tokens=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def the_twin() -> None:
    twin = AsyncConversation(AsyncAnthropic(), model="claude-opus-5", max_tokens=100)
    assert_type(await twin.send("hello"), Message)
    async with twin.stream("hello") as stream:
        async for piece in stream.text_stream:
            assert_type(piece, str)
        assert_type(await stream.get_final_message(), Message)
    assert_type(twin.fork(), AsyncConversation)


request: Request = {
    "custom_id": "a",
    "params": {"model": "claude-opus-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]},
}
batch = Batch(client, [request], policy=Policy(fan_out="off"), max_wait=timedelta(minutes=5))
assert_type(batch.forecast_costs, Costs)
batch.send()
for row in batch.results():
    assert_type(row, MessageBatchIndividualResponse)


async def batches() -> None:
    batch = AsyncBatch(AsyncAnthropic(), [request])
    await batch.send()
    if assert_type(await batch.has_ended(), bool):
        async for row in batch.results():
            assert_type(row.custom_id, str)
