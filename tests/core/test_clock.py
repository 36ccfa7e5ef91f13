"""What is believed warm, and until when."""

from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from convcache.core.clock import CacheClock, Entry

AT = datetime(2026, 11, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def entry(name: bytes = b"a", ttl: str = "5m") -> Entry:
    return Entry(name, 1_000, ttl, AT + 5 * MINUTE)


def test_an_entry_is_warm_until_it_expires():
    clock = CacheClock()
    clock.record([entry()])

    assert clock.warm(b"a", AT + 4 * MINUTE) == entry()
    assert clock.warm(b"a", AT + 5 * MINUTE) is None
    assert clock.warm(b"b", AT) is None


def test_a_later_belief_takes_the_place_of_an_earlier_one():
    clock = CacheClock()
    clock.record([entry()])
    clock.record([Entry(b"a", 1_000, "5m", AT)])

    assert clock.warm(b"a", AT) is None


@pytest.mark.parametrize(("ttl", "minutes"), [("5m", 7), ("1h", 62)])
def test_each_use_prolongs_an_entry_by_its_own_ttl(ttl, minutes):
    assert entry(ttl=ttl).used(AT + 2 * MINUTE, 1_000).expires == AT + minutes * MINUTE


def test_a_use_never_shortens_a_life():
    assert entry().used(AT - 10 * MINUTE, entry().tokens) == entry()


def test_the_memory_is_bounded_and_lets_the_longest_unused_go():
    clock = CacheClock(max_entries=2)
    clock.record([entry(b"a"), entry(b"b")])
    clock.record([entry(b"a")])
    clock.record([entry(b"c")])

    assert clock.warm(b"a", AT)
    assert clock.warm(b"b", AT) is None


def test_threads_share_it():
    clock = CacheClock(max_entries=50)

    def work(name: int) -> None:
        for n in range(2_000):
            clock.record([entry(b"%d" % (name * n))])
            clock.warm(b"%d" % n, AT)

    threads = [Thread(target=work, args=(name,)) for name in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(clock.warm(b"%d" % n, AT) is not None for n in range(20_000)) <= 50
