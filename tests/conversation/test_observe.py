"""What an application sees in its logs."""

import logging

import pytest
import structlog
from structlog.testing import capture_logs

from convcache import Conversation
from tests.words import GUIDE, MODEL


@pytest.fixture
def configured():
    structlog.configure()
    yield
    structlog.reset_defaults()


def test_a_turn_is_one_line_for_an_application_that_uses_structlog(client, configured):
    with capture_logs() as lines:
        Conversation(client, model=MODEL, max_tokens=50, system=GUIDE).send("a secret question")

    (line,) = lines
    assert (line["event"], line["log_level"], line["read"], line["kept"]) == ("turn_settled", "info", 0, True)
    assert line["written_5m"] > 5_000
    assert "secret" not in str(line)


def test_it_goes_to_logging_where_structlog_is_not_configured(client, caplog):
    with caplog.at_level(logging.INFO, logger="convcache"):
        Conversation(client, model=MODEL, max_tokens=50, system=GUIDE).send("hello")

    assert "turn_settled read=0 written_5m=" in caplog.text


def test_nothing_is_printed_for_an_application_that_set_up_neither(client, capfd):
    Conversation(client, model=MODEL, max_tokens=50, system=GUIDE).send("hello")

    assert capfd.readouterr() == ("", "")


def test_an_application_whose_logging_fails_still_gets_its_reply(client):
    def explode(*_: object) -> None:
        raise RuntimeError

    assert Conversation(client, model=MODEL, max_tokens=50, on_event=explode).send("hello").content
