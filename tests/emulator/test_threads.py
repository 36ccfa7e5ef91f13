"""Conversations that the API holds, driven by the SDK's own threads and tool runner: section 9."""

import asyncio
from datetime import timedelta

import anthropic
import pytest
from anthropic import beta_async_tool, beta_tool

MODEL = "claude-opus-4-8"
MARK = {"type": "ephemeral"}
BETA = {"x-api-key": "key", "anthropic-beta": "message-threads-2026-08-12"}
CREATE = {"type": "create"}


@beta_tool
def weather(place: str) -> str:
    """Tells the weather."""
    return f"rain in {place}"


@beta_async_tool
async def async_weather(place: str) -> str:
    """Tells the weather."""
    return f"rain in {place}"


def user(text):
    return {"role": "user", "content": text}


def marked(text):
    return {"role": "user", "content": [{"type": "text", "text": text, "cache_control": MARK}]}


def thread_of(api, **fields):
    return api.client.beta.messages.thread(**{"model": MODEL, "max_tokens": 50, **fields})


def bodies(api):
    return [record.body for record in api.emulator.requests]


def sent(api):
    """How each request was threaded, how many messages it brought, and what it was answered with."""
    return [
        ((body.get("thread") or {}).get("type"), len(body["messages"]), record.status)
        for body, record in zip(bodies(api), api.emulator.requests, strict=True)
    ]


def continuing(message_id):
    return {"type": "continue", "previous_message_id": message_id}


def threaded(api, thread, *messages, workspace=None, **more):
    """A thread request as no SDK would send it."""
    place = {"anthropic-workspace-id": workspace} if workspace else {}
    return api.raw({"messages": list(messages), "thread": thread, **more}, headers={**BETA, **place})


def error_code(response):
    return response.status_code, response.json()["error"]["details"]["error_code"]


def test_a_thread_sends_only_what_is_new_and_the_model_hears_all(api):
    thread = thread_of(api, system="be kind")
    for text in ("one", "two", "three"):
        last = thread.send(user(text))
    assert sent(api) == [("create", 1, 200), ("continue", 1, 200), ("continue", 1, 200)]
    assert last.usage.input_tokens == sum(_words(message) for message in thread.messages[:-1]) + 2
    assert [message["role"] for message in thread.messages] == ["user", "assistant"] * 3


def _words(message):
    blocks = [{"text": message["content"]}] if isinstance(message["content"], str) else message["content"]
    return sum(len((block["text"] if isinstance(block, dict) else block.text).split()) for block in blocks)


def test_a_thread_expires_five_minutes_after_its_last_turn_and_the_sdk_replays_it(api):
    """I1."""
    thread = thread_of(api)
    thread.send(user("one"))
    api.pass_time(seconds=299)
    thread.send(user("two"))
    api.pass_time(seconds=300)
    reply = thread.send(user("three"))
    assert sent(api)[2:] == [("continue", 1, 404), ("create", 5, 200)]
    assert thread.previous_message_id == reply.id
    assert thread.send(user("four")).stop_reason == "end_turn"


def test_the_sdk_tells_an_expired_thread_by_its_error(api):
    with pytest.raises(anthropic.NotFoundError) as caught:
        api.client.beta.messages.create(
            model=MODEL,
            max_tokens=5,
            messages=[user("a")],
            thread=continuing("msg_never_was"),
            betas=["message-threads-2026-08-12"],
        )
    assert caught.value.body["error"]["details"] == {"error_code": "thread_not_found"}
    assert type(caught.value).__name__ == "ThreadNotFoundError"


def test_markers_of_a_thread_request_act_on_the_whole_conversation(api):
    """I2: what was marked before is not marked any more, and what is not marked is not cached."""
    thread = thread_of(api, system=[{"type": "text", "text": "be kind", "cache_control": MARK}])
    first = thread.send(marked("one two"))
    assert first.usage.cache_creation_input_tokens == 4
    second = thread.send(marked("three"))
    assert second.usage.cache_read_input_tokens == 4
    plain = thread.send(user("four"))
    assert (plain.usage.cache_read_input_tokens, plain.usage.cache_creation_input_tokens) == (0, 0)
    automatic = thread.send(user("five"), cache_control=MARK)
    held = second.usage.cache_read_input_tokens + second.usage.cache_creation_input_tokens
    assert automatic.usage.cache_read_input_tokens == held


def test_a_threaded_prefix_is_the_same_as_one_sent_whole(api):
    thread = thread_of(api, system="be kind")
    thread.send(user("one"))
    thread.send(marked("two"))
    whole = [*thread.messages[:-2], marked("two")]
    message = api.client.beta.messages.create(model=MODEL, max_tokens=9, system="be kind", messages=whole)
    assert message.usage.cache_read_input_tokens == api.emulator.requests[1].usage.written


def test_a_stream_continues_a_thread(api):
    thread = thread_of(api)
    with thread.stream(user("one")) as stream:
        stream.until_done()
    with thread.stream(user("two")) as stream:
        assert stream.get_final_message().stop_reason == "end_turn"
    assert [kind for kind, _, _ in sent(api)] == ["create", "continue"]


def test_the_default_tool_runner_runs_in_a_thread(api):
    """I4: system and tools go out once."""
    asked = "use weather for Oslo"
    runner = api.client.beta.messages.tool_runner(
        model=MODEL, max_tokens=200, system="be kind", tools=[weather], messages=[user(asked)]
    )
    final = runner.until_done()
    assert final.stop_reason == "end_turn"
    assert sent(api) == [("create", 1, 200), ("continue", 1, 200)]
    assert [key for key in ("system", "tools") if key in bodies(api)[1]] == []
    results = [block for message in bodies(api)[1]["messages"] for block in message["content"]]
    assert [block["type"] for block in results] == ["tool_result"]


def test_the_async_tool_runner_recovers_when_its_thread_expired_in_the_middle(api):
    async def run():
        async with anthropic.AsyncAnthropic(api_key="key", base_url=api.url, max_retries=0) as client:
            runner = client.beta.messages.tool_runner(
                model=MODEL,
                max_tokens=200,
                tools=[async_weather],
                messages=[user("use async_weather for Oslo")],
            )
            messages = []
            async for message in runner:
                messages.append(message)
                api.pass_time(minutes=6)
            return messages

    replies = asyncio.run(run())
    assert [reply.stop_reason for reply in replies] == ["tool_use", "end_turn"]
    assert sent(api) == [("create", 1, 200), ("continue", 1, 404), ("create", 3, 200)]


def test_an_async_thread_holds_a_conversation_and_streams_it(api):
    async def talk():
        async with anthropic.AsyncAnthropic(api_key="key", base_url=api.url) as client:
            thread = client.beta.messages.thread(model=MODEL, max_tokens=50)
            await thread.send(user("one"))
            api.pass_time(minutes=5)
            async with thread.stream(user("two")) as stream:
                await stream.until_done()
            await thread.send(user("three"))

    asyncio.run(talk())
    assert sent(api) == [
        ("create", 1, 200),
        ("continue", 1, 404),
        ("create", 3, 200),
        ("continue", 1, 200),
    ]


def test_what_threads_do_not_support_makes_the_runner_go_on_without(emulated):
    """One 400, then the whole history and no thread."""
    api = emulated(thread_unsupported=("cache_control",))
    runner = api.client.beta.messages.tool_runner(
        model=MODEL,
        max_tokens=200,
        tools=[weather],
        messages=[user("use weather for Oslo")],
        cache_control=MARK,
    )
    assert runner.until_done().stop_reason == "end_turn"
    assert sent(api) == [("create", 1, 400), (None, 1, 200), (None, 3, 200)]


def test_a_thread_raises_what_it_does_not_support_and_names_it(api):
    with pytest.raises(anthropic.BadRequestError) as caught:
        thread_of(
            api, fallbacks=[{"model": "claude-opus-4-7"}], betas=["server-side-fallback-2026-07-01"]
        ).send(user("a"))
    details = caught.value.body["error"]["details"]
    assert details == {"error_code": "thread_unsupported_request", "unsupported": ["fallbacks"]}


def test_an_organization_may_be_without_threads(emulated):
    response = threaded(emulated(thread_unsupported=("hipaa",)), CREATE, user("a"))
    assert error_code(response) == (400, "thread_unsupported_request")


@pytest.mark.parametrize(("limit", "accepted"), [(3, False), (4, True)])
def test_the_fourth_breakpoint_is_reserved_or_not(emulated, limit, accepted):
    """U18, with the text of I3; the top-level one counts."""
    api = emulated(thread_marks=limit)
    response = threaded(api, CREATE, *[marked(text) for text in "abc"], cache_control=MARK)
    assert (response.status_code == 200) == accepted
    if not accepted:
        text = "thread: a maximum of 3 blocks with cache_control may be provided when thread is set"
        assert response.json()["error"]["message"].startswith(text)
        assert response.json()["error"]["message"].endswith("Found 4.")
        assert error_code(response) == (400, "thread_unsupported_request")
    assert threaded(api, CREATE, *[marked(text) for text in "abc"]).status_code == 200


def test_a_fifth_breakpoint_is_one_too_many_in_a_thread_too(api):
    response = threaded(api, CREATE, *[marked(text) for text in "abcd"], cache_control=MARK)
    assert response.json()["error"]["message"].endswith("Found 5.")


def test_a_response_is_continued_once(api):
    first = threaded(api, CREATE, user("one")).json()
    second = threaded(api, continuing(first["id"]), user("two")).json()
    assert error_code(threaded(api, continuing(first["id"]), user("other"))) == (
        400,
        "thread_already_continued",
    )
    assert threaded(api, continuing(second["id"]), user("three")).status_code == 200


def test_a_refused_turn_uses_nothing_up(api):
    first = threaded(api, CREATE, user("one")).json()
    assert threaded(api, continuing(first["id"]), {"role": "nobody", "content": "x"}).status_code == 400
    api.control("faults", {"faults": [{"status": 529}, {"cut_after": 0}]})
    assert threaded(api, continuing(first["id"]), user("two")).status_code == 529
    with pytest.raises(Exception, match="disconnected"):
        threaded(api, continuing(first["id"]), user("two"))
    assert threaded(api, continuing(first["id"]), user("two")).status_code == 200


def test_a_response_under_way_is_not_continued_twice(emulated):
    """Before it starts, and while it streams."""
    api = emulated(first_token_delay=timedelta(seconds=9), chunk_delay=timedelta(seconds=9))
    emulator, clock = api.emulator, api.emulator.clock
    first = _begun(api, _request({"thread": CREATE, "messages": [user("one")]}))
    going_on = {"thread": continuing(first["id"]), "messages": [user("two")]}
    clock.advance(timedelta(seconds=60))
    pending = emulator.receive(_request({**going_on, "stream": True}), at=clock.now())
    in_flight = _begun(api, _request(going_on))
    assert in_flight["error"]["details"]["error_code"] == "thread_continue_in_flight"
    clock.advance(timedelta(seconds=9))
    response = pending.start(clock.now())
    in_flight = _begun(api, _request(going_on))
    assert in_flight["error"]["details"]["error_code"] == "thread_continue_in_flight"
    clock.set(response.chunks[-1].at)
    done = _begun(api, _request(going_on))
    assert done["error"]["details"]["error_code"] == "thread_already_continued"


def test_of_two_that_were_let_in_at_once_one_goes_on(api):
    first = _begun(api, _request({"thread": CREATE, "messages": [user("one")]}))
    going_on = _request({"thread": continuing(first["id"]), "messages": [user("two")]})
    one, other = (api.emulator.receive(going_on, at=api.emulator.clock.now()) for _ in "12")
    assert one.start(api.emulator.clock.now()).status == 200
    assert other.start(api.emulator.clock.now()).status == 400
    assert [record.usage.prompt > 0 for record in api.emulator.requests] == [True, True, False]


def _request(body):
    from convcache.emulator.wire import Request, compact

    whole = {"model": MODEL, "max_tokens": 50, **body}
    return Request(method="POST", path="/v1/messages", headers=BETA, body=compact(whole).encode())


def _begun(api, request):
    import json

    pending = api.emulator.receive(request, at=api.emulator.clock.now())
    chunks = pending.start(api.emulator.clock.now()).chunks
    return json.loads(b"".join(chunk.data for chunk in chunks))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"system": "be strict"}, "system"),
        ({"tools": [{"name": "look", "input_schema": {"type": "object"}}]}, "tools"),
        ({"model": "claude-opus-4-7"}, "model"),
        ({"output_config": {"effort": "low"}}, "output_config"),
    ],
)
def test_what_a_thread_was_created_with_stays(api, changed, name):
    first = threaded(api, CREATE, user("one"), system="be kind").json()
    response = threaded(api, continuing(first["id"]), user("two"), **changed)
    assert error_code(response) == (400, "thread_fingerprint_mismatch")
    assert response.json()["error"]["message"].endswith(f"differing field(s): {name}")
    assert threaded(api, continuing(first["id"]), user("two"), system="be kind").status_code == 200


def test_a_thread_is_of_its_workspace(api):
    first = threaded(api, CREATE, user("one")).json()
    response = threaded(api, continuing(first["id"]), user("two"), workspace="wrkspc_other")
    assert error_code(response) == (404, "thread_not_found")


def test_threads_need_their_beta_and_are_not_on_bedrock(api, emulated):
    """I1."""
    refusal = "thread: Extra inputs are not permitted"
    assert api.refused([user("a")], thread=CREATE) == refusal
    bedrock = threaded(emulated(platform="bedrock"), CREATE, user("a"))
    assert (bedrock.status_code, bedrock.json()["error"]["message"]) == (400, refusal)


@pytest.mark.parametrize(
    "thread",
    [
        "x",
        [],
        {},
        {"type": "fork"},
        {"type": "continue"},
        {"type": "create", "x": 1},
        {"type": "continue", "previous_message_id": 1},
    ],
)
def test_a_thread_field_that_is_none_is_refused(api, thread):
    response = threaded(api, thread, user("a"))
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_warm_up_is_a_turn_without_a_reply(api):
    first = threaded(api, CREATE, marked("one"), max_tokens=0).json()
    second = threaded(api, continuing(first["id"]), marked("two")).json()
    assert (first["content"], second["usage"]["cache_read_input_tokens"]) == ([], 1)


def test_a_tools_input_keeps_what_looks_like_a_breakpoint():
    from convcache.emulator.threads import without_marks

    call = {
        "type": "tool_use",
        "id": "t",
        "name": "n",
        "input": {"cache_control": MARK},
        "cache_control": MARK,
    }
    nested = {"type": "tool_result", "content": [{"type": "text", "text": "x", "cache_control": MARK}]}
    assert without_marks([{"role": "user", "content": [call, nested]}]) == [
        {
            "role": "user",
            "content": [
                {"type": "tool_use", "id": "t", "name": "n", "input": {"cache_control": MARK}},
                {"type": "tool_result", "content": [{"type": "text", "text": "x"}]},
            ],
        }
    ]


def test_expired_threads_are_let_go(api):
    for _ in range(5):
        threaded(api, CREATE, user("one"))
        api.pass_time(minutes=3)
    assert len(api.emulator._messages.threads._held) == 2
    api.emulator.reset()
    assert len(api.emulator._messages.threads._held) == 0
