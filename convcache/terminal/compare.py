"""Traffic under several policies: which there are, what each costs, and how that reads.

Knows the names of policies, tables and JSON. How a policy is played is in `play`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

import attrs

from convcache.core.blocks import Ttl
from convcache.core.priors import SOURCES, hazards
from convcache.core.refresh import Caution
from convcache.core.rhythm import Rhythm
from convcache.emulator.settings import Settings
from convcache.terminal.experience import Experienced
from convcache.terminal.foresight import Foresight
from convcache.terminal.play import MARGIN, Play, Policy, Tally
from convcache.terminal.policies import Adaptive, Fixed
from convcache.terminal.screen import printable
from convcache.terminal.traffic import Corpus

MixedTtl = Literal["stands", "lapses"]

NAMES: Final = (
    "none",
    "automatic",
    "automatic-1h",
    "5m+N",
    "adaptive",
    "adaptive-no-upgrade",
    "experienced",
    "clairvoyant",
)
_TTLS: Final[dict[str, Ttl | None]] = {"none": None, "automatic": "5m", "automatic-1h": "1h"}
_KEEP_ALIVES: Final = re.compile(r"5m\+(\d{1,4})")
_OFTEN: Final = 500
MANY: Final = 500
"""Repositories with more requests than this are listed one by one."""


@attrs.frozen(kw_only=True)
class Terms:
    """What all policies are played on.

    Attributes:
        read_price: The price of a read in units of the input price; that of each model if `None`.
        mixed_ttl: What becomes of an hour written above an entry of five minutes.
        first: How many requests of each repository are counted; all if `None`.
        in_sample: Whether the adaptive policies may start from what was fitted on the corpus itself.
    """

    read_price: float | None = None
    mixed_ttl: MixedTtl = "stands"
    first: int | None = None
    in_sample: bool = False


@attrs.frozen(kw_only=True)
class Comparison:
    """One corpus under several policies.

    Attributes:
        corpus: The traffic.
        prior: What the adaptive policies start from, in words.
        tallies: By policy, then by repository.
    """

    corpus: Corpus
    prior: str
    tallies: dict[str, dict[str, Tally]]

    def percents(self) -> dict[str, float]:
        """By policy, the cost in per cent of uncached."""
        return {name: _sum(tallies).percent for name, tallies in self.tallies.items()}

    def groups(self) -> dict[str, list[str]]:
        """The repositories that are told apart: the large ones, and all others together."""
        sizes = Counter({r.repository: 0 for r in self.corpus.conversations})
        for recorded in self.corpus.conversations:
            sizes[recorded.repository] += len(recorded.requests)
        small = [repository for repository, size in sizes.items() if size <= MANY]
        groups = {repository: [repository] for repository, size in sizes.most_common() if size > MANY}
        if small:
            groups[small[0] if len(small) == 1 else f"{len(small)} smaller ones"] = small
        return groups


def parsed(names: str) -> list[str]:
    """The policies named in a list with commas.

    Raises:
        ValueError: There is no such policy.
    """
    asked = list(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in asked:
        if not (name in NAMES and name != "5m+N") and not _KEEP_ALIVES.fullmatch(name):
            raise ValueError(f"there is no policy {name!r}; there are {', '.join(NAMES)}")
    return asked


def compared(
    corpus: Corpus, names: Sequence[str], terms: Terms, advance: Callable[[int], None] = lambda _: None
) -> Comparison:
    """Play a corpus under each of the policies; `advance` is told now and then how many requests were played."""
    settings = Settings(mixed_ttl=terms.mixed_ttl)
    tallies = {}
    for name in names:
        play = Play(
            corpus,
            _policy(name, corpus, terms),
            read_price=terms.read_price,
            settings=settings,
            first=terms.first,
        )
        for number, _ in enumerate(play.run(), start=1):
            if number % _OFTEN == 0:
                advance(_OFTEN)
        tallies[name] = dict(play.tallies)
    return Comparison(corpus=corpus, prior=_prior_in_words(corpus, terms), tallies=tallies)


def _policy(name: str, corpus: Corpus, terms: Terms) -> Policy:
    if name == "clairvoyant":
        return Foresight.of(corpus, read_price=terms.read_price, mixes=terms.mixed_ttl == "stands")
    if name == "experienced":
        return Experienced.of(corpus, upgrades=terms.mixed_ttl == "stands")
    if name.startswith("adaptive"):
        without = () if terms.in_sample else (corpus.fingerprint,)
        caution = Caution(margin=MARGIN, upgrades=name == "adaptive")
        return Adaptive(rhythm=Rhythm(prior=hazards(without=without)), caution=caution)
    if keep_alives := _KEEP_ALIVES.fullmatch(name):
        return Fixed("5m", int(keep_alives[1]))
    return Fixed(_TTLS[name])


def _prior_in_words(corpus: Corpus, terms: Terms) -> str:
    if corpus.fingerprint not in SOURCES:
        return "the shipped prior, which does not know this trace"
    if terms.in_sample:
        return "the shipped prior, which was fitted on this trace, too: these figures are in-sample"
    return "a prior fitted on the other traces, without this one"


def document(comparisons: Sequence[Comparison]) -> dict[str, dict[str, float]]:
    """By corpus, then by policy, the cost in per cent of uncached."""
    return {each.corpus.name: {n: round(p, 3) for n, p in each.percents().items()} for each in comparisons}


def documents_by_repository(comparisons: Sequence[Comparison]) -> dict[str, dict[str, float]]:
    """The same by repository, each named after its corpus."""
    return {
        f"{each.corpus.name}/{group}": {
            name: round(_sum(tallies, members).percent, 3) for name, tallies in each.tallies.items()
        }
        for each in comparisons
        for group, members in each.groups().items()
    }


def lines(comparison: Comparison) -> Iterator[str]:
    """The tables of one corpus."""
    corpus = comparison.corpus
    requests = sum(len(recorded.requests) for recorded in corpus.conversations)
    yield printable(f"{corpus.name}: {requests:,} requests in {len(corpus.conversations):,} conversations")
    if any(name.startswith("adaptive") for name in comparison.tallies):
        yield f"adaptive starts from {comparison.prior}, and learns as it goes"
    yield ""
    yield f"{'policy':<20}  {'% of uncached':>13}  {'hit rate':>8}  {'keep-alives':>11}  {'wasted':>7}  {'upgrades':>8}"
    for name, tallies in comparison.tallies.items():
        tally = _sum(tallies)
        sent, wasted, upgrades = (f"{n:,}" for n in (tally.keep_alives, tally.wasted, tally.upgrades))
        yield (
            f"{name:<20}  {tally.percent:>13.2f}  {tally.hit_rate:>7.1f}%  {sent:>11}  {wasted:>7}  {upgrades:>8}"
        )
    groups = comparison.groups()
    if len(groups) > 1:
        yield ""
        yield from _by_repository(comparison, groups)


def _by_repository(comparison: Comparison, groups: dict[str, list[str]]) -> Iterator[str]:
    wide = max(len(printable(name)) for name in (*groups, "% of uncached"))
    columns = [(name, max(6, len(name))) for name in comparison.tallies]
    titles = "  ".join(f"{name:>{width}}" for name, width in columns)
    yield f"{'% of uncached':<{wide}}  {'requests':>8}  {titles}"
    for group, members in groups.items():
        sums = {name: _sum(tallies, members) for name, tallies in comparison.tallies.items()}
        requests = max(tally.requests for tally in sums.values())
        cells = "  ".join(f"{sums[name].percent:>{width}.2f}" for name, width in columns)
        yield f"{printable(group):<{wide}}  {requests:>8,}  {cells}"


def plot(comparisons: Sequence[Comparison], path: str) -> None:
    """Bars of cost by policy, a group for each corpus, written to a file of the format its name ends with.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 3.5 * len(comparisons), 4), layout="constrained")
    axes: Any = figure.subplots(1, len(comparisons), squeeze=False)[0]
    for axis, each in zip(axes, comparisons, strict=True):
        percents = each.percents()
        bars = axis.barh(list(percents), list(percents.values()))
        axis.bar_label(bars, fmt="%.1f", padding=2)
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.set_title(each.corpus.name, fontsize="medium")
        axis.set_xlabel("cost of prompts, % of uncached")
    figure.savefig(path)


def _sum(tallies: dict[str, Tally], members: Sequence[str] | None = None) -> Tally:
    chosen = tallies.values() if members is None else (tallies[m] for m in members if m in tallies)
    return sum(chosen, start=Tally())
