"""What a worker makes sure of before it takes its first message."""

from celery.signals import worker_init

from transactions.exceptions import ChainMismatchError
from transactions.services.match import refuse_wrong_chain


@worker_init.connect
def check_chain_id(**_kwargs: object) -> None:
    """End the worker where the nodes are on another chain than CHAIN_ID says."""
    try:
        refuse_wrong_chain()
    except ChainMismatchError as error:
        # Celery logs what else a handler raises and goes on.
        raise SystemExit(f"The worker does not start: {error}") from None
