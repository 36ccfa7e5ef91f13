"""Whoever asks an endpoint: what is booked when only some of several requests succeed."""

from decimal import Decimal

import attrs
import pytest

from convcache.conformance import Probe
from convcache.conformance.outcome import CannotTell
from convcache.conformance.words import user
from convcache.terminal.spending import Budget

BAD = {"messages": [user("Hello.")], "temperature": 7}
GOOD = {"messages": [user("Hello.")]}


@pytest.mark.parametrize("virtual", [True, False])
def test_replies_beside_a_refused_one_are_booked(reached, virtual):
    endpoint = attrs.evolve(reached(), virtual=virtual)
    probe = Probe(endpoint=endpoint, purse=Budget(Decimal(1)))
    with pytest.raises(CannotTell, match="refused with 400"):
        probe.together(BAD, GOOD, GOOD)

    assert [sent.status for sent in probe.sent] == [400, 200, 200]
    assert probe.purse.spent > 0


def test_the_rows_of_a_batch_beside_a_failed_one_are_booked(reached):
    probe = Probe(endpoint=reached(), purse=Budget(Decimal(1)))
    with pytest.raises(CannotTell, match="ended with errored"):
        probe.batch(BAD, GOOD, GOOD)

    assert [sent.status for sent in probe.sent] == [200, 200]
    assert probe.purse.spent > 0


def test_no_request_is_tried_again(reached):
    assert reached().client.max_retries == 0
