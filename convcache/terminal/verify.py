"""`convcache verify`: the documented rules of the cache, held against an endpoint, as a report to be pasted.

Knows options, files, progress and exit codes. What a rule is and how it is looked at is in `conformance`, how the
outcome reads in `findings`, what it costs in `spending`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from convcache import __version__

if TYPE_CHECKING:
    from convcache.conformance import Endpoint, Outcome, Rule
    from convcache.emulator.platforms import Platform
    from convcache.terminal.findings import Circumstances
    from convcache.terminal.spending import Budget

_DEFAULT_MODEL: Final = "claude-haiku-5-5"
_PER_MINUTE: Final = 10_000_000
_INTERRUPTED: Final = 130
_STEP: Final = 1.0


def _dollars(context: click.Context, parameter: click.Parameter, value: str) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise click.BadParameter(f"{value!r} is not an amount of dollars.") from None
    if not amount.is_finite() or amount <= 0:
        raise click.BadParameter(f"{value!r} is not a positive amount of dollars.")
    return amount


def _http(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if not value:
        return None
    try:
        url = urlsplit(value)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a URL: {error}.") from None
    if not valid:
        raise click.BadParameter("a base URL starts with http:// or https:// and names a host.")
    return value


@click.command(short_help="Hold an endpoint to the documented rules of the cache.")
@click.option(
    "--base-url",
    callback=_http,
    envvar="ANTHROPIC_BASE_URL",
    help="The endpoint; Anthropic's API if only a key is given.",
)
@click.option("--api-key", envvar="ANTHROPIC_API_KEY", help="The key; better left to ANTHROPIC_API_KEY.")
@click.option(
    "--model", default=_DEFAULT_MODEL, show_default=True, help="Asked where the rule leaves the choice."
)
@click.option(
    "--platform",
    type=click.Choice(["claude", "aws", "foundry", "vertex", "bedrock", "bedrock_legacy"]),
    default="claude",
    show_default=True,
    help="Whose rules to expect where platforms differ.",
)
@click.option(
    "--max-cost", default="1.00", show_default=True, callback=_dollars, help="Dollars never exceeded."
)
@click.option("--slow", is_flag=True, help="Also check what takes minutes to an hour of real waiting.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent and spent, and send nothing.")
@click.option("--only", metavar="IDS", help="These rules only: T1,T13,U5 or T32.speed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report here as well; as JSON into a file so named.",
)
def verify(
    *,
    base_url: str | None,
    api_key: str | None,
    model: str,
    platform: "Platform",
    max_cost: Decimal,
    slow: bool,
    dry_run: bool,
    only: str | None,
    as_json: bool,
    report: Path | None,
) -> None:
    """Hold a Messages endpoint to the documented rules of the prompt cache and to what they leave open.

    Without a base URL and without a key the endpoint is the emulator inside this process, whose clock is moved
    instead of waited for. With a key it is Anthropic's API: that costs money, at most what --max-cost says. Each
    rule has a prefix of its own that was never sent before, so that nothing else is disturbed.

    Exit code 0: all that was seen agrees; 1: something differs; 2: the endpoint cannot be asked, or
    nothing was seen to agree or to differ.
    """
    from convcache.terminal import findings
    from convcache.terminal.spending import Budget

    rules = _chosen(only)
    with ExitStack() as stack:
        if dry_run:
            endpoint = stack.enter_context(_in_process(platform))
        else:
            endpoint = stack.enter_context(_reached(base_url, api_key, platform))
        _check_reachable(endpoint, model)
        budget = Budget(Decimal("Infinity") if dry_run else max_cost)
        found = _found(rules, endpoint, model, platform, budget, patient=slow)
        under = _circumstances(endpoint, model, max_cost)
    if dry_run:
        waits = slow or _is_in_process(base_url, api_key)
        text, document = findings.plan(found, waits=waits), findings.planned(found, waits=waits)
    else:
        text, document = findings.lines(found, under), findings.document(found, under)
    _told("\n".join(text), json.dumps(document, indent=2), as_json=as_json, report=report)
    _leave(found)


def _chosen(only: str | None) -> "list[Rule]":
    from convcache.conformance import RULES

    asked = [name.strip().upper() for name in only.split(",")] if only is not None else None
    known = {rule.id.upper(): rule for rule in RULES}
    for name in asked or ():
        matching = [rule for id_, rule in known.items() if name in (id_, id_.partition(".")[0])]
        if not matching:
            raise click.UsageError(f"There is no rule {name!r}. The ids are T1 to T50 and U1 to U32.")
        if not any(rule.of_endpoint for rule in matching):
            raise click.UsageError(f"{name} is about convcache itself: its tests look, no endpoint is asked.")
    return [
        rule
        for id_, rule in known.items()
        if rule.of_endpoint and (asked is None or id_ in asked or id_.partition(".")[0] in asked)
    ]


@contextmanager
def _reached(base_url: str | None, api_key: str | None, platform: "Platform") -> "Iterator[Endpoint]":
    from convcache.conformance import Endpoint

    if _is_in_process(base_url, api_key):
        with _in_process(platform) as endpoint:
            yield endpoint
        return
    with Endpoint.reached(base_url, api_key or (None if _has_key(api_key) else "none")) as endpoint:
        yield endpoint


def _has_key(api_key: str | None) -> bool:
    return bool(api_key or os.environ.get("ANTHROPIC_AUTH_TOKEN"))


def _is_in_process(base_url: str | None, api_key: str | None) -> bool:
    return base_url is None and not _has_key(api_key)


@contextmanager
def _in_process(platform: "Platform") -> "Iterator[Endpoint]":
    from convcache.conformance import Endpoint
    from convcache.emulator import Emulator, EmulatorServer, Settings, VirtualClock

    # A limit far above what all rules need, so that its headers are there to be looked at.
    settings = Settings(input_tokens_per_minute=_PER_MINUTE, platform=platform)
    emulator = Emulator(settings, clock=VirtualClock())
    with EmulatorServer(emulator) as server, Endpoint.reached(server.url, "emulated") as endpoint:
        yield endpoint


def _check_reachable(endpoint: "Endpoint", model: str) -> None:
    """A count of tokens, which costs nothing, before anything that does."""
    from convcache.core import catalog

    reason = _unreachable(endpoint, model)
    if reason is None and catalog.model(model).prices is None:
        reason = f"no prices are known for {model}, so that --max-cost could not be kept"
    if reason is not None:
        click.echo(f"Cannot verify {_address(endpoint)}: {reason}", err=True)
        sys.exit(2)


def _unreachable(endpoint: "Endpoint", model: str) -> str | None:
    """Why an endpoint cannot be asked, if so."""
    from anthropic import AnthropicError

    hello: Any = {"role": "user", "content": "Hello."}
    try:
        counted: Any = endpoint.client.messages.count_tokens(model=model, messages=[hello])
    except AnthropicError as error:
        return str(error)
    except (ValueError, TypeError) as error:
        return f"it is no Messages endpoint ({error})"
    tokens = getattr(counted, "input_tokens", None)
    if isinstance(tokens, int) and not isinstance(tokens, bool):
        return None
    return "it is no Messages endpoint: asked to count tokens, it gave no number"


def _found(
    rules: "Sequence[Rule]",
    endpoint: "Endpoint",
    model: str,
    platform: str,
    budget: "Budget",
    *,
    patient: bool,
) -> "list[tuple[Rule, Outcome]]":
    """The outcomes in the order of the table; what waits is looked at last."""
    import attrs

    from convcache.conformance import Outcome, Run

    outcomes: dict[str, Outcome] = {}
    with _progress(len(rules)) as (tell, advance):
        endpoint = attrs.evolve(endpoint, pause=lambda seconds: _sleep(seconds, tell))
        run = Run(endpoint=endpoint, model=model, purse=budget, patient=patient, platform=platform)
        try:
            for rule in sorted(rules, key=lambda rule: rule.waits):
                tell(rule.id)
                outcomes[rule.id] = run.outcome(rule)
                advance()
        except KeyboardInterrupt:
            tell("interrupted")
    interrupted = Outcome(verdict="not run", observed="interrupted")
    return [(rule, outcomes.get(rule.id, interrupted)) for rule in rules]


@contextmanager
def _progress(total: int) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """A bar on stderr where that is a terminal: how to tell what goes on, and how to advance it."""
    from rich.progress import Progress

    from convcache.terminal.screen import screen

    console = screen(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("verifying", total=total)
        yield (
            lambda words: bar.update(task, description=f"verifying {words}"),
            lambda: bar.advance(task),
        )


def _sleep(seconds: float, tell: Callable[[str], None]) -> None:
    """Waits, and says how long it still takes."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        tell(f"(waiting {left:.0f} s)")
        time.sleep(min(_STEP, left))


def _circumstances(endpoint: "Endpoint", model: str, limit: Decimal) -> "Circumstances":
    import anthropic

    from convcache.terminal.findings import Circumstances

    python = python_version()
    return Circumstances(
        endpoint=f"{endpoint.kind} at {_address(endpoint)}",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=f"convcache {__version__}, anthropic {anthropic.__version__}, Python {python}",
        model=model,
        limit=limit,
    )


def _address(endpoint: "Endpoint") -> str:
    """Where it is, without what else a URL may hold."""
    url = urlsplit(str(endpoint.client.base_url))
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{url.hostname}{port}"


def _told(text: str, document: str, *, as_json: bool, report: Path | None) -> None:
    print(document if as_json else text)
    if report is None:
        return
    try:
        report.write_text(f"{document if report.suffix == '.json' else text}\n", encoding="utf-8")
    except OSError as error:
        click.echo(f"Cannot write {report}: {(error.strerror or str(error)).lower()}.", err=True)
        sys.exit(2)


def _leave(found: "Sequence[tuple[Any, Outcome]]") -> None:
    if any(outcome.observed == "interrupted" for _, outcome in found):
        sys.exit(_INTERRUPTED)
    verdicts = {outcome.verdict for _, outcome in found}
    if "differ" in verdicts:
        sys.exit(1)
    if "agree" not in verdicts:
        click.echo("Nothing was seen to agree or to differ.", err=True)
        sys.exit(2)
