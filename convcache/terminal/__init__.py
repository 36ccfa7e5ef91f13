"""The `convcache` command: chat, replay, plan, emulate and verify.

Knows the names of the commands. Each one is loaded when it is asked for, and loads what is heavy when it runs.
"""

from importlib import import_module
from typing import Final

import click

from convcache import __version__

_COMMANDS: Final = ("chat", "replay", "plan", "emulate", "verify")


class _Commands(click.Group):
    """Commands that live in the module of their name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"convcache.terminal.{cmd_name}"), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="convcache")
def cli() -> None:
    """Keep a Claude conversation's prompt cache placed right, and see what it saves."""
