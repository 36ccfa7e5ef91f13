"""`python -m benchmarks.overhead` and `benchmarks.planning`, as small as they go."""

import json

import pytest

from benchmarks import overhead, planning
from benchmarks.histories import history


class Overheard:
    """A transport's answers, and the bodies that they answer."""

    def __init__(self, answers, bodies):
        self.answers, self.bodies = answers, bodies

    def __call__(self, request):
        self.bodies.append(json.loads(request.content))
        return self.answers(request)


def test_a_smoke_run_measures_every_way_at_every_length(capsys):
    assert overhead.main(["--smoke", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    for rows in (found["calls"], found["streams"]):
        assert [(row["kind"], row["messages"]) for row in rows] == [
            (kind, messages) for kind in ("chat", "agent") for messages in (1, 3)
        ]
    for row in [*found["calls"], *found["streams"], *found["stalls"]]:
        assert list(row["milliseconds"])[: len(overhead.WAYS)] == list(overhead.WAYS)
        assert all(figure > 0 for figure in row["milliseconds"].values())
    assert [overhead.FLOOR in row["milliseconds"] for row in found["calls"]] == [False, True] * 2
    assert list(found["grown"]["seconds"]) == list(overhead.WAYS)


def test_the_same_is_printed_as_ratios_and_drawn(capsys, tmp_path):
    drawn = tmp_path / "overhead.svg"
    assert overhead.main(["--smoke", "--plot", str(drawn)]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[2].endswith(overhead.FLOOR)
    assert lines[3].split()[2] == "1.000"
    assert "Conversation" in drawn.read_text()


@pytest.mark.parametrize("measure", [overhead.sent, overhead.opened])
@pytest.mark.parametrize("kind", ["chat", "agent"])
def test_every_way_sends_the_same_messages(kind, measure):
    said = history(kind, 5)
    for way in overhead.WAYS:
        chat = overhead.Held(way, kind, said[:-1]).ready()
        transport = (chat.chat._client if way == "Conversation" else chat.client)._client._transport
        bodies = []
        transport.handler = Overheard(transport.handler, bodies)
        measure(chat)
        (body,) = bodies
        for message in body["messages"]:
            for block in message["content"]:
                block.pop("cache_control", None)

        assert body["messages"] == said
        assert body.get("stream", False) is (measure is overhead.opened)


def test_planning_is_measured_by_its_parts(capsys):
    assert planning.main(["--smoke", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)

    assert [row["messages"] for row in rows] == [1, 10, 20] * 2
    assert all(row[part] > 0 for row in rows for part in (*planning.PARTS, "whole"))


def test_planning_prints_a_table(capsys):
    assert planning.main(["--smoke"]) == 0

    assert capsys.readouterr().out.splitlines()[1].startswith("claude-opus-5")
