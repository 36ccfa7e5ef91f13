"""What the README shows, runs."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from convcache.emulator import Emulator, Settings, VirtualClock

ROOT = Path(__file__).parents[2]

FRAMEWORKS = ("pydantic_ai", "langchain_anthropic")


def framework(example: Example) -> str | None:
    """What a code block needs an extra for."""
    return next((name for name in FRAMEWORKS if name in str(example.parsed)), None)


@pytest.fixture
def emulator() -> Emulator:
    """On a clock that stands still, batches end at once."""
    return Emulator(Settings(batch_delay=timedelta(0)), clock=VirtualClock())


@pytest.fixture(scope="module")
def document() -> Document:
    return Sybil(parsers=[PythonCodeBlockParser()]).parse(ROOT / "README.md")


@pytest.fixture
def api_in_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "made-up")
    return


def test_its_code_blocks_run_in_order(document, api_in_the_environment, capsys):
    examples = [example for example in document.examples() if framework(example) is None]
    for example in examples:
        example.evaluate()

    assert len(examples) == 10
    told = capsys.readouterr().out
    assert "tokens read," in told
    assert "the prompts should cost" in told
    assert "\npaid " in told


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_its_code_blocks_for_frameworks_run(document, api_in_the_environment, capsys, emulator, name):
    pytest.importorskip(name, reason="needs an extra of its own")
    first, *examples = document.examples()
    first.evaluate()
    sent = len(emulator.requests)
    (example,) = [example for example in examples if framework(example) == name]
    example.evaluate()

    assert [request.status for request in emulator.requests[sent:]] == [200]
    assert "cache_control" in str(emulator.requests[-1].body)


def test_it_gives_exactly_two_commands():
    text = (ROOT / "README.md").read_text()

    assert [block.split("```")[0].count("\n") for block in text.split("```sh\n")[1:]] == [1, 1]


def test_the_checks_call_its_test_command():
    command = (ROOT / "README.md").read_text().split("```sh\n")[2].split("\n")[0]

    assert command in (ROOT / ".ci" / "run").read_text()
