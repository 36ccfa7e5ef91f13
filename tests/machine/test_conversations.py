"""A conversation lives any life, and the forecast of every request is its bill.

The emulator is the independent account: with its own token counter, what is forecast to be read, written for five
minutes, written for an hour and left uncached is what it bills, to the token, on every request.
"""

import pytest

from tests.machine.lives import Lives
from tests.machine.words import lived


def test_every_forecast_is_the_bill() -> None:
    lived(Lives, runs=25, steps=30, seeded=True)


@pytest.mark.long
def test_five_hundred_lives_of_fifty_steps() -> None:
    lived(Lives, runs=500, steps=50)
