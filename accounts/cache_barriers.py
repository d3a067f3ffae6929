"""Barriers over cached entries: they keep the cache true while what it remembers changes.

Readers (`transactions.detail`, `accounts.services.tokens`) that find nothing leave a *lease* before they read the
database, and what they read replaces that very lease or is not remembered. A writer puts a *barrier* over the entry
before it commits, which ends any lease; while it stands, readers go to the database. After the commit the writer
clears the key, but for another writer's barrier. Both sides of that are needed, whatever the cache does meanwhile:

- *The writer dies after its barrier*: the barrier runs out by itself, later than any entry.
- *The cache loses the barrier before the commit* (emptied, restarted, or evicted for want of memory): a reader may
  remember the old state then. It is cleared after the commit, which is why more goes than the writer's own barrier.
- *A second writer* has its own barrier over the first one's: that stays, until the second has committed. Of a barrier
  that is gone nothing is known, and nothing has to be: the second clears the key itself.
- *A reader is slow*: its lease has gone with the barrier, or goes when the key is cleared; a lease that is left later
  is of a reader that finds the new state.
- *The cache is full* and refuses the barrier: it has deleted the entry first, in the same command, and takes no lease
  either. Should it find memory before the commit, what is remembered then is cleared after it.
- *An answer is lost*: the command is sent once more, or has done its work the first time; both may be done twice. A
  barrier that arrives after its writer has cleared the key stands until it runs out, and costs time only.
- *The writer can't reach the cache*, before its commit or after it: it goes on, and a thread clears the key as soon as
  it can, for as long as an entry could be old (`accounts.cache_debts`). Until then, readers that do reach the cache may
  be told what was true before; so they are, for the life of an entry at most, when the writer dies as well.
- *The cache comes back with old contents*: from a file, or as a replica that had not heard everything. Nobody here can
  tell; so it has no file (README, "Running in production").
"""

import secrets
from collections.abc import Iterable

from django.db import transaction as db_transaction

from accounts.cache import cache_commands

_BARRIER = '{"barrier":'


def raise_barriers(keys: Iterable[str], seconds: int, *, insist: bool = True) -> bool:
    """Keep readers from what they remember under these keys until the database transaction under way has committed.

    :param seconds: when a barrier runs out by itself; longer than entries and leases together.
    :param insist: try even while this process leaves the cache alone after a failure: others may be reading from it.
    :returns: whether the cache took them.
    """
    barriers = dict.fromkeys(keys, {"barrier": secrets.token_hex(8)})
    if not barriers:
        return True
    commands = cache_commands()
    taken = commands.write_all(barriers, seconds, insist=insist)
    db_transaction.on_commit(lambda: commands.forget_unless(barriers, spared=_BARRIER, insist_seconds=seconds))
    return taken
