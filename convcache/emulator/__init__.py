"""The Messages API and its prompt cache, told a second time from the documents, to test against.

Use `EmulatorServer` for a real port, the transports for a client in the same process, `Emulator` by itself
to look inside. Importing this needs no extra; serving over HTTP needs `pip install 'convcache[emulator]'`.
"""

from convcache.emulator.clock import Clock, SystemClock, VirtualClock
from convcache.emulator.engine import Emulator
from convcache.emulator.faults import Fault
from convcache.emulator.replies import AttentiveReplies, Replies, Reply, ScriptedReplies
from convcache.emulator.server import EmulatorServer, serve
from convcache.emulator.settings import Settings
from convcache.emulator.transports import AsyncEmulatorTransport, EmulatorTransport

__all__ = [
    "AsyncEmulatorTransport",
    "AttentiveReplies",
    "Clock",
    "Emulator",
    "EmulatorServer",
    "EmulatorTransport",
    "Fault",
    "Replies",
    "Reply",
    "ScriptedReplies",
    "Settings",
    "SystemClock",
    "VirtualClock",
    "serve",
]
