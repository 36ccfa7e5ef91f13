"""`convcache replay`: recorded traffic lived through again, with what it costs, and what it would under a policy.

Knows options, files and exit codes. What a transcript says is in `transcripts`, how it is sent in `reenact`, how
the outcome reads in `report`; traces of requests are read in `traffic`, and compared in `compare`.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from convcache.errors import MissingExtraError
from convcache.terminal.transcripts import Exchange, TranscriptError, exchanges

if TYPE_CHECKING:
    from convcache.terminal.compare import Comparison, Terms
    from convcache.terminal.reenact import Outcome
    from convcache.terminal.traffic import Corpus

_PLOTS: Final = (".svg", ".png")


def _policies(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str] | None:
    from convcache.terminal.compare import parsed

    try:
        return None if value is None else parsed(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _plot(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix not in _PLOTS:
        raise click.BadParameter(f"a plot is written as {' or '.join(_PLOTS)}, not as {value.name!r}.")
    return value


@click.command(short_help="Account for recorded traffic, as it was or under other policies.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option(
    "--platform",
    type=click.Choice(["claude", "bedrock"]),
    default="claude",
    show_default=True,
    help="Whose lookback rules the emulator follows. Without --policy only.",
)
@click.option(
    "--policy",
    "policies",
    metavar="A,B,...",
    callback=_policies,
    help="Play the traffic under these policies and compare what they cost.",
)
@click.option(
    "--plot", metavar="FILE.svg|png", type=click.Path(path_type=Path), callback=_plot, help="Draw it, too."
)
@click.option(
    "--read-price",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="R",
    help="What a read costs, in units of the input price.  [default: what each model's does]",
)
@click.option(
    "--mixed-ttl",
    type=click.Choice(["stands", "lapses"]),
    default="stands",
    show_default=True,
    help="Whether an hour written above an entry of five minutes stands by itself, or lapses with it.",
)
@click.option(
    "--first",
    type=click.IntRange(min=1),
    metavar="N",
    help="Count the first N requests of each repository only.",
)
@click.option(
    "--by", type=click.Choice(["corpus", "repository"]), default="corpus", help="What --json lists."
)
@click.option("--in-sample", is_flag=True, help="Let adaptive start from what was fitted on the same trace.")
def replay(
    files: tuple[Path, ...],
    *,
    as_json: bool,
    platform: Literal["claude", "bedrock"],
    policies: list[str] | None,
    plot: Path | None,
    read_price: float | None,
    mixed_ttl: Literal["stands", "lapses"],
    first: int | None,
    by: Literal["corpus", "repository"],
    in_sample: bool,
) -> None:
    """Send a recorded session again, or play recorded traffic under other policies. No request leaves this machine.

    Without --policy, FILE is one Claude Code transcript (.jsonl or .jsonl.gz). Each request goes to the emulator at
    its recorded time, on a virtual clock, and gets its recorded reply. The system prompt and the tools, which
    transcripts lack, are filled up to the first recorded prompt size. Tokens are counted as a quarter of the bytes.

    With --policy, each FILE is a transcript or a trace: rows of JSON with the size and time of requests, as billed
    (t_req), as seen by a proxy (lcp_prev) or as served to a chat (hash_ids); or a folder of them. They are played
    against the emulator's cache, and compared by what their prompts cost; the tokens of replies cost the same under
    any policy and are left out. The policies:

    \b
    none                 nothing is cached
    automatic            the tail is written for five minutes
    automatic-1h         the tail is written for an hour
    5m+N                 automatic, and up to N keep-alives in every pause
    adaptive             convcache's: what pays by what was learned so far
    adaptive-no-upgrade  the same without an hour above five minutes, which is undocumented
    experienced          the same by what all other conversations of the trace showed
    clairvoyant          the least possible, with all pauses known beforehand

    Exit code 0: all requests were accepted; 1: some were refused; 2: FILE cannot be read.
    """
    if policies is not None:
        from convcache.terminal.compare import Terms

        terms = Terms(read_price=read_price, mixed_ttl=mixed_ttl, first=first, in_sample=in_sample)
        _compare(files, policies, terms, as_json=as_json, by=by, plot=plot)
        return
    if len(files) > 1:
        raise click.UsageError(
            "several files are compared under a --policy; without one, replay takes one transcript."
        )
    _send_again(files[0], platform, as_json=as_json)


def _send_again(file: Path, platform: Literal["claude", "bedrock"], *, as_json: bool) -> None:
    from convcache.terminal import report
    from convcache.terminal.screen import screen

    outcomes = _replayed(_recorded(file), platform)
    if as_json:
        print(json.dumps(report.document(outcomes), indent=2))
    else:
        out = screen()
        for line in report.lines(outcomes):
            out.print(line)
    if any(outcome.turn is None for outcome in outcomes):
        sys.exit(1)


def _compare(
    files: tuple[Path, ...],
    policies: list[str],
    terms: "Terms",
    *,
    as_json: bool,
    by: Literal["corpus", "repository"],
    plot: Path | None,
) -> None:
    from convcache.terminal import compare

    found = list(_traffic(files))
    requests = sum(len(recorded.requests) for each in found for recorded in each.conversations)
    comparisons: list[Comparison] = []
    with _bar(requests * len(policies)) as advance:
        for each in found:
            comparisons.append(compare.compared(each, policies, terms, advance))
    if as_json:
        listed = compare.documents_by_repository if by == "repository" else compare.document
        print(json.dumps(listed(comparisons), indent=2))
    else:
        print("\n\n\n".join("\n".join(compare.lines(each)) for each in comparisons))
    if plot is not None:
        _draw(comparisons, plot)


def _traffic(files: tuple[Path, ...]) -> "Iterator[Corpus]":
    """The traffic in the files, and in what folders hold of it."""
    from convcache.terminal.traffic import TrafficError, corpus

    names: set[str] = set()
    for file in files:
        inside = sorted(path for path in file.iterdir() if path.is_file()) if file.is_dir() else [file]
        for path in inside:
            name = path.name.split(".")[0]
            try:
                found = corpus(str(path) if name in names else name, path.read_bytes())
            except (OSError, TrafficError) as error:
                reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
                if path == file:
                    click.echo(f"Cannot replay {path}: {reason}.", err=True)
                    sys.exit(2)
                click.echo(f"Left out {path}: {reason}.", err=True)
                continue
            names.add(found.name)
            yield found
    if not names:
        click.echo(f"Cannot replay {files[0]}: there is no traffic in it.", err=True)
        sys.exit(2)


def _draw(comparisons: "list[Comparison]", path: Path) -> None:
    from convcache.terminal import compare

    try:
        compare.plot(comparisons, str(path))
    except ImportError as error:
        click.echo(str(MissingExtraError("plot", missing=(error.name or "").partition(".")[0])), err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"Cannot write {path}: {(error.strerror or str(error)).lower()}.", err=True)
        sys.exit(2)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """How to tell that steps are done: a bar on stderr where that is a terminal."""
    from rich.progress import Progress

    from convcache.terminal.screen import screen

    console = screen(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("playing", total=total)
        yield lambda steps: bar.advance(task, steps)


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
    from convcache.emulator import Emulator, Settings, VirtualClock
    from convcache.terminal.local import emulated
    from convcache.terminal.reenact import Reenactment

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
    from rich.progress import Progress

    from convcache.terminal.screen import screen

    console = screen(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        yield iter(bar.track(recorded, description="replaying"))
