"""The pages between a wallet and what staff do about it: why, and for an unknown transaction what it was."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from accounts.admin.asking import ask
from accounts.admin.base import as_number, staff_user
from accounts.admin.forms import ReasonField, ReasonForm
from accounts.exceptions import AccountsError
from accounts.money import format_ether
from tasks.exceptions import TasksError
from tasks.staff import start_resumption, start_sweep
from transactions.chain.client import chain_for_pages
from transactions.chain.exceptions import ChainError
from transactions.exceptions import NonceNotUnknownError, NotTheSamePaymentError, TransactionsError
from transactions.models import Wallet
from transactions.services import tell_apart, wallet_care

if TYPE_CHECKING:
    from transactions.admin.wallets import WalletAdmin

SWEPT_AT_ONCE_MAX = 100

STEPS = {
    "pause": (wallet_care.check_may_pause, wallet_care.pause, "Paused", "Nothing more is signed for a paused wallet, "
              "neither payments nor replacements. What was sent goes on."),
    "drain": (wallet_care.check_may_drain, wallet_care.drain, "Draining", "A draining wallet is given no new payments. "
              "What it has under way goes on, replacements included."),
    "resume": (wallet_care.check_may_resume, wallet_care.resume, "Resumed", "The wallet pays again. What it was paused "
               "for is looked at anew before it does. One that was replaced only gets rid of what it holds; a retired "
               "one needs its key file back first."),
}  # fmt: skip
"""Of each step: what refuses it, what does it, what is said when it is done, and what it means."""


class IdentifyForm(forms.Form):
    """What the unknown transaction was."""

    payment = forms.IntegerField(
        required=False,
        min_value=1,
        label="Payment number",
        help_text="Of the waiting payment that it paid. Leave it empty if it was none of ours.",
    )
    is_none_of_ours = forms.BooleanField(required=False, label="It was none of ours")
    reason = ReasonField()
    transaction_hash = forms.CharField(widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if bool(cleaned.get("payment")) == bool(cleaned.get("is_none_of_ours")):
            raise forms.ValidationError("Name the payment, or say that it was none of ours.")
        return cleaned


class PassOverForm(ReasonForm):
    """That what no node can tell is none of ours; the nonces as they were when that was asked."""

    is_none_of_ours = forms.BooleanField(label="None of it was made by this desk")
    first_nonce = forms.IntegerField(widget=forms.HiddenInput)
    end_nonce = forms.IntegerField(widget=forms.HiddenInput)
    field_order = ("is_none_of_ours", "reason")


def change_state(model_admin: "WalletAdmin", request: HttpRequest, wallet_id: int, step: str) -> HttpResponse:
    """Ask why a wallet is to be paused, drained or resumed, and do it."""
    if step not in STEPS:
        raise Http404
    check, service, done, meaning = STEPS[step]
    wallet = _wallet(model_admin, request, wallet_id)
    form = ReasonForm(request.POST or None)
    try:
        check(wallet)
        if request.method == "POST" and form.is_valid():
            terms = {"actor": staff_user(request), "wallet_id": wallet.pk, "reason": form.cleaned_data["reason"]}
            if step == "resume" and wallet.retired_at is not None:
                return HttpResponseRedirect(reverse("task-detail", args=[start_resumption(**terms).pk]))
            service(**terms, now=timezone.now())
            model_admin.message_user(request, f"{done}: {wallet}.", messages.SUCCESS)
            return HttpResponseRedirect(_page(wallet))
    except (AccountsError, TasksError, TransactionsError) as error:
        model_admin.message_user(request, str(error), messages.WARNING)
        return HttpResponseRedirect(_page(wallet))
    verb = step.capitalize()
    context = {"title": f"{verb} {wallet}", "verb": verb, "meaning": meaning}
    return ask(model_admin, request, form, back=_page(wallet), **context)


def identify(model_admin: "WalletAdmin", request: HttpRequest, wallet_id: int) -> HttpResponse:
    """Ask what the transaction was that used a paused wallet's next nonce, and take it in as that."""
    wallet = _wallet(model_admin, request, wallet_id)
    form = IdentifyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        hash_ = form.cleaned_data["transaction_hash"]
        try:
            tell_apart.identify_nonce(
                actor=staff_user(request),
                wallet_id=wallet.pk,
                transaction_hash=hash_,
                payment_id=form.cleaned_data["payment"],
                reason=form.cleaned_data["reason"],
                now=timezone.now(),
                chain=chain_for_pages(),
            )
        except NotTheSamePaymentError as error:
            form.add_error(None, str(error))
        except (AccountsError, TransactionsError, ChainError) as error:
            model_admin.message_user(request, str(error), messages.WARNING)
            return HttpResponseRedirect(_page(wallet))
        else:
            model_admin.message_user(request, f"Taken in: {hash_}. Resume the wallet to go on.", messages.SUCCESS)
            return HttpResponseRedirect(_page(wallet))
    try:
        _, mined = tell_apart.find_unknown(wallet_id=wallet.pk, chain=chain_for_pages())
    except NonceNotUnknownError:
        return HttpResponseRedirect(reverse("admin:transactions_wallet_pass_over", args=[wallet.pk]))
    except (TransactionsError, ChainError) as error:
        model_admin.message_user(request, str(error), messages.WARNING)
        return HttpResponseRedirect(_page(wallet))
    form.initial["transaction_hash"] = mined.hash
    sent = f"{format_ether(mined.value_in_wei)} ETH to {mined.to_address or 'a new contract'}"
    context = {
        "title": f"Nonce {mined.nonce} of {wallet}",
        "verb": "Take it in",
        "meaning": f"{mined.hash} used it and sent {sent}. {wallet.paused_reason}",
    }
    return ask(model_admin, request, form, back=_page(wallet), **context)


def pass_over(model_admin: "WalletAdmin", request: HttpRequest, wallet_id: int) -> HttpResponse:
    """Ask why a paused wallet may go on behind nonces of which no node can tell anything, and let it."""
    wallet = _wallet(model_admin, request, wallet_id)
    try:
        untold = tell_apart.find_untold(wallet_id=wallet.pk, chain=chain_for_pages())
        nonces = untold.nonces
        form = PassOverForm(request.POST or None, initial={"first_nonce": nonces.start, "end_nonce": nonces.stop})
        if request.method == "POST" and form.is_valid():
            asked = range(form.cleaned_data["first_nonce"], form.cleaned_data["end_nonce"])
            tell_apart.pass_over(
                actor=staff_user(request),
                wallet_id=wallet.pk,
                nonces=asked,
                reason=form.cleaned_data["reason"],
                chain=chain_for_pages(),
            )
            told = f"Passed over: {_tell_nonces(asked)}. Resume the wallet to go on."
            model_admin.message_user(request, told, messages.SUCCESS)
            return HttpResponseRedirect(_page(wallet))
    except (AccountsError, TransactionsError, ChainError) as error:
        model_admin.message_user(request, str(error), messages.WARNING)
        return HttpResponseRedirect(_page(wallet))
    becomes = (
        "if it comes back, it competes with what is sent at its nonce from now on."
        if untold.is_gone
        else "what no block holds yet is replaced by transactions that pay nobody."
    )
    meaning = (
        f"{wallet.paused_reason} No node can tell what {_tell_nonces(nonces)} of this wallet was used for. If none of "
        f"it was made by this desk (before a backup that was restored, say), the wallet can go on: {becomes} "
        "Every payment that has waited for this goes out. If one of those was paid by it after all, it is paid twice."
    )
    context = {"title": f"Pass over {_tell_nonces(nonces)} of {wallet}", "verb": "Go on without it", "meaning": meaning}
    return ask(model_admin, request, form, back=_page(wallet), **context)


def _tell_nonces(nonces: range) -> str:
    return f"nonce {nonces.start}" if len(nonces) == 1 else f"nonces {nonces.start} to {nonces.stop - 1}"


def sweep(model_admin: "WalletAdmin", request: HttpRequest) -> HttpResponse:
    """Ask why the deposit addresses in the address (`?id=1&id=2`), or all, are to be swept now, and have it done."""
    if not model_admin.has_operate_permission(request):
        raise PermissionDenied
    chosen = [number for text in request.GET.getlist("id") if (number := as_number(text)) is not None]
    wallet_ids = chosen[:SWEPT_AT_ONCE_MAX] if "id" in request.GET else None
    back = f"{reverse('admin:transactions_wallet_changelist')}?role=deposit"
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        reason = form.cleaned_data["reason"]
        try:
            run = start_sweep(actor=staff_user(request), wallet_ids=wallet_ids, reason=reason)
        except (AccountsError, TasksError) as error:
            model_admin.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(back)
        return HttpResponseRedirect(reverse("task-detail", args=[run.pk]))
    what = "all deposit addresses"
    if wallet_ids is not None:
        what = "1 deposit address" if len(wallet_ids) == 1 else f"{len(wallet_ids)} deposit addresses"
    context = {
        "title": f"Sweep {what}",
        "verb": "Sweep now",
        "meaning": f"What was credited is moved to the hot wallet that holds least, from each address that holds "
        f"{format_ether(settings.SWEEP_MIN_IN_WEI)} ETH or more beside the network's fee, which the desk pays.",
    }
    return ask(model_admin, request, form, back=back, **context)


def _wallet(model_admin: "WalletAdmin", request: HttpRequest, wallet_id: int) -> Wallet:
    if not model_admin.has_operate_permission(request):
        raise PermissionDenied
    wallet = Wallet.objects.filter(pk=wallet_id).first()
    if wallet is None:
        raise Http404
    return wallet


def _page(wallet: Wallet) -> str:
    return reverse("admin:transactions_wallet_change", args=[wallet.pk])
