"""What many share is written once, whoever comes after."""

import pytest
from anthropic import Anthropic

from convcache import CacheMiddleware, Conversation, Policy, shared
from convcache.emulator import Emulator
from tests.words import MODEL, marked_paths, text

INSTRUCTIONS = "A rule that holds for every one of our users. " * 870
"""Some 10,000 tokens."""

AUTOMATIC = {"cache_control": {"type": "ephemeral"}}


def profile(user: int) -> dict:
    return text(f"The profile of user number {user}. " * 60)


def ask(client: Anthropic, system: list[dict], **request: object) -> None:
    messages = [{"role": "user", "content": "a question"}]
    client.messages.create(model=MODEL, max_tokens=30, system=system, messages=messages, **request)


def written(emulator: Emulator) -> list[int]:
    return [request.usage.written for request in emulator.requests]


@pytest.fixture
def placed(client: Anthropic, emulator: Emulator) -> Anthropic:
    return client.with_options(middleware=[CacheMiddleware(clock=emulator.clock.now)])


def test_declared_instructions_of_a_hundred_users_are_written_once(placed, emulator):
    for user in range(100):
        ask(placed, [shared(INSTRUCTIONS), profile(user)])
    first, *others = written(emulator)

    assert first > 10_000
    assert all(400 < tokens < 700 for tokens in others)
    assert all(request.usage.read > 9_900 for request in emulator.requests[1:])


def test_automatic_caching_writes_them_for_every_user(client, emulator):
    for user in range(10):
        ask(client, [text(INSTRUCTIONS), profile(user)], **AUTOMATIC)

    assert all(tokens > 10_000 for tokens in written(emulator))


def test_undeclared_instructions_are_learned_when_users_part(placed, emulator):
    undeclared = INSTRUCTIONS.replace("rule", "law")
    for user in range(6):
        ask(placed, [text(undeclared), profile(user)])

    # The first two are seen to part, the third writes what is shared, and everybody after it reads that.
    assert [tokens > 10_000 for tokens in written(emulator)] == [True, True, True, False, False, False]


def test_a_replaced_document_leaves_the_instructions_read(placed, emulator):
    for version in range(4):
        document = f"Version {version} of the document. " * 600
        ask(placed, [shared(INSTRUCTIONS), shared(document), profile(1)])

    assert all(request.usage.read > 9_900 for request in emulator.requests[1:])


def test_a_document_in_the_first_message_is_learned_too(placed, emulator):
    document = text("A page of the manual. " * 1_500)
    for user in range(5):
        messages = [{"role": "user", "content": [document, text(f"question {user}")]}]
        placed.messages.create(
            model=MODEL, max_tokens=30, system="The rules of the manual. " * 800, messages=messages
        )

    assert [request.usage.read > 12_000 for request in emulator.requests] == [False, False, False, True, True]


def test_the_last_border_serves_the_users_of_one_tenant(placed, emulator):
    for user in range(4):
        ask(placed, [shared(INSTRUCTIONS), shared("The tenant's document. " * 600), profile(user)])

    assert all(request.usage.read > 13_000 for request in emulator.requests[1:])


def test_a_conversation_takes_shared_blocks_too(client, emulator):
    for user in range(3):
        system = [shared(INSTRUCTIONS), profile(user)]
        chat = Conversation(client, model=MODEL, max_tokens=30, system=system, clock=emulator.clock.now)
        chat.send("a question")

    assert written(emulator)[0] > 10_000
    assert all(tokens < 700 for tokens in written(emulator)[1:])
    assert marked_paths(emulator.requests[0].body)[0] == "system.0"


def test_a_shared_block_is_a_plain_text_block_to_the_bare_sdk(client, emulator):
    ask(client, [shared(INSTRUCTIONS)])

    assert emulator.requests[0].body["system"] == [text(INSTRUCTIONS)]


def test_slots_can_be_left_out(client, emulator):
    policy = Policy(slots={"tail"})
    placed = client.with_options(middleware=[CacheMiddleware(policy, clock=emulator.clock.now)])
    ask(placed, [shared(INSTRUCTIONS), profile(1)])

    assert marked_paths(emulator.requests[0].body) == ["messages.0.0"]
    with pytest.raises(ValueError, match="unknown slots"):
        Policy(slots={"tial"})


def test_a_breakpoint_must_save_what_the_policy_asks_for(client, emulator):
    policy = Policy(min_saving="0.10")
    placed = client.with_options(middleware=[CacheMiddleware(policy, clock=emulator.clock.now)])
    ask(placed, [text(INSTRUCTIONS)])
    ask(placed, [text(INSTRUCTIONS * 3)])

    assert marked_paths(emulator.requests[0].body) == []
    assert marked_paths(emulator.requests[1].body) == ["system.0", "messages.0.0"]
