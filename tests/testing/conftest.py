"""The fixtures under test; only a root conftest may load them by `pytest_plugins`, so these are imported."""

from convcache.testing import anthropic_emulator, emulator_settings

__all__ = ["anthropic_emulator", "emulator_settings"]
