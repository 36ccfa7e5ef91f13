"""Keeps a Claude conversation's prompt cache placed right, and accounted for.

`Conversation` and `AsyncConversation` own a chat's history on top of the Anthropic SDK. Each request carries the
cache breakpoints that let it read everything sent before; each turn tells what it read, wrote and cost, and why
it read less than it could have. Everything else here is a value they take or give.

    from anthropic import Anthropic
    from convcache import Conversation

    conversation = Conversation(Anthropic(), model="claude-opus-5", max_tokens=1024, system=guide)
    print(conversation.send("hello").content, conversation.turns[-1].actual)
"""

from convcache.batches import AsyncBatch, Batch
from convcache.conversation import AsyncConversation, Conversation
from convcache.core.blocks import shared
from convcache.core.diagnosis import Miss
from convcache.core.events import Turn
from convcache.core.planner import Plan
from convcache.core.policy import Policy
from convcache.core.usage import Costs, Usage
from convcache.errors import (
    ConvCacheError,
    ConversationEndedError,
    ConversationError,
    DanglingToolUseError,
    EmptyMessageError,
    InvalidationRefusedError,
    MissingExtraError,
    OrphanToolResultError,
    SystemMessagesRefusedError,
    TooManyMessagesError,
    TurnInProgressError,
    UnencodableError,
    UnknownToolError,
)
from convcache.keeper import AsyncKeeper, Budget, Keeper
from convcache.middleware import CacheMiddleware, conversation
from convcache.planning import plan

__version__ = "0.1.0"

__all__ = [
    "AsyncBatch",
    "AsyncConversation",
    "AsyncKeeper",
    "Batch",
    "Budget",
    "CacheMiddleware",
    "ConvCacheError",
    "Conversation",
    "ConversationEndedError",
    "ConversationError",
    "Costs",
    "DanglingToolUseError",
    "EmptyMessageError",
    "InvalidationRefusedError",
    "Keeper",
    "Miss",
    "MissingExtraError",
    "OrphanToolResultError",
    "Plan",
    "Policy",
    "SystemMessagesRefusedError",
    "TooManyMessagesError",
    "Turn",
    "TurnInProgressError",
    "UnencodableError",
    "UnknownToolError",
    "Usage",
    "conversation",
    "plan",
    "shared",
]
