"""What a user may set. Safe as it stands: a `Policy()` ties with automatic caching on a clean chat."""

import attrs

from convcache.core.blocks import Ttl


@attrs.frozen(kw_only=True)
class Policy:
    """How convcache places breakpoints.

    Attributes:
        ttl: How long written entries live. `"5m"` suits chats whose next turn comes within five minutes; `"1h"`
            costs 2 instead of 1.25 times the input price per token written, and bridges pauses of up to an hour.
    """

    ttl: Ttl = attrs.field(default="5m", validator=attrs.validators.in_(("5m", "1h")))
