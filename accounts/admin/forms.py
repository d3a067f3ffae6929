"""Forms of the admin's own pages: a reason, and an amount in a unit."""

import uuid
from typing import Any

from django import forms

from accounts.exceptions import AccountsError
from accounts.models import Account
from accounts.money import DECIMALS_BY_UNIT, parse_amount
from accounts.services.accounts import NAME_LENGTH_MAX
from accounts.services.audit import REASON_LENGTH_MAX, clean_reason


class ReasonField(forms.CharField):
    """Why; kept in the audit trail."""

    def __init__(self) -> None:
        super().__init__(
            max_length=REASON_LENGTH_MAX,
            widget=forms.Textarea(attrs={"rows": 2, "cols": 60, "class": "vLargeTextField"}),
            help_text="Kept in the audit trail. Write what a colleague needs to understand it a year from now.",
        )

    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        try:
            return clean_reason(text)
        except AccountsError as error:
            raise forms.ValidationError(str(error)) from error


class ReasonForm(forms.Form):
    reason = ReasonField()


class AdjustmentForm(forms.Form):
    """How much to credit or debit, and why; `request_id` makes a form sent twice count once."""

    amount = forms.CharField(
        max_length=120,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off", "class": "vTextField"}),
        help_text="A plain number like 1.25.",
    )
    unit = forms.ChoiceField(choices=[(unit, unit) for unit in reversed(DECIMALS_BY_UNIT)], initial="ether")
    reason = ReasonField()
    request_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if "amount" in cleaned and "unit" in cleaned:
            try:
                cleaned["amount_in_wei"] = parse_amount(cleaned["amount"], cleaned["unit"])
            except AccountsError as error:
                self.add_error("amount", str(error))
        return cleaned


class AccountForm(forms.ModelForm[Account]):
    """A new account."""

    name = forms.CharField(max_length=NAME_LENGTH_MAX, help_text="What its owner sees it called.")

    class Meta:
        model = Account
        fields = ("owner", "name")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "owner" in self.fields:
            self.fields["owner"].required = True
