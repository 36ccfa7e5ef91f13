"""A pause costs what one keep-alive costs where people come back, and nothing where they do not."""

from datetime import timedelta

import pytest

from benchmarks.pauses import MODELS, application, run

SHORT, LONG = timedelta(seconds=400), timedelta(minutes=50)


@pytest.mark.parametrize(
    ("read", "pause", "most"),
    [
        (".1", SHORT, 31.0),
        (".05", SHORT, 31.0),
        (".025", SHORT, 31.0),
        (".1", LONG, 41.2),
        (".05", LONG, 31.3),
        (".025", LONG, 26.3),
    ],
)
def test_where_people_come_back_the_pause_is_bridged(read, pause, most):
    percent, sent = run(MODELS[read], pause, application(pause, returns=True))
    assert percent <= most
    assert sent > 0


@pytest.mark.parametrize("read", MODELS)
def test_where_they_do_not_nothing_is_spent(read):
    percent, sent = run(MODELS[read], LONG, application(LONG, returns=False))
    assert sent == 0
    assert percent == run(MODELS[read], LONG, None)[0]
