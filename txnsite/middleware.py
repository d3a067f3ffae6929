"""Middleware of our own: only what no library brings."""
