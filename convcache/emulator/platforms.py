"""Where the API is served, and what that changes about the cache: one row per platform.

Knows the documents' table (api-facts section 10). Must not know requests.
"""

from collections.abc import Mapping
from typing import Final, Literal

import attrs

Platform = Literal["claude", "aws", "foundry", "vertex", "bedrock", "bedrock_legacy"]


@attrs.frozen(kw_only=True)
class PlatformRules:
    """What one platform does differently."""

    by_workspace: bool
    """Entries are apart per workspace; else the whole organization shares them."""
    automatic: bool = True
    """The top-level `cache_control` is known."""
    collapses: bool = False
    """A run of tool calls, or of tool results, is one position of the lookback."""
    diagnostics: bool = False
    threads: bool = True


PLATFORMS: Final[Mapping[str, PlatformRules]] = {
    "claude": PlatformRules(by_workspace=True, collapses=True, diagnostics=True),
    "aws": PlatformRules(by_workspace=True),
    "foundry": PlatformRules(by_workspace=True),
    "vertex": PlatformRules(by_workspace=False, threads=False),
    "bedrock": PlatformRules(by_workspace=False, threads=False),
    "bedrock_legacy": PlatformRules(by_workspace=False, automatic=False, threads=False),
}
