"""Pages: sign in, the list of a person's accounts, one account with its payments and entries."""

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.text import capfirst
from django.views.decorators.http import require_safe

from accounts.exceptions import AccountNotFoundError, BadCursorError
from accounts.models import Entry, JournalKind
from accounts.paging import Page
from accounts.queries import account_of, accounts_of, entries_page
from accounts.signed_in import PageRequest, signed_in
from transactions.deposit_wording import tell_on_the_way
from transactions.queries import deposits_on_the_way, transactions_page

ROWS = 10


class SignInForm(AuthenticationForm):
    """Who signs in, with errors in our words."""

    error_messages = {
        "invalid_login": "This username and password don’t go together. Mind upper and lower case.",
        "inactive": "This sign-in was switched off. Ask our staff.",
    }


class SignInView(LoginView):
    """Sign in."""

    form_class = SignInForm
    template_name = "accounts/sign_in.html"
    redirect_authenticated_user = True


@require_safe
@signed_in
def account_list(request: PageRequest) -> HttpResponse:
    """Show all accounts of the person."""
    return render(request, "accounts/account_list.html", {"accounts": accounts_of(request.user.pk)})


@require_safe
@signed_in
def account_detail(request: PageRequest, account_id: int) -> HttpResponse:
    """Show one account: balances, payments and entries, each list on pages of its own."""
    user_id = request.user.pk
    cursors = {name: request.GET[name] for name in ("payments", "entries") if request.GET.get(name)}
    try:
        account = account_of(user_id, account_id)
        payments = transactions_page(user_id=user_id, account_id=account_id, cursor=cursors.get("payments"), limit=ROWS)
        entries = entries_page(user_id=user_id, account_id=account_id, cursor=cursors.get("entries"), limit=ROWS)
    except AccountNotFoundError:
        raise Http404 from None
    except BadCursorError:
        return redirect("account-detail", account_id)
    return render(
        request,
        "accounts/account_detail.html",
        {
            "account": account,
            "payments": payments,
            "payments_pager": _pager("payments", payments, cursors),
            "on_the_way": tell_on_the_way(deposits_on_the_way(account)),
            "entries": entries.map(_with_cause),
            "entries_pager": _pager("entries", entries, cursors),
        },
    )


def _with_cause(entry: Entry) -> tuple[Entry, str, str]:
    """Add what an entry is called, and the page of what caused it, if it has one."""
    match entry.journal.kind:
        case JournalKind.SETTLEMENT if entry.journal.source.isdecimal():
            payment_id = entry.journal.source
            return entry, f"Payment #{payment_id}", reverse("payment-detail", args=[payment_id])
        case JournalKind.DEPOSIT:
            return entry, "Deposit", reverse("deposit-list", args=[entry.account_id])
        case JournalKind.DEPOSIT_REVERSAL:
            return entry, "Deposit undone by the network", reverse("deposit-list", args=[entry.account_id])
    return entry, entry.journal.description or capfirst(entry.journal.get_kind_display()), ""


def _pager(name: str, page: Page[Any], cursors: dict[str, str]) -> dict[str, str]:
    """Return the links of one list that leave the other list where it is."""
    others = {other: cursor for other, cursor in cursors.items() if other != name}
    links = {}
    if name in cursors:
        links["newest"] = f"?{urlencode(others)}#{name}"
    if page.next_cursor:
        links["older"] = f"?{urlencode(others | {name: page.next_cursor})}#{name}"
    return links
