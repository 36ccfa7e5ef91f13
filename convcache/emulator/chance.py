"""Luck with a seed: the same from every fresh start.

Knows rates. Must not know what they are the rates of.
"""

import random


class Chance:
    """Throws a loaded die.

    Attributes:
        miss_rate: How often a read finds nothing, of itself.
    """

    def __init__(self, seed: int, *, miss_rate: float = 0.0) -> None:
        self._seed = seed
        self.miss_rate = miss_rate
        self._random = random.Random(seed)

    def strikes(self, rate: float) -> bool:
        """Whether it happened this time; what never or always happens uses up no luck."""
        return rate >= 1 or (rate > 0 and self._random.random() < rate)

    def clear(self) -> None:
        self._random.seed(self._seed)
