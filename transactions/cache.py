"""Moved to accounts.cache, which tokens need too."""

from accounts.cache import CacheCommands, cache_commands

__all__ = ["CacheCommands", "cache_commands"]
