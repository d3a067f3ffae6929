"""The pages between an action and its effect: who or what it is about, why, and what it comes to."""

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts.admin.asking import ask
from accounts.admin.base import as_number, staff_user
from accounts.admin.forms import AdjustmentForm, ReasonForm
from accounts.exceptions import AccountsError, InsufficientFundsError
from accounts.models import Account, AccountKind
from accounts.money import format_ether
from accounts.services.accounts import freeze_account, unfreeze_account
from accounts.services.adjustments import credit_account, debit_account

if TYPE_CHECKING:
    from accounts.admin.accounts import AccountAdmin

AT_ONCE_MAX = 100


def change_frozen(model_admin: "AccountAdmin", request: HttpRequest, *, freeze: bool) -> HttpResponse:
    """Ask why the accounts in the address (`?id=1&id=2`) are to be frozen or unfrozen, and do it."""
    if not model_admin.has_freeze_permission(request):
        raise PermissionDenied
    accounts = _chosen(request)
    if not accounts:
        model_admin.message_user(request, "Choose at least one user's account.", messages.ERROR)
        return HttpResponseRedirect(reverse("admin:accounts_account_changelist"))
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        service, done = (freeze_account, "Frozen") if freeze else (unfreeze_account, "Unfrozen")
        for account in accounts:
            try:
                service(actor=staff_user(request), account_id=account.pk, reason=form.cleaned_data["reason"])
            except AccountsError as error:
                model_admin.message_user(request, str(error), messages.WARNING)
            else:
                model_admin.message_user(request, f"{done}: {account}.", messages.SUCCESS)
        return _back(accounts)
    verb = "Freeze" if freeze else "Unfreeze"
    title = f"{verb} {accounts[0]}" if len(accounts) == 1 else f"{verb} {len(accounts)} accounts"
    back = reverse("admin:accounts_account_changelist")
    context: dict[str, Any] = {"title": title, "verb": verb, "back": back, "freeze": freeze, "accounts": accounts}
    return ask(model_admin, request, form, template="admin/accounts/account/freeze.html", **context)


def change_balance(model_admin: "AccountAdmin", request: HttpRequest, account_id: int, *, credit: bool) -> HttpResponse:
    """Ask how much is to be credited or debited and why, show before and after, and do it when that is confirmed."""
    if not model_admin.has_adjust_permission(request):
        raise PermissionDenied
    account = Account.objects.select_related("owner").filter(pk=account_id, kind=AccountKind.USER).first()
    if account is None:
        raise Http404
    form = AdjustmentForm(request.POST or None)
    is_valid = request.method == "POST" and form.is_valid()
    if is_valid and "confirm" in request.POST and _adjust(model_admin, request, account, form, credit=credit):
        return _back([account])
    change = 0
    if is_valid:
        change = form.cleaned_data["amount_in_wei"] * (1 if credit else -1)
        if not form.errors and account.available_balance_in_wei + change < 0:
            form.add_error("amount", str(InsufficientFundsError()))
    verb = "Credit" if credit else "Debit"
    context: dict[str, Any] = {
        "title": f"{verb} {account}",
        "verb": verb,
        "back": reverse("admin:accounts_account_change", args=[account.pk]),
        "account": account,
        "is_review": is_valid and not form.errors and "change" not in request.POST,
        "change_in_wei": change,
        "balances": [
            ("Current balance", account.current_balance_in_wei, account.current_balance_in_wei + change),
            ("Available balance", account.available_balance_in_wei, account.available_balance_in_wei + change),
        ],
    }
    return ask(model_admin, request, form, template="admin/accounts/account/adjust.html", **context)


def _adjust(
    model_admin: "AccountAdmin", request: HttpRequest, account: Account, form: AdjustmentForm, *, credit: bool
) -> bool:
    """Post the adjustment; on a refusal say why in the form."""
    service = credit_account if credit else debit_account
    amount = form.cleaned_data["amount_in_wei"]
    try:
        adjustment = service(
            actor=staff_user(request),
            account_id=account.pk,
            amount_in_wei=amount,
            reason=form.cleaned_data["reason"],
            request_id=str(form.cleaned_data["request_id"]),
        )
    except AccountsError as error:
        form.add_error(None, str(error))
        return False
    done = f"{'Credited' if credit else 'Debited'} {format_ether(amount)} ETH: {account}."
    if adjustment.replayed:
        done = f"This was done before, by the same form: {done} Nothing was posted a second time."
    model_admin.message_user(request, done, messages.INFO if adjustment.replayed else messages.SUCCESS)
    return True


def _chosen(request: HttpRequest) -> list[Account]:
    numbers = [number for text in request.GET.getlist("id")[:AT_ONCE_MAX] if (number := as_number(text)) is not None]
    return list(Account.objects.select_related("owner").filter(pk__in=numbers, kind=AccountKind.USER).order_by("pk"))


def _back(accounts: list[Account]) -> HttpResponse:
    """Go to the account's page, or to the list after several."""
    if len(accounts) == 1:
        return HttpResponseRedirect(reverse("admin:accounts_account_change", args=[accounts[0].pk]))
    return HttpResponseRedirect(reverse("admin:accounts_account_changelist"))
