"""Pages: an account's deposit address, and what comes to it, live."""

import hashlib
import json
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from accounts.exceptions import AccountNotFoundError, AccountsError, BadCursorError
from accounts.models import Account
from accounts.paging import Page
from accounts.queries import account_of
from accounts.signed_in import PageRequest, signed_in
from transactions.deposit_wording import tell_deposit, tell_on_the_way, tell_when_credited
from transactions.models import Wallet
from transactions.networks import network_name, payment_uri
from transactions.queries import CountedDeposit, deposit_wallet_of, deposits_on_the_way, deposits_page
from transactions.services.deposit_addresses import deposit_address_of, deposits_are_set_up

ROWS = 10
POLL_SECONDS = 5
POLL_SECONDS_ON_THE_WAY = 2


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def deposit_list(request: PageRequest, account_id: int) -> HttpResponse:
    """Show where to pay in and what came; an account without an address gets one by a button."""
    account = _own_account(request, account_id)
    if request.method == "POST":
        try:
            deposit_address_of(account.pk)
        except AccountsError:
            # The page that follows says so, unless it has passed.
            messages.error(request, "A deposit address can't be made at the moment. Nothing was changed.")
        return redirect("deposit-list", account.pk)
    wallet = deposit_wallet_of(account)
    context: dict[str, Any] = {"account": account, "wallet": wallet}
    if wallet is None:
        return render(request, "transactions/deposit_list.html", {**context, "is_set_up": deposits_are_set_up()})
    try:
        context |= _live_context(request, account, wallet)
    except BadCursorError:
        return redirect("deposit-list", account.pk)
    context |= {
        "chain_id": settings.CHAIN_ID,
        "network": network_name(settings.CHAIN_ID),
        "uri": payment_uri(wallet.address, settings.CHAIN_ID),
        "when_credited": tell_when_credited(),
    }
    return render(request, "transactions/deposit_list.html", context)


@require_safe
@signed_in
def deposits_live(request: PageRequest, account_id: int) -> HttpResponse:
    """Answer a page that watches for deposits: nothing (204) as long as what it shows is still true."""
    account = _own_account(request, account_id)
    if not request.htmx:
        return redirect("deposit-list", account.pk)
    context = {"account": account, **_live_context(request, account, deposit_wallet_of(account))}
    if request.GET.get("seen") == context["seen"]:
        return HttpResponse(status=204)
    return render(request, "transactions/_partials/deposits_update.html", context)


def _own_account(request: PageRequest, account_id: int) -> Account:
    try:
        return account_of(request.user.pk, account_id)
    except AccountNotFoundError:
        raise Http404 from None


def _live_context(request: PageRequest, account: Account, wallet: Wallet | None) -> dict[str, Any]:
    """Return what the part of the page that changes is made of; older pages of the list are still.

    :raises BadCursorError: when the address asks for no page of this list.
    """
    cursor = request.GET.get("deposits") or None
    page = deposits_page(wallet, cursor=cursor, limit=ROWS)
    on_the_way = tell_on_the_way(deposits_on_the_way(account))
    return {
        "deposits": page.map(lambda deposit: (deposit.row, tell_deposit(deposit))),
        "pager": _pager(page, cursor),
        "is_live": cursor is None,
        "on_the_way": on_the_way,
        "seen": _fingerprint(page, on_the_way),
        "poll_seconds": POLL_SECONDS_ON_THE_WAY if on_the_way else POLL_SECONDS,
    }


def _fingerprint(page: Page[CountedDeposit], on_the_way: str) -> str:
    """Return what changes whenever the page would look different."""
    looks = [(deposit.row.pk, tell_deposit(deposit).badge, tell_deposit(deposit).words) for deposit in page.items]
    return hashlib.sha256(json.dumps([on_the_way, looks]).encode()).hexdigest()[:16]


def _pager(page: Page[CountedDeposit], cursor: str | None) -> dict[str, str]:
    links = {"newest": "?#deposits"} if cursor else {}
    return links | ({"older": f"?deposits={page.next_cursor}#deposits"} if page.next_cursor else {})
