"""The prior of the rhythm, fitted again: how long real conversations stay idle, by what happened last.

    python -m benchmarks.rhythm TRACE...

Each TRACE is a file that `convcache replay --policy` reads. Printed is the table of `convcache/core/priors.py` for it:
per 100,000 gaps after each moment, how many were idle when a bin began, and how many of them ended within it. The
last request of a conversation is followed by a gap that lasts until the trace ends, at least.
"""

import argparse
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from convcache.core.rhythm import Moment, Rhythm, Tally, moment
from convcache.terminal.traffic import Corpus, Recorded, corpus

PER = 100_000


def gaps(recorded: Recorded) -> Iterator[tuple[Moment, timedelta | None]]:
    """What happened, and how long after the start of that request the next one came; `None` after the last."""
    hand_overs = 0
    following = (*(request.at for request in recorded.requests[1:]), None)
    for request, then in zip(recorded.requests, following, strict=True):
        yield moment(request.stop_reason, hand_overs), None if then is None else then - request.at
        hand_overs += request.stop_reason != "tool_use"


def fitted(traffic: Corpus) -> Rhythm:
    """All gaps of a trace, told to a rhythm without a prior."""
    end = max(recorded.requests[-1].at for recorded in traffic.conversations)
    rhythm = Rhythm(prior={})
    for recorded in traffic.conversations:
        open_since = end - recorded.requests[-1].at
        for what, gap in gaps(recorded):
            rhythm = rhythm.after(what, open_since if gap is None else gap, returned=gap is not None)
    return rhythm


def row(tally: Tally) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A tally per 100,000 gaps."""
    scaled = tally.times(PER / tally.idle[0])
    return tuple(map(round, scaled.idle)), tuple(map(round, scaled.came))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("traces", nargs="+", type=Path, metavar="TRACE")
    for path in parser.parse_args().traces:
        traffic = corpus(path.name.split(".")[0], path.read_bytes())
        print(f'    "{traffic.fingerprint}": {{  # {traffic.name}')
        for what, tally in sorted(fitted(traffic).tallies.items()):
            idle, came = row(tally)
            print(
                f'        "{what}": (  # {tally.idle[0]:.0f} gaps\n            {idle},\n            {came},\n        ),'
            )
        print("    },")


if __name__ == "__main__":
    main()
