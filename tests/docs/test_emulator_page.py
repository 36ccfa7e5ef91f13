"""What the emulator's page says: its examples run, and it names every switch."""

from pathlib import Path

import attrs
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import convcache.emulator
from convcache.emulator import Fault, Settings
from convcache.emulator.control import _ACTIONS, PREFIX

pytest_plugins = ["pytester"]

PAGE = Path(convcache.emulator.__file__).with_name("EMULATOR.md")


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text()


def test_its_examples_are_tests_that_pass(pytester):
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(PAGE)
    conftest, *blocks = [str(example.parsed) for example in document.examples()]
    pytester.makeconftest(conftest)
    # The settings of the last example are for that example alone.
    pytester.makepyfile(test_page="\n".join(blocks[:-1]), test_last=blocks[-1])

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=5)


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Settings)])
def test_it_names_every_setting(page, field):
    assert f"`{field}`" in page.partition("## Choices")[2].partition("## Trouble")[0]


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Fault)])
def test_it_names_everything_that_can_go_wrong(page, field):
    assert f"`{field}`" in page.partition("## Trouble")[2]


@pytest.mark.parametrize(("method", "name"), _ACTIONS)
def test_it_names_every_control(page, method, name):
    assert f"| `{method} {PREFIX}{name}` |" in page
