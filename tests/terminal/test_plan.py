"""`convcache plan` and `convcache.plan`: a request looked at before anybody pays for it."""

import json

import pytest
from click.testing import CliRunner

import convcache
from convcache.terminal import cli

MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
REQUEST = {
    "model": "claude-opus-5",
    "max_tokens": 100,
    "cache_control": {"type": "ephemeral"},
    "tools": [{"name": "look_up", "input_schema": {"type": "object"}, **MARK}],
    "system": [{"type": "text", "text": "The rules. " * 400, **MARK}],
    "messages": [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s", **MARK}]},
        {"role": "user", "content": [{"type": "text", "text": "and now?", **HOUR}]},
    ],
}


@pytest.fixture
def request_file(tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps(REQUEST))
    return str(path)


def shown(*arguments: str, stdin: str | None = None):
    return CliRunner().invoke(cli, ["plan", *arguments], input=stdin)


def test_the_outline_shows_breakpoints_reasons_repairs_and_forecast(request_file):
    lines = shown(request_file).output.splitlines()

    assert lines[0] == "tools"
    assert "messages.0 (user)" in lines
    (border,) = [line for line in lines if "<- 1h border" in line]
    assert border.strip().startswith("text The rules.")
    assert any("<- 1h tail" in line for line in lines)
    repaired = [line for line in lines if line.startswith("repaired")]
    assert any("messages.1.content.0: the API refuses a breakpoint here" in line for line in repaired)
    assert any("system.0: 5m before an hour is refused; made 1h" in line for line in repaired)
    assert lines[-1].startswith("forecast  0 read, ")


def test_the_document_says_the_same(request_file):
    document = json.loads(shown(request_file, "--json").output)

    assert [point["slot"] for point in document["breakpoints"]] == ["border", "tail"]
    assert document["forecast"]["written_1h"] > 1_000
    assert document["forecast"]["cost"].startswith("0.0")


def test_a_request_can_come_from_a_pipe():
    assert shown("-", stdin=json.dumps(REQUEST)).exit_code == 0


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"model": "claude-opus-5"}', '{"model": "m", "messages": 3}']
)
def test_what_is_no_request_is_told_plainly(text):
    told = shown("-", stdin=text)

    assert told.exit_code == 2
    assert "no Messages request" in told.output


def test_a_file_that_is_not_there_is_told_plainly():
    told = shown("nope.json")

    assert (told.exit_code, "nope.json cannot be read: No such file" in told.output) == (2, True)


def test_a_short_request_says_why_it_gets_no_breakpoint():
    request = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}

    assert "caches nothing shorter than 4,096 tokens" in shown("-", stdin=json.dumps(request)).output


def test_the_plan_marks_the_request_and_leaves_it_as_it_was():
    before = json.dumps(REQUEST)
    body = convcache.plan(REQUEST).marked(REQUEST)

    assert json.dumps(REQUEST) == before
    assert "cache_control" not in body
    assert body["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
