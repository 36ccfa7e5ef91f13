"""The entry point of the `convcache` command. Says what to install where the extra it needs is missing."""

import sys
from typing import Final

from convcache.errors import MissingExtraError

_PACKAGES: Final = {
    "click": "click",
    "prompt_toolkit": "prompt-toolkit",
    "rich": "rich",
    "starlette": "starlette",
    "uvicorn": "uvicorn",
}


def main() -> None:
    """Run the command line."""
    try:
        from convcache.terminal import cli  # noqa: PLC0415 - its packages come with an extra

        cli(prog_name="convcache")
    except ImportError as error:
        package = _PACKAGES.get((error.name or "").partition(".")[0])
        # The emulator tells of a missing package in its own words, with the import's error as the cause.
        if package is None and isinstance(error.__cause__, ImportError):
            package = _PACKAGES.get((error.__cause__.name or "").partition(".")[0])
        if package is None:
            raise
        print(MissingExtraError("terminal", missing=package), file=sys.stderr)  # noqa: T201 - the command's own output
        sys.exit(2)


if __name__ == "__main__":
    main()
