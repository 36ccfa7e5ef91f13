"""`convcache replay`: a recorded session sent again, with what each request read, wrote and cost.

Knows options, files and exit codes. What a transcript says is in `transcripts`, how it is sent in `reenact`, how
the outcome reads in `report`.
"""

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from convcache.terminal.transcripts import Exchange, TranscriptError, exchanges

if TYPE_CHECKING:
    from convcache.terminal.reenact import Outcome


@click.command(short_help="Send a recorded Claude Code session again and account for it.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option(
    "--platform",
    type=click.Choice(["claude", "bedrock"]),
    default="claude",
    show_default=True,
    help="Whose lookback rules the emulator follows.",
)
def replay(file: Path, *, as_json: bool, platform: Literal["claude", "bedrock"]) -> None:
    """Send the session in FILE again, a Claude Code transcript (.jsonl or .jsonl.gz), to the emulator.

    Each request goes out at its recorded time, on a virtual clock, and gets its recorded reply. The system prompt
    and the tools, which transcripts lack, are filled up to the first recorded prompt size. Tokens are counted as a
    quarter of the bytes. No request leaves this machine.

    Exit code 0: all requests were accepted; 1: some were refused; 2: FILE cannot be read.
    """
    from convcache.terminal import report  # noqa: PLC0415 - rich takes its time
    from convcache.terminal.screen import screen  # noqa: PLC0415

    outcomes = _replayed(_recorded(file), platform)
    if as_json:
        print(json.dumps(report.document(outcomes), indent=2))
    else:
        out = screen()
        for line in report.lines(outcomes):
            out.print(line)
    if any(outcome.turn is None for outcome in outcomes):
        sys.exit(1)


def _recorded(file: Path) -> list[Exchange]:
    try:
        return exchanges(file.read_bytes())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    except TranscriptError as error:
        reason = str(error)
    click.echo(f"Cannot replay {file}: {reason}.", err=True)
    sys.exit(2)


def _replayed(recorded: list[Exchange], platform: Literal["claude", "bedrock"]) -> "list[Outcome]":
    from convcache.emulator import Emulator, Settings, VirtualClock  # noqa: PLC0415
    from convcache.terminal.local import emulated  # noqa: PLC0415
    from convcache.terminal.reenact import Reenactment  # noqa: PLC0415

    clock = VirtualClock(recorded[0].at)
    emulator = Emulator(Settings(platform=platform), clock=clock)
    with emulated(emulator) as client, warnings.catch_warnings(), _progress(recorded) as steps:
        # The SDK's advice to move to a newer model is no use for a session that is over.
        warnings.simplefilter("ignore", DeprecationWarning)
        session = Reenactment(client, emulator, clock)
        return [session.play(exchange) for exchange in steps]


@contextmanager
def _progress(recorded: list[Exchange]) -> Iterator[Iterator[Exchange]]:
    """The requests, with a bar on stderr where that is a terminal."""
    from rich.progress import Progress  # noqa: PLC0415

    from convcache.terminal.screen import screen  # noqa: PLC0415

    console = screen(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        yield iter(bar.track(recorded, description="replaying"))
