"""`python -m benchmarks.emulator`, as small as it goes."""

import json

from benchmarks.emulator import body, conversation, main


def test_a_smoke_run_measures_every_size_form_and_way(capsys):
    assert main(["--smoke", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert {(row["way"], row["tokens"], row["stream"]) for row in found["throughput"]} == {
        (way, tokens, stream)
        for way in ("in process", "http")
        for tokens in (600, 800, 1_000)
        for stream in (False, True)
    }
    assert all(row["per_second"] > 0 for row in found["throughput"])
    assert [row["tokens"] for row in found["growth"]] == sorted(row["tokens"] for row in found["growth"])


def test_the_same_is_printed_as_a_table(capsys):
    assert main(["--smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert [line[:10] for line in lines[3:9]] == ["in process"] * 3 + ["http      "] * 3
    assert "json.loads" in lines[10]


def test_a_conversation_is_as_long_as_asked_and_marked_at_its_end():
    asked = json.loads(body(conversation(10_000)))
    texts = [message["content"][0]["text"] for message in asked["messages"]]

    assert abs(sum(map(len, texts)) / 4 - 10_000) < 100
    assert (asked["messages"][0]["role"], asked["messages"][-1]["role"]) == ("user", "user")
    assert [("cache_control" in message["content"][0]) for message in asked["messages"]][-2:] == [False, True]
