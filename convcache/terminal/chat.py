"""`convcache chat`: talk to Claude and watch the cache.

Knows options and whom to talk to: the API, or the emulator inside this process.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from anthropic import Anthropic

    from convcache.terminal.session import Chat

_KEYS: Final = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
_NO_KEY: Final = "No ANTHROPIC_API_KEY is set: an emulator makes up the answers. Nothing leaves this machine, no cost is real."
_HINT: Final = "/quit or Ctrl-D ends the chat."
_TYPING_SPEED: Final = timedelta(milliseconds=20)


def _system(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """A system prompt, or the text of the file it names."""
    if value is None or not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot read {value[1:]}: {error}") from None


@click.command(short_help="Talk to Claude and watch the cache.")
@click.option("--model", default="claude-opus-5", show_default=True, help="The model to talk to.")
@click.option(
    "--system",
    callback=_system,
    metavar="TEXT|@FILE",
    help="The system prompt.  [default: a guide to convcache]",
)
@click.option("--base-url", envvar="ANTHROPIC_BASE_URL", help="Where the API is.  [default: the Claude API]")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), default=4096, show_default=True, help="The longest answer."
)
def chat(*, model: str, system: str | None, base_url: str | None, max_tokens: int) -> None:
    """Talk to Claude. After each answer a line tells what the turn read from the cache, wrote and cost.

    With ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN set, or a --base-url, the chat talks to the API there; without, to
    an emulator inside this process. Type /help in the chat for its commands. In a pipe each line is a turn:

        printf 'hello\\nmore\\n' | convcache chat

    Exit code 1 if a turn failed in a pipe.
    """
    from convcache import Conversation
    from convcache.books import utc_now
    from convcache.terminal.guide import GUIDE
    from convcache.terminal.screen import screen
    from convcache.terminal.session import Chat

    out, err = screen(), screen(stderr=True)
    with _client(base_url) as (client, is_emulated):
        if is_emulated:
            err.print(_NO_KEY, style="dim")
        conversation = Conversation(
            client, model=model, max_tokens=max_tokens, system=GUIDE if system is None else system
        )
        if _is_terminal():
            out.print(f"You talk with {model}. /help lists the commands, Ctrl-D ends the chat.", style="dim")
        talk = Chat(conversation, out, err, utc_now, patient=_is_terminal())
        _talk(talk)
    if talk.failed and not _is_terminal():
        sys.exit(1)


def _talk(talk: "Chat") -> None:
    from convcache.terminal import lines
    from convcache.terminal.screen import is_plain

    def mark() -> str:
        return f"{'fork ' * talk.forks}> "

    source = lines.piped()
    if _is_terminal():
        source = lines.typed(mark, talk.countdown, lambda: print(_HINT), plain=is_plain())
    for line in source:
        talk.take(line)
        if talk.is_over:
            return


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextmanager
def _client(base_url: str | None) -> "Iterator[tuple[Anthropic, bool]]":
    from anthropic import Anthropic

    has_key = any(os.environ.get(name) for name in _KEYS)
    if has_key or base_url:
        # The SDK wants some key, also where the server at the base URL does not.
        yield Anthropic(base_url=base_url, api_key=None if has_key else "none"), False
        return
    from convcache.emulator import Emulator, Settings
    from convcache.terminal.local import emulated

    pace = _TYPING_SPEED if _is_terminal() else timedelta(0)
    with emulated(Emulator(Settings(chunk_delay=pace))) as client:
        yield client, True
