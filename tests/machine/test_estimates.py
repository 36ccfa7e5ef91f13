"""With the shipped estimator, what is read is told to the per cent where a bill has measured it."""

import pytest

from convcache import Turn
from tests.machine.lives import Lives
from tests.machine.words import lived


class EstimatedLives(Lives):
    """The same lives, in which tokens are estimated."""

    counted = False

    def check(self, turn: Turn) -> None:
        forecast, actual = turn.forecast, turn.actual
        assert forecast is not None
        if (
            abs(actual.prompt - 4_096) < 410
            or abs(actual.prompt - 512) < 200
            or abs(actual.prompt - 1_024) < 200
        ):
            return
        assert (forecast.read > 0) == (actual.read > 0), (forecast, actual)
        # Under another setting the same words are another prefix, which no bill has measured: that is an estimate.
        if actual.read in self.billed:
            assert abs(forecast.read - actual.read) <= 0.01 * actual.read
        self.billed.add(actual.cached)


def test_with_estimates_what_is_read_is_what_was_forecast() -> None:
    lived(EstimatedLives, runs=20, steps=30, seeded=True)


@pytest.mark.long
def test_five_hundred_lives_of_fifty_steps() -> None:
    lived(EstimatedLives, runs=500, steps=50)
