"""`convcache emulate`: the emulator as a server.

Knows options. Must not know what is served; `convcache.emulator` does.
"""

import json
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from convcache.emulator.faults import Fault

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


def _faults(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> "list[Fault]":
    from convcache.emulator.faults import fault_from

    try:
        return [fault_from(json.loads(value)) for value in values]
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error)) from None


def _object(_context: click.Context, _parameter: click.Parameter, value: str) -> dict[str, Any]:
    """Settings as JSON, already looked at by themselves."""
    from convcache.emulator.settings import settings_from

    try:
        given: dict[str, Any] = json.loads(value)
        settings_from(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return given


def _delay(name: str, help_: str, *, default: float = 0) -> Callable[[_Command], _Command]:
    """An option in seconds, for a setting of its name."""
    return click.option(
        name,
        type=click.FloatRange(0),
        default=default,
        metavar="SECONDS",
        callback=lambda _ctx, _param, seconds: _finite(seconds),
        help=help_,
    )


@click.command(short_help="Serve the emulated API on this machine.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one."
)
@click.option("--virtual-clock", is_flag=True, help="Time stands still until POST /_emulator/clock moves it.")
@click.option(
    "--clock-speed",
    type=click.FloatRange(0, 1_000_000, min_open=True),
    default=1,
    show_default=True,
    callback=lambda _ctx, _param, speed: _finite(speed),
    help="Seconds that pass in a real one.",
)
@click.option(
    "--platform",
    type=click.Choice(["claude", "aws", "foundry", "vertex", "bedrock", "bedrock_legacy"]),
    default="claude",
    show_default=True,
    help="Whose rules to follow.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Makes replies, ids and luck repeatable."
)
@_delay("--first-token-delay", "How long until a response starts.")
@_delay("--chunk-delay", "How long between the events of a stream.")
@_delay("--batch-delay", "How long until a batch has ended; a minute if not given.", default=60)
@click.option("--input-tokens-per-minute", type=click.IntRange(1), help="A rate limit; cache reads are free.")
@click.option(
    "--miss-rate",
    type=click.FloatRange(0, 1),
    default=0,
    callback=lambda _ctx, _param, share: _finite(share),
    help="Share of requests that find nothing in the cache.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="JSON",
    callback=_faults,
    help='What goes wrong with the next request, as {"status": 529}; once for each request.',
)
@click.option(
    "--settings",
    "chosen",
    default="{}",
    metavar="JSON",
    callback=_object,
    help='Any field of Settings, as {"strict_strings": true}, durations in seconds; before the options above.',
)
@click.option("--allow-remote", is_flag=True, help="Allow a host that other machines can reach.")
def emulate(
    *,
    host: str,
    port: int,
    virtual_clock: bool,
    clock_speed: float,
    faults: "list[Fault]",
    miss_rate: float,
    chosen: dict[str, Any],
    allow_remote: bool,
    **options: Any,
) -> None:
    """Serve the emulated Messages API and its prompt cache until interrupted.

    The first line printed is `listening on http://HOST:PORT`; that is the base URL for a client, which needs some
    API key, any will do. More can go wrong on demand later: see POST /_emulator/faults.
    """
    from convcache.emulator import Emulator, SystemClock, VirtualClock, serve
    from convcache.emulator.settings import settings_from

    if virtual_clock and clock_speed != 1:
        raise click.UsageError("A virtual clock has no speed: choose --virtual-clock or --clock-speed.")
    try:
        settings = settings_from({"best_effort_miss_rate": miss_rate, **options, **chosen})
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        clock = VirtualClock() if virtual_clock else SystemClock(speed=clock_speed)
        emulator = Emulator(settings, clock=clock)
        emulator.fail(*faults)
        serve(emulator, host=host, port=port, allow_remote=allow_remote)
    except (ValueError, OSError) as error:
        click.echo(f"Cannot serve on {host}:{port}: {error}", err=True)
        sys.exit(2)
