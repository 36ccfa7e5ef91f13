"""A chat in a pipe, and in a real terminal."""

import os
import re
import subprocess
import sys
from datetime import timedelta

import pytest
from click.testing import CliRunner

from convcache.emulator import Emulator, EmulatorServer, Settings
from convcache.emulator.faults import Fault
from convcache.terminal import cli

TURN = re.compile(r"^cache: ([\d,]+) read, ([\d,]+) written, ([\d,]+) uncached \| (.*)$", re.MULTILINE)


def turns(output: str) -> list[tuple[int, int, int]]:
    return [tuple(int(n.replace(",", "")) for n in found[:3]) for found in TURN.findall(output)]


def test_in_a_pipe_each_line_is_a_turn_and_the_second_reads_what_the_first_wrote(command):
    done = command("chat", said="hello\nmore\n")

    first, second = turns(done.stdout)
    assert (done.exit_code, first[0]) == (0, 0)
    assert first[1] > 768
    assert second[0] == first[1]
    assert "emulator" in done.stderr
    assert done.stderr.count("\n") == 1
    assert ">" not in done.stdout.replace("instead", "")
    assert "\x1b" not in done.stdout + done.stderr


def test_commands_work_in_a_pipe_and_empty_lines_are_ignored(command):
    done = command(
        "chat", said="/cache\n\nhello\n/cache\n/COST\n/nonsense\n/etc/hosts, what is it?\n/quit\nx\n"
    )

    assert done.exit_code == 0
    assert len(turns(done.stdout)) == 2
    assert "Nothing is cached yet" in done.stdout
    assert re.search(r"^cached +[\d,]+ tokens", done.stdout, re.MULTILINE)
    assert re.search(r"^lapses +in 4m 5\ds", done.stdout, re.MULTILINE)
    assert re.search(r"^saved +-\$0\.00\d\d \(-\d+%\)", done.stdout, re.MULTILINE)
    assert "There is no command /nonsense. /help lists the commands." in done.stderr


def test_a_fork_stays_out_of_the_conversation_it_came_from(command, emulator, url):
    command("chat", "--base-url", url, said="one\n/fork\ntwo\n/back\nthree\n/back\n")

    said = [
        [m["content"][0]["text"] for m in r.body["messages"] if m["role"] == "user"]
        for r in emulator.requests
    ]
    assert said == [["one"], ["one", "two"], ["one", "three"]]
    assert [record.hit is not None for record in emulator.requests] == [False, True, True]


def test_options_reach_the_request(command, emulator, url, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Be brief.")
    options = [
        "--base-url",
        url,
        "--model",
        "claude-haiku-4-5",
        "--system",
        f"@{prompt}",
        "--max-tokens",
        "9",
    ]

    done = command("chat", *options, said="hello\n")

    (record,) = emulator.requests
    assert (record.body["model"], record.body["max_tokens"]) == ("claude-haiku-4-5", 9)
    assert [block["text"] for block in record.body["system"]] == ["Be brief."]
    assert done.stderr == ""


def test_a_system_prompt_that_cannot_be_read_is_a_plain_error(command):
    done = command("chat", "--system", "@nowhere.txt")

    assert done.exit_code == 2
    assert "cannot read nowhere.txt" in done.stderr


def test_an_error_of_the_api_is_one_plain_line_and_the_chat_goes_on(command, emulator, url):
    emulator.fail(Fault(status=403), Fault(cut_after=3))

    done = command("chat", "--base-url", url, said="one\ntwo\nthree\n")

    assert done.exit_code == 1
    assert len(turns(done.stdout)) == 1
    refused, broken = done.stderr.splitlines()
    assert refused == "The API answered 403: Emulated error 403"
    assert broken.startswith("The connection broke off: ")
    assert [len(record.body["messages"]) for record in emulator.requests] == [1, 1, 1]


def test_a_refused_turn_is_forgotten_so_that_the_chat_goes_on(command, emulator, url):
    emulator.script({"content": "No.", "stop_reason": "refusal"})

    done = command("chat", "--base-url", url, said="one\ntwo\n")

    assert (done.exit_code, len(turns(done.stdout))) == (0, 2)
    assert "The model refused" in done.stdout
    assert len(emulator.requests[1].body["messages"]) == 1


def test_an_answer_that_was_cut_off_says_how_to_get_a_longer_one(command, url):
    done = command("chat", "--base-url", url, "--max-tokens", "5", said="hello\n")

    assert "--max-tokens allows longer ones" in done.stdout


def test_with_a_key_the_chat_talks_to_the_api(emulator, url):
    environment = {"ANTHROPIC_API_KEY": "made-up", "ANTHROPIC_BASE_URL": url}

    done = CliRunner().invoke(cli, ["chat"], input="hello\n", env=environment)

    assert (done.stderr, len(emulator.requests)) == ("", 1)


def test_the_command_answers_a_pipe():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC")}
    done = subprocess.run(
        [sys.executable, "-m", "convcache", "chat"],
        input="hello\nmore\n",
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )

    first, second = turns(done.stdout)
    assert second[0] == first[1]
    assert "\x1b" not in done.stdout + done.stderr


def test_a_terminal_counts_down_to_the_moment_when_the_cache_lapses(terminal):
    screen = terminal("chat")
    assert screen.shows("You talk with claude-opus-5")
    assert screen.shows(">")
    assert not screen.shows("lapse", within=0.6)

    screen.press("hello\r")

    assert screen.shows(r"\x1b\[2mcache: 0 read, ")
    assert screen.shows(r"cache lapses in (5:00|4:5\d)")
    # Only what changed is drawn again.
    assert screen.shows(r"\d", within=3)
    screen.press("/cost\r")
    assert screen.shows(r"saved +-\$")
    screen.press("/fork\r")
    assert screen.shows("You are in a fork")
    assert screen.shows("fork >")
    screen.press("\x03")
    assert screen.shows("/quit or Ctrl-D ends the chat")
    assert screen.shows("fork >")
    screen.press("\x04")
    assert screen.exit_code() == 0


@pytest.fixture
def slow():
    """An API whose answers take their time."""
    with EmulatorServer(Emulator(Settings(chunk_delay=timedelta(seconds=0.1)))) as server:
        yield server


def test_ctrl_c_during_an_answer_cancels_that_answer_only_also_without_colour(terminal, slow):
    screen = terminal("chat", "--base-url", slow.url, NO_COLOR="1")
    assert screen.shows(">")
    screen.press("how long does the cache live?\r")
    assert screen.shows(r"\r\n\w+ ")

    screen.press("\x03")

    assert screen.shows(
        r"Cancelled: the chat is as it was before your message. \$0\.01\d\d was billed for it"
    )
    slow.emulator.script({"content": "Fine."})
    screen.press("hello\r")
    assert screen.shows("Fine.")
    assert screen.shows("cache: [1-9]")
    assert [len(record.body["messages"]) for record in slow.emulator.requests] == [1, 1]
    screen.press("/quit\r")
    assert screen.exit_code() == 0
    styles = re.findall(r"\x1b\[([\d;]+)m", screen.raw)
    assert not [style for style in styles if set(style.split(";")) - {"0"}]
