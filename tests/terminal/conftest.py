"""A Claude Code session as somebody might have recorded it, a command to run, and a terminal to run it in."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from convcache.terminal import cli

MODEL = "claude-opus-5"
NO_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL")
CONVCACHE = [sys.executable, "-m", "convcache"]


def environment(**changes: str) -> dict[str, str]:
    """The tests' environment without what would lead to the real API or to colours."""
    kept = {k: v for k, v in os.environ.items() if k not in {*NO_KEYS, "NO_COLOR", "FORCE_COLOR", "TERM"}}
    return {**kept, "TERM": "xterm-256color", **changes}


@pytest.fixture
def command() -> Callable[..., Result]:
    """Runs `convcache` in this process, with arguments and input."""

    def run(*arguments: str, said: str = "") -> Result:
        return CliRunner().invoke(
            cli, arguments, input=said, env=dict.fromkeys(NO_KEYS), prog_name="convcache"
        )

    return run


class Terminal:
    """A terminal with `convcache` running in it, and a keyboard."""

    def __init__(self, *arguments: str, **changes: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self._process = subprocess.Popen(
            [*CONVCACHE, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(**changes),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - Ctrl-C needs it
        )
        os.close(theirs)
        self.raw = ""
        self._seen = 0

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def shows(self, expected: str, *, within: float = 10) -> bool:
        """Waits until something is shown after what was looked for before."""
        deadline = time.monotonic() + within
        while not (found := re.compile(expected).search(self.raw, self._seen)):
            left = deadline - time.monotonic()
            if left <= 0 or not self._read(left):
                return False
        self._seen = found.end()
        return True

    def _read(self, patience: float) -> bool:
        if not select.select([self._ours], [], [], patience)[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:
            return False
        self.raw += data.decode(errors="replace")
        # A terminal tells where its cursor is when it is asked.
        if b"\x1b[6n" in data:
            self.press("\x1b[5;1R")
        return bool(data)

    def exit_code(self, *, within: float = 10) -> int | None:
        """Waits until the command has ended, and takes in what it shows until then."""
        deadline = time.monotonic() + within
        while self._process.poll() is None and time.monotonic() < deadline:
            self._read(0.05)
        return self._process.returncode

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Opens terminals."""
    opened: list[Terminal] = []

    def open_(*arguments: str, **changes: str) -> Terminal:
        opened.append(Terminal(*arguments, **changes))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


class Recording:
    """Writes a transcript the way Claude Code does: a line per block, each with its parent."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.now = datetime(2026, 1, 21, 15, 30, tzinfo=UTC)
        self.last: str | None = None

    def after(self, **time: float) -> "Recording":
        self.now += timedelta(**time)
        return self

    def writes(self, kind: str, parent: str | None = "last", **record: Any) -> str:
        uuid = f"line-{len(self.lines)}"
        self.lines.append(
            {
                "type": kind,
                "uuid": uuid,
                "parentUuid": self.last if parent == "last" else parent,
                "timestamp": self.now.isoformat().replace("+00:00", "Z"),
                **record,
            }
        )
        self.last = uuid
        return uuid

    def says(self, *content: Any, parent: str | None = "last", **record: Any) -> str:
        blocks = content[0] if len(content) == 1 and isinstance(content[0], str) else list(content)
        return self.writes("user", parent, message={"role": "user", "content": blocks}, **record)

    def replies(
        self, id_: str, *blocks: Any, model: str = MODEL, prompt: int = 6000, parent: str | None = "last"
    ) -> list[str]:
        """Each block is a line; all repeat the usage of the prompt."""
        uuids = []
        for block in blocks:
            usage = {"input_tokens": prompt, "output_tokens": 7 + len(uuids)}
            message = {"id": id_, "role": "assistant", "model": model, "content": [block], "usage": usage}
            uuids.append(self.writes("assistant", parent if not uuids else "last", message=message))
        return uuids

    def returns(self, call: str, *, to: str, text: str = "done") -> str:
        return self.says({"type": "tool_result", "tool_use_id": call, "content": text}, parent=to)

    @property
    def text(self) -> str:
        return "// a recording\n" + "".join(json.dumps(line) + "\n" for line in self.lines)

    def saved(self, folder: Path) -> str:
        path = folder / "session.jsonl"
        path.write_text(self.text)
        return str(path)


@pytest.fixture
def recording() -> Recording:
    return Recording()
