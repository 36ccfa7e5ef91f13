"""Where output goes: plain text, dimmed and coloured only where a terminal shows it, broken between words there.

Knows streams and the environment's wishes. Must not know what is said.
"""

import os
import re
from typing import Final

from rich.cells import cell_len
from rich.console import Console

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LONGEST_HELD_BACK: Final = 30


def is_plain() -> bool:
    """Whether somebody wants neither colours nor other decoration."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def screen(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr. `NO_COLOR`, `TERM=dumb` and anything but a terminal get plain text."""
    console = Console(
        stderr=stderr,
        color_system=None if is_plain() else "auto",
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.soft_wrap = not console.is_terminal
    return console


def printable(text: str) -> str:
    """The text without what would steer the terminal: somebody else wrote it."""
    return _CONTROLS.sub("", text)


class Flow:
    """Text that arrives in pieces, shown at once, and on a terminal broken between words.

    Args:
        console: Where it is shown.

    Attributes:
        has_begun: Whether any of it has arrived.
    """

    def __init__(self, console: Console) -> None:
        self._file = console.file
        self._width = console.width if console.is_terminal else None
        self._column = 0
        self._word = ""
        self.has_begun = False

    def add(self, text: str) -> None:
        """Show more of it. A word is held back until it is known where it ends."""
        text = printable(text)
        self.has_begun = True
        if self._width is None:
            self._file.write(text)
        else:
            for character in text:
                self._take(character, self._width)
        self._file.flush()

    def end(self) -> None:
        """Show what is held back, and end the line."""
        self._show_word(self._width or 0)
        self._file.write("\n")
        self._file.flush()

    def _take(self, character: str, width: int) -> None:
        if not character.isspace():
            self._word += character
            # Some languages put no spaces between words.
            if len(self._word) >= _LONGEST_HELD_BACK:
                self._show_word(width)
            return
        self._show_word(width)
        if character == "\n":
            self._file.write(character)
            self._column = 0
        elif self._column < width:
            self._file.write(" ")
            self._column += 1

    def _show_word(self, width: int) -> None:
        size = cell_len(self._word)
        if self._column and self._column + size > width:
            self._file.write("\n")
            self._column = 0
        self._file.write(self._word)
        self._column += size
        self._word = ""
