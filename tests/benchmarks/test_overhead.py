"""`python -m benchmarks.overhead` and `benchmarks.planning`, as small as they go."""

import json

from benchmarks import overhead, planning
from benchmarks.histories import history


def test_a_smoke_run_measures_every_way_at_every_length(capsys):
    assert overhead.main(["--smoke", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert [(row["kind"], row["messages"]) for row in found["calls"]] == [
        (kind, messages) for kind in ("chat", "agent") for messages in (1, 3)
    ]
    for row in [*found["calls"], *found["stalls"]]:
        assert list(row["milliseconds"]) == list(overhead.WAYS)
        assert all(figure > 0 for figure in row["milliseconds"].values())
    assert list(found["grown"]["seconds"]) == list(overhead.WAYS)


def test_the_same_is_printed_as_ratios_and_drawn(capsys, tmp_path):
    drawn = tmp_path / "overhead.svg"
    assert overhead.main(["--smoke", "--plot", str(drawn)]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[2].split()[-1] == "Conversation"
    assert lines[3].split()[2] == "1.000"
    assert "Conversation" in drawn.read_text()


def test_every_way_sends_the_same_messages():
    for kind in ("chat", "agent"):
        said = history(kind, 5)
        sent = {}
        for way in overhead.WAYS:
            chat = overhead.Held(way, kind, said[:-1]).ready()
            bodies = []
            to = chat.chat._client if way == "Conversation" else chat.client
            transport = to._client._transport
            answers = transport.handler
            transport.handler = lambda request, bodies=bodies, answers=answers: (
                bodies.append(json.loads(request.content)) or answers(request)
            )
            chat.send()
            sent[way] = bodies[0]["messages"]
        for messages in sent.values():
            for message in messages:
                for block in message["content"]:
                    block.pop("cache_control", None)
        assert all(messages == said for messages in sent.values())


def test_planning_is_measured_by_its_parts(capsys):
    assert planning.main(["--smoke", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)

    assert [row["messages"] for row in rows] == [1, 10, 20] * 2
    assert all(row[part] > 0 for row in rows for part in (*planning.PARTS, "whole"))


def test_planning_prints_a_table(capsys):
    assert planning.main(["--smoke"]) == 0

    assert capsys.readouterr().out.splitlines()[1].startswith("claude-opus-5")
