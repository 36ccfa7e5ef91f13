"""Where the lines of a chat come from: somebody typing, with a countdown below, or a pipe.

Knows terminals. Must not know what a line means.
"""

import sys
from collections.abc import Callable, Iterator

from prompt_toolkit import PromptSession
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.styles import Style

_QUIET = Style.from_dict({"bottom-toolbar": "noreverse", "bottom-toolbar.text": "noreverse dim"})
_PLAIN = Style.from_dict({"bottom-toolbar": "noreverse", "bottom-toolbar.text": "noreverse"})
_SECONDS_BETWEEN_LOOKS = 0.5


def typed(
    mark: Callable[[], str], below: Callable[[], str], hint: Callable[[], None], *, plain: bool
) -> Iterator[str]:
    """What somebody types, line by line, until Ctrl-D. Nothing of it is kept when the chat ends.

    Args:
        mark: What stands before the input.
        below: What stands below it, looked at anew twice a second.
        hint: Called when Ctrl-C is pressed on an empty line.
        plain: Whether to leave out all decoration.
    """
    session: PromptSession[str] = PromptSession(history=InMemoryHistory(), style=_PLAIN if plain else _QUIET)
    while True:
        toolbar = below if below() else None
        try:
            yield session.prompt(mark(), bottom_toolbar=toolbar, refresh_interval=_SECONDS_BETWEEN_LOOKS)
        except EOFError:
            return
        except KeyboardInterrupt:
            if not session.default_buffer.text:
                hint()


def piped() -> Iterator[str]:
    """The lines of stdin as they come."""
    while line := sys.stdin.readline():
        yield line
