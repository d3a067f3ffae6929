"""The form of a new payment: from what people type to a draft, each error beside its field in their words."""

import datetime as dt
from collections.abc import Sequence

from django import forms
from django.conf import settings
from django.utils import timezone

from accounts.exceptions import AccountFrozenError, BadAmountError
from accounts.models import Account
from accounts.money import format_ether, parse_amount
from transactions.addresses import ParsedAddress, parse_address
from transactions.drafts import PaymentDraft
from transactions.exceptions import BadAddressError, RecipientNotAllowedError
from transactions.services.limits import REFUSED_BY_POLICY, check_limits, limits_of

UNITS = [("ether", "ether"), ("gwei", "gwei"), ("wei", "wei")]


def missing_funds(account: Account, total_in_wei: int) -> str:
    """Return what to say about a total that the account can't cover, or nothing if it can."""
    missing = total_in_wei - account.available_balance_in_wei
    if missing <= 0:
        return ""
    return (
        f"That is {format_ether(missing)} ETH more than there is: amount and fee come to "
        f"{format_ether(total_in_wei)} ETH, and {format_ether(account.available_balance_in_wei)} ETH are available."
    )


class PaymentForm(forms.Form):
    """Who pays, to whom, how much."""

    account = forms.TypedChoiceField(
        label="From", coerce=int, error_messages={"required": "Choose the account that pays."}
    )
    to = forms.CharField(
        label="To",
        max_length=100,
        error_messages={
            "required": "Enter the address that receives the payment.",
            "max_length": "This is too long for an Ethereum address: it is 0x and then 40 digits from 0-9 and a-f.",
        },
        help_text="An Ethereum address: 0x and 40 digits. Copy it rather than typing it.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false", "placeholder": "0x…"}
        ),
    )
    amount = forms.CharField(
        label="Amount",
        max_length=120,
        error_messages={
            "required": "Enter how much to pay.",
            "max_length": "This is more than the largest amount there is (2^256-1 wei).",
        },
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "decimal", "placeholder": "0.0"}),
    )
    unit = forms.ChoiceField(
        label="Unit",
        choices=UNITS,
        initial="ether",
        widget=forms.RadioSelect,
        error_messages={
            "required": "Choose ether, gwei or wei.",
            "invalid_choice": "Choose ether, gwei or wei.",
        },
    )

    def __init__(self, *args: object, accounts: Sequence[Account], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.accounts = {account.pk: account for account in accounts}
        field = self.fields["account"]
        assert isinstance(field, forms.TypedChoiceField)
        field.choices = [(account.pk, _account_label(account)) for account in accounts]
        field.error_messages["invalid_choice"] = "You have no such account. Choose one of yours."
        if len(accounts) == 1:
            self.initial["account"] = accounts[0].pk
            field.widget = forms.HiddenInput()

    @property
    def only_account(self) -> Account | None:
        """Return the account if there is no choice."""
        return next(iter(self.accounts.values())) if len(self.accounts) == 1 else None

    def clean_account(self) -> Account:
        """Return the account that pays."""
        account = self.accounts[self.cleaned_data["account"]]
        if account.is_frozen:
            raise forms.ValidationError(str(AccountFrozenError()))
        return account

    def clean_to(self) -> ParsedAddress:
        """Return the address, its checksum verified where it has one."""
        try:
            return parse_address(self.cleaned_data["to"])
        except BadAddressError as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> None:
        """Read the amount in its unit and compare it with what the account has, fee counted."""
        amount, unit, account = (self.cleaned_data.get(name) for name in ("amount", "unit", "account"))
        if amount is None or unit is None:
            return
        try:
            self.cleaned_data["amount_in_wei"] = parse_amount(amount, unit)
        except BadAmountError as error:
            self.add_error("amount", str(error))
            return
        if account is not None:
            total = self.cleaned_data["amount_in_wei"] + settings.PAYMENT_FEE_IN_WEI
            if words := missing_funds(account, total):
                self.add_error("amount", words)
            self._obey_policy(account)

    def _obey_policy(self, account: Account) -> None:
        """Say beside its field what the account's policy doesn't allow."""
        to, amount_in_wei = self.cleaned_data.get("to"), self.cleaned_data["amount_in_wei"]
        if to is None:
            return
        try:
            limits = limits_of(account.pk, to.address)
            check_limits(limits, account_id=account.pk, amount_in_wei=amount_in_wei, now=timezone.now())
        except REFUSED_BY_POLICY as error:
            self.add_error("to" if isinstance(error, RecipientNotAllowedError) else "amount", str(error))

    def draft(self, *, user_id: int, now: dt.datetime) -> PaymentDraft:
        """Return what a valid form asks for."""
        return PaymentDraft(
            user_id=user_id,
            user_account_id=self.cleaned_data["account"].pk,
            to_public_address=self.cleaned_data["to"].address,
            is_checksummed=self.cleaned_data["to"].is_checksummed,
            amount_in_wei=self.cleaned_data["amount_in_wei"],
            fee_in_wei=settings.PAYMENT_FEE_IN_WEI,
            typed_to=str(self["to"].value()),
            typed_amount=self.cleaned_data["amount"],
            typed_unit=self.cleaned_data["unit"],
            made_at_timestamp=int(now.timestamp()),
        )


def _account_label(account: Account) -> str:
    if account.is_frozen:
        return f"{account.name} – frozen"
    return f"{account.name} – {_shortened(format_ether(account.available_balance_in_wei))} ETH"


def _shortened(ether: str) -> str:
    """Return an amount cut, not rounded, after six decimals: the box it stands in is small."""
    whole, point, fraction = ether.partition(".")
    return ether if len(fraction) <= 6 else f"{whole}{point}{fraction[:6]}…"
