"""The `Prefer` header (RFC 7240)."""

import re

_WAIT = re.compile(r'\s*wait\s*=\s*(?:"([0-9]{1,9})"|([0-9]{1,9}))\s*(?:;.*)?', re.IGNORECASE)


def read_wait(header: str | None, *, longest: int) -> int | None:
    """Return how many seconds the client prefers to wait, at most `longest`; nothing if it doesn't say so clearly.

    Of several, the first counts (section 2).
    """
    for preference in (header or "").split(","):
        if preference.strip().lower().startswith("wait"):
            match = _WAIT.fullmatch(preference)
            return None if match is None else min(int(match[1] or match[2]), longest)
    return None
