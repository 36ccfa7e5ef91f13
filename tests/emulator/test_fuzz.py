"""Whatever is sent, the answer is a message or an error in the API's shape, at once: never a crash, never a hang."""

import copy
import json
from datetime import timedelta

import pytest
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from anthropic.types.beta.messages import BetaMessageBatch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from convcache.emulator import Emulator, Settings, VirtualClock
from convcache.emulator.wire import Request

EVENT = TypeAdapter(BetaRawMessageStreamEvent)
ERRORS = {
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "overloaded_error",
}

marks = st.sampled_from(
    [None, {"type": "ephemeral"}, *({"type": "ephemeral", "ttl": ttl} for ttl in ("5m", "1h"))]
)
words = st.sampled_from(
    ["hi", "use look", "naïve 🙂", "word " * 300, "hi", "use look", "hi", "", " ", "\ud83d"]
)


def block(type_, **fields):
    """A block that may be marked."""
    return st.fixed_dictionaries({"type": st.just(type_), **fields}, optional={"cache_control": marks})


texts = block("text", text=words)
sources = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "media_type": st.just("text/plain"), "data": words}),
    st.fixed_dictionaries(
        {"type": st.just("base64"), "media_type": st.just("image/png"), "data": st.just("aGk=")}
    ),
    st.fixed_dictionaries({"type": st.just("url"), "url": st.just("https://example.org/a.png")}),
    st.fixed_dictionaries(
        {"type": st.just("content"), "content": st.one_of(words, st.lists(texts, max_size=2))}
    ),
)
shown = st.one_of(texts, block("image", source=sources), block("document", source=sources))
inputs = st.dictionaries(
    st.sampled_from(["a", "cache_control", "type"]), st.one_of(st.integers(), words), max_size=3
)
calls = block(
    "tool_use", id=st.sampled_from(["t1", "t2"]), name=st.sampled_from(["look", "run"]), input=inputs
)
results = block(
    "tool_result",
    tool_use_id=st.sampled_from(["t1", "t2"]),
    content=st.one_of(words, st.lists(shown, max_size=2)),
)
thinking = st.one_of(
    block("thinking", thinking=words, signature=st.sampled_from(["", "sig"])),
    block("redacted_thinking", data=words),
)
rare = st.sampled_from(
    [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "search_result", "content": [{"type": "text", "text": "x"}], "source": "s", "title": "t"},
        {"type": "container_upload", "file_id": "f"},
        {"type": "compaction", "content": "a summary"},
        {"type": "tool_reference", "tool_name": "look"},
        {"type": "tool_addition", "tool": {"type": "tool_reference", "tool_name": "look"}},
        {"type": "mcp_tool_use", "id": "m", "name": "n", "server_name": "s", "input": {}},
        {"type": "mcp_tool_result", "tool_use_id": "m", "content": "x", "is_error": False},
        {"type": "fallback"},
        {"type": "brand_new"},
    ]
)
contents = st.one_of(words, st.lists(st.one_of(texts, shown, calls, results, thinking, rare), max_size=4))
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "user", "assistant", "system"]), "content": contents},
    optional={"clear_at": st.just("next_user_message"), "output_config": st.just({"effort": "low"})},
)
loop = [
    {"role": "user", "content": "use look"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "seen"}]},
]
plain = st.one_of(
    st.sampled_from(["hi", "use look"]), st.lists(texts.filter(lambda b: b["text"].strip()), min_size=1)
)
conversations = st.one_of(
    st.tuples(plain).map(lambda said: [{"role": "user", "content": said[0]}]),
    st.tuples(plain, plain, plain).map(
        lambda said: [
            {"role": role, "content": c} for role, c in zip(("user", "assistant", "user"), said, strict=True)
        ]
    ),
    st.lists(messages, max_size=5),
    st.lists(contents, min_size=1, max_size=5).map(
        lambda said: [
            {"role": "user" if n % 2 == 0 else "assistant", "content": c} for n, c in enumerate(said)
        ]
    ),
    st.just(loop),
)
schemas = st.sampled_from([{"type": "object"}, {"type": "object", "properties": {"a": {"$ref": "#"}}}, {}])
tools = st.one_of(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["look", "run", ""]), "input_schema": schemas},
        optional={"cache_control": marks, "defer_loading": st.booleans(), "description": words},
    ),
    st.sampled_from(
        [
            {"type": "web_search_20250305", "name": "web_search"},
            {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
            {"type": "mcp_toolset", "mcp_server_name": "s"},
            {"type": "memory_20250818", "name": "memory"},
        ]
    ),
)
edits = st.lists(
    st.sampled_from(
        [
            {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}},
            {"type": "clear_tool_uses_20250919", "trigger": {"type": "input_tokens", "value": 1}},
            {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 50_000}},
        ]
    ),
    max_size=2,
)
parameters = {
    "system": st.one_of(words, st.lists(texts, max_size=3)),
    "tools": st.lists(tools, max_size=3),
    "cache_control": marks,
    "thinking": st.sampled_from(
        [{"type": kind, "budget_tokens": 1024} for kind in ("enabled", "adaptive", "disabled")]
    ),
    "tool_choice": st.sampled_from(
        [{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "look"}, {"type": "none"}]
    ),
    "output_config": st.sampled_from(
        [{"effort": "low"}, {"format": {"type": "json_schema", "schema": {"type": "object"}}}]
    ),
    "context_management": st.fixed_dictionaries({"edits": edits}),
    "compaction": st.just({"type": "summarize"}),
    "diagnostics": st.sampled_from([{"previous_message_id": None}, {"previous_message_id": "LAST"}]),
    "thread": st.sampled_from(
        [{"type": "create"}, {"type": "continue", "previous_message_id": "LAST"}, None]
    ),
    "temperature": st.sampled_from([0, 1, 2]),
    "speed": st.sampled_from(["fast", "standard"]),
    "metadata": st.just({"user_id": "u"}),
    "stop_sequences": st.just(["stop"]),
    "container": st.sampled_from(["container_1", {"skills": []}]),
    "mcp_servers": st.just([{"type": "url", "url": "https://example.org", "name": "s"}]),
    "service_tier": st.just("auto"),
    "inference_geo": st.just("us"),
}
models = st.sampled_from(
    ["claude-opus-4-8", "claude-haiku-4-5", "claude-opus-5-5", "claude-sonnet-5-5", "claude-nobody"]
)
some = st.sets(st.sampled_from(sorted(parameters)), max_size=4)
bodies = some.flatmap(
    lambda names: st.fixed_dictionaries(
        {
            "model": models,
            "max_tokens": st.sampled_from([1, 50, 50, 0]),
            "messages": conversations,
            "stream": st.booleans(),
            **{name: parameters[name] for name in sorted(names)},
        }
    )
)
odd = [None, True, 0, -1, 1.5, 10**30, "", "x", "any", "\ud800", [], {}, [None], [[]], [{}], {"$ref": "#"}]
odd += [{"type": []}, {"type": "text", "text": 1}, {"cache_control": {"type": "ephemeral"}}, {"a": {"a": {}}}]
nonsense = st.sampled_from(odd)
deeds = st.sampled_from(["replace", "replace", "drop", "add", "twice"])
damages = st.lists(st.tuples(st.booleans(), st.floats(0, 1), deeds, nonsense), max_size=2)
beta_names = [
    "message-threads-2026-08-12",
    "context-management-2025-06-27",
    "compact-2026-01-12",
    "inline-tools-2026-09-15",
]
betas = st.lists(st.sampled_from(beta_names), max_size=4).map(",".join)
endpoints = st.sampled_from(["", "", "", "/count_tokens", "/batches"])
asks = st.lists(st.tuples(endpoints, bodies, damages, betas), min_size=1, max_size=3)
choices = st.fixed_dictionaries(
    {},
    optional={
        "platform": st.sampled_from(["bedrock", "bedrock_legacy", "vertex"]),
        "minimum": st.just(0),
        "normalise_defaults": st.booleans(),
        "strict_strings": st.booleans(),
        "input_tokens_per_minute": st.just(300),
        "thread_marks": st.just(3),
        "batch_delay": st.just(timedelta(0)),
    },
)


def damaged(body, damages):
    """The body with some places replaced, left out, doubled or added to."""
    body = copy.deepcopy(body)
    for near, where, deed, value in damages:
        places = [(holder, key) for holder, key in every_place(body) if not near or is_near(holder, body)]
        if not places:
            return body
        holder, key = places[int(where * (len(places) - 1))]
        if deed == "replace":
            holder[key] = copy.deepcopy(value)
        elif deed == "drop":
            del holder[key]
        elif deed == "twice" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif isinstance(holder, dict):
            holder["cache_control" if deed == "twice" else "brand_new"] = copy.deepcopy(value)
    return body


def is_near(holder, body):
    return holder is body or any(holder is value for value in body.values())


def every_place(value):
    for key, part in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        yield value, key
        if isinstance(part, dict | list):
            yield from every_place(part)


def check_answer(path, response):
    """A message, a count, a batch, or an error; the id to go on from, if there is one."""
    data = b"".join(chunk.data for chunk in response.chunks)
    if response.streams:
        return check_stream(data)
    answer = json.loads(data)
    if response.status != 200:
        assert (answer["type"], 400 <= response.status < 500) == ("error", True)
        assert answer["error"]["type"] in ERRORS
        assert answer["error"]["message"]
        assert answer["request_id"].startswith("req_")
    elif path == "/count_tokens":
        assert isinstance(answer["input_tokens"], int)
    elif path == "/batches":
        BetaMessageBatch.model_validate(answer)
        return answer["id"]
    else:
        return check_message(answer)
    return None


def check_stream(data):
    events = [
        json.loads(line.removeprefix("data: "))
        for line in data.decode().splitlines()
        if line.startswith("data")
    ]
    for event in events:
        if event["type"] != "ping":
            EVENT.validate_python(event)
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    return events[0]["message"]["id"]


def check_message(answer):
    usage = BetaMessage.model_validate(answer).usage
    split = usage.cache_creation.ephemeral_5m_input_tokens + usage.cache_creation.ephemeral_1h_input_tokens
    assert usage.cache_creation_input_tokens == split
    assert min(usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) >= 0
    return answer["id"]


def answered(asks, choices):
    """Sends one after the other to one emulator, each able to name the answer before it."""
    emulator, last = Emulator(Settings(**choices), clock=VirtualClock()), "msg_none"
    for path, body, damages, betas in asks:
        sent = damaged(body, damages)
        if path == "/batches":
            sent = {"requests": [{"custom_id": "a", "params": sent}]}
        response = send(emulator, path, json.dumps(sent).replace("LAST", last).encode(), betas)
        id_ = check_answer(path, response)
        if path == "/batches" and id_:
            emulator.clock.advance(timedelta(minutes=1))
            check_results(send(emulator, f"/batches/{id_}/results", b"", betas, method="GET"))
        last = id_ or last


def send(emulator, path, data, betas, *, method="POST"):
    headers = {"x-api-key": "k", "anthropic-beta": betas}
    request = Request(method=method, path=f"/v1/messages{path}", headers=headers, body=data)
    return emulator.receive(request, at=emulator.clock.now()).start(emulator.clock.now())


def check_results(response):
    (line,) = response.chunks[0].data.splitlines()
    result = json.loads(line)["result"]
    if result["type"] == "succeeded":
        check_message(result["message"])
    else:
        assert (result["type"], result["error"]["type"]) == ("errored", "error")


def unhurried(examples):
    return settings(
        max_examples=examples,
        deadline=timedelta(seconds=5),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@seed(3)
@unhurried(200)
@given(asks, choices)
def test_any_body_is_answered_at_once_in_the_shape_of_the_api(asks, choices):
    answered(asks, choices)


@pytest.mark.long
@unhurried(2000)
@given(asks, choices)
def test_two_thousand_bodies_are_answered_in_the_shape_of_the_api(asks, choices):
    answered(asks, choices)


def test_the_fuzzed_bodies_are_of_every_kind():
    """A fuzzer that only ever meets refusals, or never one, would prove little."""
    statuses = {"message": 0, "stream": 0, "error": 0}

    @seed(5)
    @unhurried(150)
    @given(bodies, betas)
    def gather(body, betas):
        response = send(Emulator(clock=VirtualClock()), "", json.dumps(body).encode(), betas)
        kind = "stream" if response.streams else "message" if response.status == 200 else "error"
        statuses[kind] += 1

    gather()
    assert min(statuses.values()) >= 5


def test_a_reply_that_quotes_half_a_character_can_be_cut_short():
    """Found by the long run."""
    body = {"model": "claude-opus-4-8", "max_tokens": 1, "messages": [{"role": "user", "content": "\ud83d"}]}
    assert send(Emulator(clock=VirtualClock()), "", json.dumps(body).encode(), "").status == 200


@pytest.mark.parametrize("role", ["user", "system"])
@pytest.mark.parametrize("wrong", [True, "low", ["low"]])
def test_an_effort_of_a_message_that_is_no_object_is_refused(role, wrong):
    """Found by the long run."""
    said = [{"role": "user", "content": "hi"}, {"role": role, "content": "hi", "output_config": wrong}]
    body = {"model": "claude-opus-5", "max_tokens": 1, "messages": said}
    betas = "mid-conversation-output-config-2026-07-01"
    assert send(Emulator(clock=VirtualClock()), "", json.dumps(body).encode(), betas).status == 400
