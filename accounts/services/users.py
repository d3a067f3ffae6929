"""What a change of a user means for the programs that speak for them."""

from django.db import transaction as db_transaction

from accounts.models import ApiToken, User
from accounts.services.tokens import announce_user_change, revoke_token


@db_transaction.atomic
def cut_tokens(*, actor: User | None, user: User, reason: str) -> int:
    """End all API tokens of a user for good: they were deactivated, or their password was changed; return how many.

    Call it in the database transaction that changes the user.
    """
    announce_user_change(user.pk)
    tokens = ApiToken.objects.filter(user=user, revoked_at=None).order_by("pk").values_list("pk", flat=True)
    for token_id in list(tokens):
        revoke_token(actor=actor, token_id=token_id, reason=reason)
    return len(tokens)
