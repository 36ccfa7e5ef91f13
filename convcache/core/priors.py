"""How long conversations stay idle before anything is known of an application, as numbers.

Knows three corpora of real traffic, and how to mix them. `python -m benchmarks.rhythm TRACE...` prints these tables
for any trace, in its own words: per 100,000 gaps after a moment, how many were idle when a bin of `rhythm.EDGES`
began, and how many of those ended within it.

Sources: sessions of Claude Code published with eight repositories (`claude_code_requests`: entireio/cli,
marot/spotter, teslamint/entirecontext, gmeligio/flutter-docker-image, moredip/session-share, yoavf/ai-sessions,
microsoft/vscode-copilot-chat, flop-labs/technocore-chat); Claude Code seen by a proxy (`claude_code_proxy_requests`:
callanjfox/kv-cache-tester); an hour of a public chat service (`chat_requests`: kvcache-ai/Mooncake).
"""

from collections.abc import Collection, Mapping
from typing import Final, TypeAlias

Counts: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]

# fmt: off
SOURCES: Final[Mapping[str, Mapping[str, Counts]]] = {
    "bbe814e2e2fd": {  # claude_code_requests
        "early": (  # 567 gaps
            (100000, 91005, 86772, 80600, 72840, 62434, 55026, 47619, 41093, 34921, 30335, 27513, 25397, 23986, 22751, 20282, 20282, 19753, 19400, 19400, 19048, 18695, 18166, 17989),
            (8995, 4233, 6173, 7760, 10406, 7407, 7407, 6526, 6173, 4586, 2822, 2116, 1411, 1235, 2469, 0, 529, 353, 0, 353, 353, 529, 176, 353),
        ),
        "opener": (  # 354 gaps
            (100000, 93069, 89109, 84017, 77793, 70721, 61669, 55163, 48656, 44413, 41584, 39321, 37058, 36209, 35644, 35078, 34512, 32390, 30835, 30552, 30269, 28854, 27157, 25460),
            (6789, 3960, 5092, 6223, 7072, 9052, 6506, 6506, 4243, 2829, 2263, 2263, 849, 566, 566, 566, 566, 0, 283, 283, 0, 283, 283, 566),
        ),
        "settled": (  # 968 gaps
            (100000, 90909, 85124, 79029, 70351, 60124, 50310, 41322, 33678, 28409, 25310, 21591, 19008, 17562, 15909, 14876, 14360, 14050, 13120, 13017, 12810, 12707, 12242, 11674),
            (9091, 5785, 6095, 8678, 10227, 9814, 8988, 7645, 5269, 3099, 3719, 2583, 1446, 1653, 1033, 517, 310, 930, 103, 207, 103, 413, 517, 310),
        ),
        "tool_use": (  # 18674 gaps
            (100000, 9912, 7379, 5693, 4091, 3015, 2147, 1430, 1066, 793, 643, 482, 402, 375, 343, 295, 262, 252, 241, 230, 230, 230, 220, 214),
            (90085, 2533, 1687, 1601, 1076, 868, 718, 364, 273, 150, 161, 80, 27, 32, 48, 32, 11, 11, 11, 0, 0, 11, 5, 11),
        ),
    },
    "8711c32117b4": {  # claude_code_proxy_requests
        "early": (  # 651 gaps
            (100000, 68049, 64055, 58986, 53763, 49002, 41475, 34869, 31029, 28111, 25499, 22427, 18894, 17051, 15054, 13671, 13518, 13364, 13210, 12135, 11828, 11828, 11367, 10906),
            (31951, 3994, 5069, 5223, 4762, 7527, 6605, 3840, 2919, 2611, 3072, 3533, 1843, 1997, 1382, 154, 154, 154, 1075, 307, 0, 461, 307, 307),
        ),
        "opener": (  # 342 gaps
            (100000, 77778, 75439, 71053, 66959, 60234, 52632, 48538, 44444, 40936, 36550, 32456, 27485, 24561, 22222, 19883, 18421, 18129, 18129, 17836, 17544, 17251, 16667, 16667),
            (22222, 2339, 4386, 4094, 6725, 7602, 4094, 4094, 3509, 4386, 4094, 4971, 2924, 2339, 2339, 1462, 292, 0, 292, 292, 292, 585, 0, 292),
        ),
        "settled": (  # 2346 gaps
            (100000, 46623, 41296, 36991, 32090, 27658, 22885, 19476, 16663, 14660, 12615, 10910, 9674, 8523, 7373, 6307, 5881, 5455, 5284, 4944, 4858, 4858, 4432, 4198),
            (53356, 5327, 4304, 4901, 4432, 4773, 3409, 2813, 2003, 2046, 1705, 1236, 1151, 1151, 1065, 426, 426, 170, 341, 85, 0, 341, 43, 43),
        ),
        "tool_use": (  # 20050 gaps
            (100000, 27456, 19232, 14155, 10224, 7686, 4968, 3681, 2713, 2324, 1636, 1392, 1232, 1102, 968, 808, 793, 788, 773, 773, 773, 763, 763, 761),
            (72544, 8224, 5077, 3930, 2539, 2718, 1287, 968, 389, 688, 244, 160, 130, 135, 160, 15, 5, 15, 0, 0, 10, 0, 0, 0),
        ),
    },
    "b2d87f8d8d84": {  # chat_requests
        "early": (  # 3182 gaps
            (100000, 97093, 94987, 89676, 81992, 75424, 67709, 61534, 54258, 47282, 40242, 33957, 25676, 15352, 4855, 0, 0, 0, 0, 0, 0, 0, 0, 0),
            (2483, 1886, 4745, 6851, 5531, 6317, 4651, 4745, 3237, 2734, 409, 346, 283, 63, 31, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        ),
        "opener": (  # 8012 gaps
            (100000, 98090, 96543, 93410, 88599, 84374, 80050, 75295, 69959, 63738, 56686, 49092, 38583, 24406, 8162, 0, 0, 0, 0, 0, 0, 0, 0, 0),
            (1173, 1123, 2596, 3981, 3070, 2733, 2521, 2396, 2471, 1984, 349, 262, 250, 175, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        ),
        "settled": (  # 776 gaps
            (100000, 93363, 87822, 79768, 69008, 56894, 46134, 37178, 30155, 22101, 17461, 12951, 8441, 3737, 580, 0, 0, 0, 0, 0, 0, 0, 0, 0),
            (6057, 5284, 7474, 9665, 10954, 9794, 7990, 5541, 5670, 1546, 644, 387, 129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        ),
    },
}
"""By what each corpus begins with: the digest of its first row."""
# fmt: on


def hazards(*, without: Collection[str] = ()) -> dict[str, tuple[float, ...]]:
    """By moment, the chance of each bin to end the gap of who is still idle when it begins.

    Args:
        without: Corpora to leave out, by their keys in `SOURCES`: to judge on one what was learned from the others.
    """
    used = [table for name, table in SOURCES.items() if name not in without]
    moments = sorted({moment for table in used for moment in table})
    mixed = {moment: _mixed([table[moment] for table in used if moment in table]) for moment in moments}
    # None of them paused; a program goes on after that, as it does after a tool call.
    return {**mixed, "pause_turn": mixed["tool_use"]} if "tool_use" in mixed else mixed


def _mixed(counts: Collection[Counts]) -> tuple[float, ...]:
    """One gap of each corpus counts as much as one of another, as long as it lasts."""
    idle = map(sum, zip(*(idle for idle, _ in counts), strict=True))
    came = map(sum, zip(*(came for _, came in counts), strict=True))
    return tuple(ended / began if began else 0.0 for began, ended in zip(idle, came, strict=True))
