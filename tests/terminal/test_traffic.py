"""What traces say of the traffic they recorded."""

import gzip
import json

import pytest

from convcache.terminal.traffic import TrafficError, corpus
from tests.traces import asked, billed, proxied


def text(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def requests(rows):
    return [recorded.requests for recorded in corpus("trace", text(rows)).conversations]


def test_a_billed_thread_goes_on_from_each_prompt_and_its_reply():
    (thread,) = requests(billed([0, 30, 60]))

    assert [(each.prompt, each.shared, each.reply) for each in thread] == [
        (20_000, 0, 400),
        (20_500, 20_400, 400),
        (21_000, 20_900, 400),
    ]
    assert [each.at.timestamp() for each in thread] == [0, 30, 60]
    assert {each.stop_reason for each in thread} == {"end_turn"}


def test_a_compacted_history_shares_nothing_with_the_one_before():
    rows = billed([0, 30, 60])
    rows[1]["compact"], rows[2]["prompt"] = True, 9_000

    (thread,) = requests(rows)

    assert [each.shared for each in thread] == [0, 0, 0]


def test_another_model_shares_nothing():
    rows = billed([0, 30])
    rows[1]["model"] = "claude-opus-5"

    assert [each.shared for each in requests(rows)[0]] == [0, 0]


def test_a_proxied_thread_shares_the_blocks_that_were_kept():
    rows = proxied([0, 30, 60])
    rows[2]["lcp_prev"] = 100

    (thread,) = requests(rows)

    assert [each.shared for each in thread] == [0, 32_100, 6_400]
    assert {each.stop_reason for each in thread} == {"tool_use"}
    assert [each.by_person for each in thread] == [True, False, False]


def test_a_chat_goes_on_where_all_full_blocks_agree_and_the_shared_first_one_is_not_enough():
    chats = requests(asked((1, [0, 60]), (2, [10])))

    assert [len(chat) for chat in chats] == [2, 1]
    assert chats[0][1].shared == chats[0][0].prompt + 300


def test_threads_and_repositories_are_told_apart():
    traffic = corpus("trace", text(billed([0, 5]) + billed([1], thread="b", repo="p+q")))

    assert [(each.repository, len(each.requests)) for each in traffic.conversations] == [
        ("o+r", 2),
        ("p+q", 1),
    ]


def test_compressed_traces_are_read_and_named_by_what_they_begin_with():
    rows = billed([0, 5])

    plain, packed = corpus("trace", text(rows)), corpus("trace", gzip.compress(text(rows)))

    assert plain.fingerprint == packed.fingerprint
    assert plain.fingerprint != corpus("trace", text(billed([1, 5]))).fingerprint


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Dear diary\n", "is no trace"),
        (b"", "no reply"),
        (b'{"hash_ids": [1]}\n', "is no trace"),
        (gzip.compress(text(billed([0])))[:-9], "ends too early"),
        (b"\xff\xfe", "is not text"),
        (b'{"a": 1}\n', "records no reply"),
    ],
)
def test_what_is_no_traffic_is_refused_with_the_reason(data, reason):
    with pytest.raises(TrafficError, match=reason):
        corpus("trace", data)
