"""API tokens (RFC 6750): made, recognised and revoked. Only their SHA-256 is kept.

Tokens are recognised through the cache, by leases and barriers (`accounts.cache_barriers`): whoever revokes puts a
barrier over the entry before the commit, and while it stands the database is asked. An unreachable cache means asking
the database.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction as db_transaction
from django.utils import timezone

from accounts.cache import cache_commands
from accounts.cache_barriers import raise_barriers
from accounts.exceptions import BadTokenNameError, TokenNotFoundError
from accounts.models import ApiToken, User
from accounts.services.audit import clean_reason, record_audit

PREFIX = "txn_"
CACHE_SECONDS = 60
LEASE_SECONDS = 10
BARRIER_SECONDS = 2 * CACHE_SECONDS
_TOKEN = re.compile(PREFIX + "[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made; its text is known only here and can't be shown again."""

    row: ApiToken
    text: str

    def __repr__(self) -> str:
        return f"NewToken(row={self.row!r}, text='{self.row.start}…')"


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """Who a token speaks for."""

    token_id: int
    user_id: int


def create_token(*, user: User, name: str, actor: User | None = None) -> NewToken:
    """Make a token for a user's program.

    :param actor: who asked for it; the user when left out.
    :raises BadTokenNameError: when the name is empty or longer than 100 characters.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= 100:
        raise BadTokenNameError
    text = PREFIX + secrets.token_urlsafe(32)
    with db_transaction.atomic():
        row = ApiToken.objects.create(user=user, name=name, start=text[:12], token_hash=_hash(text))
        record_audit(actor=actor or user, action="token.created", target=row, details={"user": user.pk, "name": name})
    return NewToken(row, text)


def authenticate(text: str) -> TokenOwner | None:
    """Return who this token speaks for; nothing if it is none, was revoked, or its user was deactivated."""
    return authenticate_and_read(text, ())[0]


def authenticate_and_read(text: str, keys: Sequence[str]) -> tuple[TokenOwner | None, dict[str, Any]]:
    """Return who this token speaks for, and what the cache holds under other keys, read in the same round trip."""
    if not _TOKEN.fullmatch(text):
        return None, {}
    token_hash = _hash(text)
    cached = cache_commands().read([_key(token_hash), *keys])
    entry: dict[str, Any] | None = cached.get(_key(token_hash))
    if entry is None:
        return _read_and_remember(token_hash), cached
    if "user_id" not in entry:  # a lease or a barrier
        return _from_database(token_hash), cached
    return TokenOwner(token_id=entry["token_id"], user_id=entry["user_id"]), cached


def revoke_token(*, actor: User | None, token_id: int, reason: str = "") -> bool:
    """End a token's life; from the commit on it is refused. Revoking it again does nothing.

    :returns: whether the cache could be told. If not, and it is only this process that can't reach it, other
        processes may accept the token for `CACHE_SECONDS` more.
    :raises TokenNotFoundError: when there is no such token.
    :raises ReasonRequiredError: when the reason is longer than 500 characters.
    """
    reason = clean_reason(reason, is_required=False)
    with db_transaction.atomic():
        row = ApiToken.objects.select_for_update().filter(pk=token_id).first()
        if row is None:
            raise TokenNotFoundError
        if row.revoked_at is None:
            row.revoked_at = timezone.now()
            row.save(update_fields=["revoked_at"])
            record_audit(actor=actor, action="token.revoked", target=row, reason=reason)
        return _raise_barriers([row.token_hash])


def announce_user_change(user_id: int) -> bool:
    """Make a change of a user (deactivated, reactivated, deleted) count for their tokens at once.

    Call it inside the database transaction that changes the user, before the rows are gone; see `revoke_token` for
    what it returns.
    """
    hashes = (
        ApiToken.objects.filter(user_id=user_id, revoked_at=None).order_by("pk").values_list("token_hash", flat=True)
    )
    return _raise_barriers(list(hashes))


def _raise_barriers(hashes: list[str]) -> bool:
    return raise_barriers([_key(token_hash) for token_hash in hashes], BARRIER_SECONDS)


def _read_and_remember(token_hash: str) -> TokenOwner | None:
    commands = cache_commands()
    lease = {"lease": secrets.token_hex(8)}
    leased = commands.write_if_absent(_key(token_hash), lease, LEASE_SECONDS)
    owner = _from_database(token_hash)
    # Guesses are not remembered: they would only fill the cache.
    if leased and owner is not None:
        entry = {"token_id": owner.token_id, "user_id": owner.user_id}
        commands.replace(_key(token_hash), lease, entry, CACHE_SECONDS)
    return owner


def _from_database(token_hash: str) -> TokenOwner | None:
    found = (
        ApiToken.objects.filter(token_hash=token_hash, revoked_at=None, user__is_active=True)
        .values_list("pk", "user_id")
        .first()
    )
    return None if found is None else TokenOwner(token_id=found[0], user_id=found[1])


def _hash(text: str) -> str:
    """Return the SHA-256; a token is 256 random bits, so that no slow hash is needed."""
    return hashlib.sha256(text.encode()).hexdigest()


def _key(token_hash: str) -> str:
    return f"token:{token_hash}"
