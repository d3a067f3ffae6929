"""Drafts of payments: signed for one user, unchangeable, valid for an hour."""

import dataclasses
import datetime as dt

import pytest
from django.core import signing

from accounts.money import WEI_MAX
from tests.desk import NOW, RECIPIENT
from transactions.drafts import SALT, PaymentDraft, read_draft, sign_draft

DRAFT = PaymentDraft(
    user_id=7,
    user_account_id=3,
    to_public_address=RECIPIENT,
    is_checksummed=True,
    amount_in_wei=WEI_MAX - 1,
    fee_in_wei=1,
    typed_to=RECIPIENT,
    typed_amount="1.5",
    typed_unit="ether",
    made_at_timestamp=int(NOW.timestamp()),
)


def test_a_draft_comes_back_as_it_was_signed_to_the_wei() -> None:
    assert read_draft(sign_draft(DRAFT), user_id=7) == DRAFT
    assert DRAFT.total_in_wei == WEI_MAX


def test_each_draft_has_an_idempotency_key_of_its_own() -> None:
    fields = {field.name: getattr(DRAFT, field.name) for field in dataclasses.fields(DRAFT)}
    del fields["idempotency_key"]
    assert PaymentDraft(**fields).idempotency_key != PaymentDraft(**fields).idempotency_key


def test_anothers_draft_is_as_good_as_none() -> None:
    assert read_draft(sign_draft(DRAFT), user_id=8) is None


@pytest.mark.parametrize("change", [str.upper, lambda text: text[:-1], lambda text: "", lambda text: f"x{text}"])
def test_a_changed_draft_is_as_good_as_none(change: object) -> None:
    assert callable(change)
    assert read_draft(change(sign_draft(DRAFT)), user_id=7) is None


def test_a_draft_with_other_fields_is_as_good_as_none() -> None:
    assert read_draft(signing.dumps({"user_id": 7}, salt=SALT), user_id=7) is None
    assert read_draft(signing.dumps([7], salt=SALT), user_id=7) is None


def test_what_is_signed_for_another_purpose_is_no_draft() -> None:
    assert read_draft(signing.dumps(dataclasses.asdict(DRAFT), salt="other"), user_id=7) is None


@pytest.mark.parametrize(("minutes", "is_expired"), [(0, False), (60, False), (61, True)])
def test_a_draft_expires_after_an_hour(minutes: int, is_expired: bool) -> None:
    assert DRAFT.is_expired(NOW + dt.timedelta(minutes=minutes)) is is_expired
