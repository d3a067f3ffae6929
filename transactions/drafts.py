"""A payment between the form and its confirmation: signed, so that it comes back as it was shown, and payable once.

The idempotency key is part of the draft: however often a confirmation is sent, by a double click, the back button or
a reload, it is one payment.
"""

import dataclasses
import datetime as dt
import uuid
from dataclasses import dataclass, field

from django.core import signing

SALT = "transactions.drafts"
VALID_FOR = dt.timedelta(hours=1)


def new_idempotency_key() -> str:
    """Return a key that no other confirmation has."""
    return f"page-{uuid.uuid4()}"


@dataclass(frozen=True, slots=True)
class PaymentDraft:
    """What a person asked for, and what they were told it costs.

    The typed values are what they wrote, to fill the form again: an address without a checksum must not come back
    with one that nobody verified.
    """

    user_id: int
    user_account_id: int
    to_public_address: str
    is_checksummed: bool
    amount_in_wei: int
    fee_in_wei: int
    typed_to: str
    typed_amount: str
    typed_unit: str
    made_at_timestamp: int
    idempotency_key: str = field(default_factory=new_idempotency_key)

    @property
    def total_in_wei(self) -> int:
        """Return amount and fee."""
        return self.amount_in_wei + self.fee_in_wei

    def is_expired(self, now: dt.datetime) -> bool:
        """Say whether it is too old to be paid without another look."""
        return now - dt.datetime.fromtimestamp(self.made_at_timestamp, dt.UTC) > VALID_FOR


def sign_draft(draft: PaymentDraft) -> str:
    """Return the draft as text that can't be changed unnoticed."""
    return signing.dumps(dataclasses.asdict(draft), salt=SALT, compress=True)


def read_draft(text: str, *, user_id: int) -> PaymentDraft | None:
    """Return a draft that was signed here for this user, or nothing."""
    try:
        draft = PaymentDraft(**signing.loads(text, salt=SALT))
    except (signing.BadSignature, TypeError):
        # A draft of an older release has other fields: as good as none.
        return None
    return draft if draft.user_id == user_id else None
