"""Who asks: the workspace a request is made in, and the beta features it names.

Knows headers and what keeps callers apart on a platform. Must not know what is asked.
"""

from collections.abc import Mapping
from typing import Final

import attrs

from convcache.emulator.platforms import PLATFORMS, Platform
from convcache.emulator.wire import Request

WORKSPACE_HEADER: Final = "anthropic-workspace-id"
DEFAULT_WORKSPACE: Final = "wrkspc_01ConvcacheEmulator"


@attrs.frozen(kw_only=True)
class Caller:
    """Whoever sent a request."""

    platform: Platform
    workspace: str = DEFAULT_WORKSPACE
    betas: frozenset[str] = frozenset()
    version: str = ""
    """The version of the API that is spoken; none is older than every date."""

    @classmethod
    def of(cls, request: Request, platform: Platform) -> "Caller":
        named = request.headers.get("anthropic-beta", "").split(",")
        return cls(
            platform=platform,
            workspace=request.headers.get(WORKSPACE_HEADER) or DEFAULT_WORKSPACE,
            betas=frozenset(beta.strip() for beta in named if beta.strip()),
            version=request.headers.get("anthropic-version", ""),
        )

    @property
    def scope(self) -> str:
        """What nothing is shared across: a workspace, or on some platforms the whole organization."""
        return self.workspace if PLATFORMS[self.platform].by_workspace else ""

    @property
    def headers(self) -> Mapping[str, str]:
        """What every answer says about who asked."""
        return {WORKSPACE_HEADER: self.workspace} if PLATFORMS[self.platform].by_workspace else {}
