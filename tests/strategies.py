"""Hypothesis strategies for request bodies: any shape a caller may send, well-formed but for its breakpoints."""

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

_WORDS = st.text(alphabet="abcdefgh éß漢\n", min_size=1, max_size=40).map(lambda text: text + "x")
_LONG = st.builds(lambda words, times: words * times, _WORDS, st.integers(1, 400))
_TTL = st.sampled_from([{}, {"ttl": "5m"}, {"ttl": "1h"}])
_CONTROL = _TTL.map(lambda ttl: {"cache_control": {"type": "ephemeral", **ttl}})
_MAYBE_MARKED = st.one_of(st.just({}), st.just({}), _CONTROL)
# A user's own key of that name, where it is not a breakpoint.
_INPUT = st.dictionaries(st.sampled_from(["path", "cache_control", "query"]), _WORDS, max_size=3)


def _block(fields: Json, mark: Json) -> Json:
    return {**fields, **mark}


_TEXT = st.builds(lambda text: {"type": "text", "text": text}, _LONG)
_IMAGE = st.just({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}})
_THINKING = st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "sig"}, _WORDS)
_FUTURE = st.just({"type": "brand_new_block", "payload": {"cache_control": 1}})

texts = st.builds(_block, _TEXT, _MAYBE_MARKED)
said = st.lists(st.builds(_block, st.one_of(_TEXT, _IMAGE), _MAYBE_MARKED), min_size=1, max_size=3)
tools = st.lists(
    st.builds(
        lambda name, schema, mark, deferred: {
            "name": name,
            "input_schema": {"type": "object", "properties": schema},
            **({"defer_loading": True} if deferred else mark),
        },
        st.sampled_from(["look", "write", "ask"]),
        _INPUT,
        _MAYBE_MARKED,
        st.booleans(),
    ),
    max_size=4,
)
systems = st.one_of(st.none(), st.lists(texts, min_size=1, max_size=3))


@st.composite
def exchanges(draw: st.DrawFn) -> list[Json]:
    """A user's message and the reply to it, or a round of tool calls with their results between."""
    messages: list[Json] = [{"role": "user", "content": draw(said)}]
    for _ in range(draw(st.integers(0, 2))):
        ids = [f"call_{draw(st.integers(0, 10**6))}_{place}" for place in range(draw(st.integers(1, 25)))]
        calls = [{"type": "tool_use", "id": name, "name": "look", "input": draw(_INPUT)} for name in ids]
        thinking = draw(st.lists(_THINKING, max_size=1))
        messages.append({"role": "assistant", "content": [*thinking, *calls]})
        results = [{"type": "tool_result", "tool_use_id": name, "content": "found"} for name in ids]
        results[-1] |= draw(_MAYBE_MARKED)
        messages.append({"role": "user", "content": results})
    reply = draw(st.lists(st.one_of(_TEXT, _THINKING, _FUTURE), min_size=1, max_size=3))
    messages.append({"role": "assistant", "content": [*reply, {"type": "text", "text": "so"}]})
    return messages


@st.composite
def requests(draw: st.DrawFn) -> Json:
    """The body of `messages.create`, with up to any number of breakpoints anywhere the SDK's types allow."""
    messages = [message for exchange in draw(st.lists(exchanges(), max_size=4)) for message in exchange]
    body = {
        "model": draw(st.sampled_from(["claude-opus-5", "claude-haiku-4-5", "us.anthropic.claude-opus-4-6"])),
        "max_tokens": 100,
        "messages": [*messages, {"role": "user", "content": draw(said)}],
    }
    if (system := draw(systems)) is not None:
        body["system"] = system
    if offered := draw(tools):
        body["tools"] = offered
    return body
