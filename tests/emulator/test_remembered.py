"""What the emulator remembers of a conversation changes no answer: it is held against one that reads all anew."""

import json

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from convcache.emulator import Emulator, Settings, VirtualClock
from convcache.emulator.wire import Request

MARK = {"cache_control": {"type": "ephemeral"}}
ODDITIES = [
    {"role": "user", "content": [{"type": "text", "text": ""}]},
    {"role": "user", "content": []},
    {"role": "user", "content": [{"type": "telepathy"}]},
    {"role": "robot", "content": "hello"},
    {"role": "system", "content": "from now on"},
    {"role": "system", "content": "only now", "clear_at": "next_user_message"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "open", "name": "look", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "nobody's", "content": "found"}]},
    {"role": "assistant", "content": [{"type": "compaction", "content": "what was said before"}]},
    {"role": "user", "content": [{"type": "text", "text": "hello", "unknown": 1}]},
    {"role": "user", "content": [{"type": "text", "text": "hello", **MARK}]},
    "no message",
]


PARAMETERS = [
    {"model": "claude-haiku-4-5"},
    {"system": "Other."},
    {"thinking": {"type": "adaptive"}},
    {"tools": [{"name": "look", "input_schema": {"type": "object"}}]},
    {"cache_control": {"type": "ephemeral"}},
    {"diagnostics": {"previous_message_id": None}},
]


class Anew:
    """Parses every body as if it were the first."""

    def parsed(self, body):
        return json.loads(body)

    def clear(self):
        """Nothing is kept."""


def emulators(**choices):
    remembering, forgetful = (Emulator(Settings(**choices), clock=VirtualClock()) for _ in range(2))
    forgetful._messages = attrs.evolve(forgetful._messages, bodies=Anew())
    return remembering, forgetful


def answer(emulator, body, path):
    at = emulator.clock.now()
    headers = {"x-api-key": "key"}
    request = Request(method="POST", path=path, headers=headers, body=json.dumps(body).encode())
    response = emulator.receive(request, at=at).start(at)
    return response.status, b"".join(chunk.data for chunk in response.chunks)


words = st.text("ab é", min_size=1, max_size=30).map(lambda text: text + "x")
texts = words.map(lambda text: {"type": "text", "text": text})
images = st.just({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}})
thoughts = words.map(lambda text: {"type": "thinking", "thinking": text, "signature": "sig"})


@st.composite
def rounds(draw):
    """A user speaks, the assistant may call tools for a while, and answers."""
    messages = [{"role": "user", "content": draw(words | st.lists(texts | images, min_size=1, max_size=3))}]
    for _ in range(draw(st.integers(0, 2))):
        ids = [f"call_{draw(st.integers(0, 10**9))}_{number}" for number in range(draw(st.integers(1, 3)))]
        given_ = draw(st.dictionaries(st.sampled_from(["b", "a"]), st.integers(0, 2)))
        calls = [{"type": "tool_use", "id": id_, "name": "look", "input": given_} for id_ in ids]
        results = [
            {"type": "tool_result", "tool_use_id": id_, "content": draw(words | st.lists(texts | images))}
            for id_ in ids
        ]
        messages.append({"role": "assistant", "content": [*draw(st.lists(thoughts, max_size=1)), *calls]})
        messages.append({"role": "user", "content": results})
    reply = [*draw(st.lists(thoughts, max_size=1)), draw(texts)]
    return [*messages, {"role": "assistant", "content": reply}]


def marked(message):
    """The message with a breakpoint on its last block, where one may be."""
    if isinstance(message["content"], str) or message["content"][-1]["type"] == "thinking":
        return message
    *blocks, last = message["content"]
    return {**message, "content": [*blocks, {**last, **MARK}]}


@st.composite
def lives(draw):
    """A conversation as its client sends it: it grows, is edited, cut, forked, damaged, with moving breakpoints."""
    said, fields, bodies = [], {"model": "claude-opus-4-8", "max_tokens": 5}, []
    for _ in range(draw(st.integers(2, 7))):
        match draw(st.sampled_from(["grow", "grow", "grow", "grow", "edit", "cut", "damage", "ask"])):
            case "grow":
                said = [*said, *draw(rounds())]
            case "edit" if said:
                place = draw(st.integers(0, len(said) - 1))
                said = [*said[:place], {**said[place], "content": draw(words)}, *said[place + 1 :]]
            case "cut":
                said = said[: draw(st.integers(0, len(said)))]
            case "damage":
                place = draw(st.integers(0, len(said)))
                bodies.append(
                    {**fields, "messages": [*said[:place], draw(st.sampled_from(ODDITIES)), *said[place:]]}
                )
            case "ask":
                fields |= draw(st.sampled_from(PARAMETERS))
        tail = marked({"role": "user", "content": [draw(texts)]})
        anchored = [*said[:-1], *map(marked, said[-1:])]
        bodies.append({**fields, "messages": [*anchored, tail]})
    return bodies


@settings(deadline=None)
@given(
    lives(),
    st.sampled_from([{}, {"platform": "bedrock"}, {"strict_borders": True}, {"images": "in_place"}]),
    st.sampled_from(["/v1/messages", "/v1/messages", "/v1/messages/count_tokens"]),
)
def test_every_answer_is_the_same_to_the_byte(bodies, choices, path):
    remembering, forgetful = emulators(minimum=0, **choices)

    for body in bodies:
        assert answer(remembering, body, path) == answer(forgetful, body, path)
    assert [record.usage for record in remembering.requests] == [
        record.usage for record in forgetful.requests
    ]
    assert remembering.entries == forgetful.entries


def test_a_chat_of_tool_rounds_with_thinking_is_billed_alike():
    remembering, forgetful = emulators(minimum=0)
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "go"}]}
    for number in range(12):
        call = {"type": "tool_use", "id": f"call_{number}", "name": "look", "input": {"b": 1, "a": 2}}
        thought = {"type": "thinking", "thinking": "hm", "signature": "sig"}
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "found", **MARK}
        said = result if number % 4 else {"type": "text", "text": "and now?", **MARK}
        asked = [thought, call] if number % 4 else [thought, {"type": "text", "text": "done"}]
        for message in body["messages"]:
            for block in message["content"] if isinstance(message["content"], list) else []:
                block.pop("cache_control", None)
        body["messages"] += [{"role": "assistant", "content": asked}, {"role": "user", "content": [said]}]

        status, told = answer(remembering, body, "/v1/messages")
        assert (status, told) == (200, answer(forgetful, body, "/v1/messages")[1])
    assert any(record.usage.read for record in remembering.requests)
