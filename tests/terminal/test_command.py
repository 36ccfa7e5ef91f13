"""The command itself: help, version, the extra it needs, and the emulator as a server."""

import re
import subprocess
import sys

import pytest

import convcache


def test_help_lists_the_commands_and_loads_nothing_heavy():
    script = (
        "import sys; from click.testing import CliRunner; from convcache.terminal import cli;"
        "print(CliRunner().invoke(cli, ['--help']).stdout);"
        "print([name for name in ('prompt_toolkit', 'uvicorn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    for name in ("chat", "replay", "emulate", "verify"):
        assert f"  {name} " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["chat", "replay", "emulate", "verify"])
def test_every_command_has_help(command, name):
    done = command(name, "--help")

    assert done.exit_code == 0
    assert "Usage: convcache " + name in done.stdout


def test_the_version_is_the_package_s(command):
    assert command("--version").stdout.split()[-1] == convcache.__version__


@pytest.mark.parametrize(
    ("module", "package"),
    [("click", "click"), ("uvicorn", "uvicorn")],
)
def test_without_its_extra_the_command_says_what_to_install(module, package):
    """Importing convcache itself needs no extra."""
    script = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['convcache', 'chat'];"
        "import convcache; from convcache.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input="", capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"This needs the package {package!r}, which is not installed. Run: pip install 'convcache[terminal]'"
    )


def test_emulate_says_first_where_it_listens_and_stops_when_told():
    server = subprocess.Popen(
        [sys.executable, "-m", "convcache", "emulate", "--virtual-clock", "--platform", "bedrock"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    first = server.stdout.readline()
    server.terminate()
    server.communicate(timeout=10)

    assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+\n", first)
    assert server.returncode == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "--allow-remote"),
        (["--virtual-clock", "--clock-speed", "9"], "has no speed"),
        (["--clock-speed", "0"], "'--clock-speed'"),
    ],
)
def test_emulate_refuses_what_makes_no_sense(command, options, said):
    done = command("emulate", *options)

    assert done.exit_code == 2
    assert said in done.stderr
