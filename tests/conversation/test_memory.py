"""What a live conversation takes: little more than its history, and nothing once it is released."""

import gc
import json
import tracemalloc
from collections.abc import Iterator

import pytest

from benchmarks.histories import KINDS, asked, history
from benchmarks.ways import FIELDS, Answers, client
from convcache import Conversation

MESSAGES = 1_000


@pytest.fixture
def traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def bound(said: list) -> float:
    return 1.3 * len(json.dumps(said, ensure_ascii=False)) + 1_000 * len(said)


def adopted(kind: str, count: int) -> list[Conversation]:
    """Conversations that went on from a history."""
    said = history(kind, MESSAGES - 1)[:-1]
    chats = [
        Conversation(client(Answers(kind, MESSAGES // 2 - 1), is_async=False), **FIELDS, messages=said)
        for _ in range(count)
    ]
    for chat in chats:
        chat.send(asked(kind, MESSAGES // 2 - 1))
    return chats


def grown(kind: str, count: int) -> list[Conversation]:
    """Conversations that were held from their start."""
    chats = [Conversation(client(Answers(kind), is_async=False), **FIELDS) for _ in range(count)]
    for turn in range(MESSAGES // 2):
        for chat in chats:
            chat.send(asked(kind, turn))
    return chats


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("begin", "count"), [(adopted, 3), pytest.param(grown, 2, marks=pytest.mark.long)])
def test_a_conversation_takes_little_more_than_its_history_and_gives_it_back(traced, kind, begin, count):
    del begin(kind, 1)[:]
    before = held()
    chats = begin(kind, count)
    conversations = [chat._state for chat in chats]
    clients = [chat._client for chat in chats]
    limit = bound(chats[0].messages)
    with_them = held()
    del chats, conversations
    without = held()

    assert (with_them - without) / count < limit
    del clients
    assert (held() - before) / count < limit / 10


def test_forks_share_what_they_have_in_common(traced):
    (base,) = adopted("agent", 1)
    forks = [base.fork() for _ in range(5)]
    for fork in forks:
        fork._client = client(Answers("agent", MESSAGES // 2), is_async=False)
        fork.send(asked("agent", MESSAGES // 2))
    clients = [fork._client for fork in forks]
    with_them = held()
    del forks, fork
    without = held()

    assert clients
    assert (with_them - without) / 5 < bound(base.messages) / 20


@pytest.mark.long
def test_two_hundred_long_conversations(traced):
    before = held()
    chats = adopted("agent", 200)
    limit = bound(chats[0].messages)
    taken = (held() - before) / len(chats)
    del chats

    assert taken < limit
    assert held() - before < 20 * limit
