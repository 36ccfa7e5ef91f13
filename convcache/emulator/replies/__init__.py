"""What the emulated model says: one Protocol, a default that answers to what was said, and a scripted one.

Knows request bodies. Must not know the cache, time or the wire.
"""

from convcache.emulator.replies.attentive import AttentiveReplies
from convcache.emulator.replies.reply import Replies, Reply
from convcache.emulator.replies.scripted import ScriptedReplies

__all__ = ["AttentiveReplies", "Replies", "Reply", "ScriptedReplies"]
