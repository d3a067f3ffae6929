"""Taking in blocks: a group over blocks of `chain(fetch_block, record_block, record_transfers)`.

The rows are the queue. Each step does nothing that was done before, and where node or database fail it is tried again
five times, two seconds apart; a block whose steps did not end is begun anew after 20 seconds.
"""

import logging

from celery import chain, group, shared_task
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from accounts.locks import advisory_lock
from tasks.catching_up import show_catching_up
from transactions.chain.exceptions import ChainError
from transactions.services import intake

logger = logging.getLogger(__name__)

TRIED_AGAIN_FOR = (ChainError, OperationalError, InterfaceError)
RETRIES = 5
RETRY_SECONDS = 2


@shared_task
def take_in_blocks(**_kwargs: object) -> None:
    """Begin the blocks that were walked and not taken in yet, some at a time, and show how far a long way has come."""
    with advisory_lock("take_in_blocks") as is_mine:
        if not is_mine:
            return
        blocks = intake.claim_blocks(settings.INTAKE_BLOCKS_AT_ONCE, timezone.now())
        show_catching_up(intake.blocks_to_go())
    steps = [chain(fetch_block.si(*block), record_block.si(*block), record_transfers.si(*block)) for block in blocks]
    if not steps:
        return
    try:
        group(steps).apply_async(expires=intake.TRIED_AGAIN_AFTER.total_seconds())
    except BrokerError:
        logger.warning("The broker does not answer; %d blocks are taken in later.", len(blocks))


@shared_task(autoretry_for=TRIED_AGAIN_FOR, max_retries=RETRIES, default_retry_delay=RETRY_SECONDS)
def fetch_block(number: int, block_hash: str, **_kwargs: object) -> None:
    """Store a whole block."""
    intake.fetch_block(number, block_hash)


@shared_task(autoretry_for=TRIED_AGAIN_FOR, max_retries=RETRIES, default_retry_delay=RETRY_SECONDS)
def record_block(number: int, block_hash: str, **_kwargs: object) -> None:
    """Check a stored block against the walked chain."""
    intake.record_block(number, block_hash)


@shared_task(autoretry_for=TRIED_AGAIN_FOR, max_retries=RETRIES, default_retry_delay=RETRY_SECONDS)
def record_transfers(number: int, block_hash: str, **_kwargs: object) -> None:
    """Record the deposits of a stored block."""
    intake.record_transfers(number, block_hash)
