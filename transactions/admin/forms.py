"""Forms of the admin's own pages: a policy, recipients to allow, a verdict."""

import datetime as dt
import re
from typing import Any

from django import forms

from accounts.admin.forms import ReasonField
from accounts.exceptions import BadAmountError
from accounts.money import format_ether, parse_amount
from accounts.services.audit import REASON_LENGTH_MAX
from transactions.addresses import parse_address
from transactions.exceptions import BadAddressError
from transactions.models import AccountPolicy
from transactions.models.policies import NOTE_LENGTH_MAX
from transactions.services.policies import Terms

RECIPIENTS_AT_ONCE_MAX = 1_000
_ZERO = re.compile(r"0+([.]0*)?")


class EtherField(forms.CharField):
    """An amount of ether as people type it, in wei once it is cleaned; blank is None."""

    def __init__(self, *, may_be_zero: bool = False, **options: Any) -> None:
        self._may_be_zero = may_be_zero
        attributes = {"inputmode": "decimal", "autocomplete": "off", "class": "vTextField"}
        super().__init__(required=False, max_length=120, widget=forms.TextInput(attrs=attributes), **options)

    def prepare_value(self, value: Any) -> Any:
        return format_ether(value) if isinstance(value, int) else value

    def clean(self, value: Any) -> int | None:
        text: str = super().clean(value)
        if not text:
            return None
        if self._may_be_zero and _ZERO.fullmatch(text):
            return 0
        try:
            return parse_amount(text, "ether")
        except BadAmountError as error:
            raise forms.ValidationError(str(error)) from error


class PolicyForm(forms.Form):
    """What an account may pay. `seen_at` tells which policy was seen when this one was thought of."""

    amount_max_in_wei = EtherField(label="Largest amount, in ETH", help_text="Of one payment, its fee not counted.")
    daily_amount_max_in_wei = EtherField(
        label="Largest amount in 24 hours, in ETH",
        help_text="Of all payments of the last 24 hours that have not failed, fees not counted.",
    )
    approval_above_in_wei = EtherField(
        label="Approval above, in ETH",
        may_be_zero=True,
        help_text="Larger payments wait until an approver lets them pass. With 0, all of them do.",
    )
    is_allow_list_only = forms.BooleanField(
        label="Only recipients on the allow-list", required=False, help_text="While the list is empty, nobody is paid."
    )
    reason = ReasonField()
    seen_at = forms.CharField(required=False, widget=forms.HiddenInput)

    @classmethod
    def of(cls, policy: AccountPolicy | None, data: Any = None) -> "PolicyForm":
        """Return the form as it starts from a policy, or from none."""
        names = [name for name in cls.base_fields if policy is not None and hasattr(policy, name)]
        initial = {name: getattr(policy, name) for name in names}
        return cls(data, initial=initial | {"seen_at": policy.changed_at.isoformat() if policy else ""})

    def clean_seen_at(self) -> dt.datetime | None:
        text = self.cleaned_data["seen_at"]
        try:
            return dt.datetime.fromisoformat(text) if text else None
        except ValueError as error:
            raise forms.ValidationError("Open this page again.") from error

    def terms(self) -> Terms:
        """Return what a valid form asks for."""
        return Terms(
            amount_max_in_wei=self.cleaned_data["amount_max_in_wei"],
            daily_amount_max_in_wei=self.cleaned_data["daily_amount_max_in_wei"],
            approval_above_in_wei=self.cleaned_data["approval_above_in_wei"],
            is_allow_list_only=self.cleaned_data["is_allow_list_only"],
        )


class RecipientsForm(forms.Form):
    """Addresses to allow, one a line, each with a note."""

    recipients = forms.CharField(
        strip=False,
        widget=forms.Textarea(attrs={"rows": 6, "cols": 60, "class": "vLargeTextField", "spellcheck": "false"}),
        help_text="An address a line; what follows it on the line is a note, like who it belongs to.",
    )
    reason = ReasonField()

    def clean_recipients(self) -> dict[str, str]:
        """Return notes by address, in EIP-55 form."""
        lines = self.cleaned_data["recipients"].splitlines()
        if len(lines) > RECIPIENTS_AT_ONCE_MAX:
            raise forms.ValidationError(f"At most {RECIPIENTS_AT_ONCE_MAX:,} lines at once.")
        notes: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            if line.strip():
                address, note = _read_line(number, line.strip())
                if address in notes:
                    raise forms.ValidationError(f"Line {number}: this address is written twice.")
                notes[address] = note
        if not notes:
            raise forms.ValidationError("Write at least one address.")
        return notes


class DecisionForm(forms.Form):
    """Why a payment is approved or refused."""

    reason = forms.CharField(
        required=False,
        max_length=REASON_LENGTH_MAX,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 60, "class": "vLargeTextField"}),
        help_text="Kept in the audit trail. To refuse, a reason is needed, and the account's owner is told it.",
    )


def _read_line(number: int, line: str) -> tuple[str, str]:
    address, *note = line.split(maxsplit=1)
    try:
        parsed = parse_address(address).address
    except BadAddressError as error:
        raise forms.ValidationError(f"Line {number}: {error}") from error
    if note and len(note[0]) > NOTE_LENGTH_MAX:
        raise forms.ValidationError(f"Line {number}: a note has at most {NOTE_LENGTH_MAX} characters.")
    return parsed, note[0] if note else ""
