"""The resumption of a retired wallet that staff ask for; a worker may come to it up to a day later."""

from django.utils import timezone

from accounts.models import User
from tasks.exceptions import NotPermittedAnyMoreError
from transactions.exceptions import WalletStateError
from transactions.models import Wallet
from transactions.services.wallet_care import resume

RESUME = "Resume a retired wallet"


def resume_now(*, actor_id: int, wallet_id: int, reason: str) -> str:
    """Resume a retired wallet if who asked for it still may, and say so; again, if the first worker died after it did.

    :raises NotPermittedAnyMoreError: when they may not.
    :raises WalletStateError: when nothing can be signed for it here, or it was paused for something else since.
    """
    actor = User.objects.filter(pk=actor_id).first()
    if actor is None or not actor.is_staff or not actor.has_perm("transactions.operate_wallet"):
        raise NotPermittedAnyMoreError
    wallet = Wallet.objects.get(pk=wallet_id)
    if wallet.retired_at is not None:
        resume(actor=actor, wallet_id=wallet_id, reason=reason, now=timezone.now())
    elif wallet.paused_at is not None:
        raise WalletStateError(f"This wallet isn't retired any more, and was paused since: {wallet.paused_reason}")
    return f"Resumed: {wallet}. Run rotate_key for it to have it emptied and retired again."
