"""Pages: a new payment in two steps, and one payment with its live progress."""

import dataclasses
import datetime as dt
import hashlib
import json
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from accounts.exceptions import AccountFrozenError, AccountNotFoundError, InsufficientFundsError
from accounts.models import Account
from accounts.money import format_ether
from accounts.queries import account_of, accounts_of
from accounts.signed_in import PageRequest, signed_in
from tasks.cancelling import cancel_own_payment
from tasks.submission import submit_payment
from transactions.detail import Detail, read_detail
from transactions.drafts import PaymentDraft, read_draft, sign_draft
from transactions.exceptions import AccountLockedError, NotCancellableError, QueueFullError
from transactions.forms import PaymentForm, missing_funds
from transactions.queries import is_cancel, payment_of_key, same_payment_since
from transactions.services.limits import REFUSED_BY_POLICY, Limits, check_limits, limits_of
from transactions.services.unclear import may_be_paid
from transactions.states import Stage
from transactions.wording import is_cancellable, tell

SAME_PAYMENT_WITHIN = dt.timedelta(days=1)
POLL_SECONDS = 1
POLL_SECONDS_BY_STAGE = {Stage.MINED: 2, Stage.REVIEW: 5}


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def payment_new(request: PageRequest) -> HttpResponse:
    """Ask who is to be paid how much; what is typed well goes on to the confirmation."""
    accounts = accounts_of(request.user.pk)
    if not accounts:
        return render(request, "transactions/payment_impossible.html")
    if request.method == "POST":
        form = PaymentForm(request.POST, accounts=accounts)
        if form.is_valid():
            return _to_confirmation(form.draft(user_id=request.user.pk, now=timezone.now()))
    else:
        form = PaymentForm(accounts=accounts, initial=_initial(request))
    context = {"form": form, "fee_in_wei": settings.PAYMENT_FEE_IN_WEI}
    return render(request, "transactions/transaction_form.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def payment_confirm(request: PageRequest) -> HttpResponse:
    """Show what the payment will cost and leave, and make it when the person says so: once, however often they do."""
    draft = read_draft(request.GET.get("draft", ""), user_id=request.user.pk)
    if draft is None:
        messages.error(request, "This confirmation can't be used. Nothing was paid; please fill in the form again.")
        return redirect("payment-new")
    if paid := _to_payment_if_made(request, draft):
        return paid
    if draft.is_expired(timezone.now()):
        messages.warning(request, "That confirmation was more than an hour old. Nothing was paid; please check again.")
        return redirect(f"{reverse('payment-new')}?{urlencode({'draft': request.GET['draft']})}")
    if draft.fee_in_wei != settings.PAYMENT_FEE_IN_WEI:
        return _to_confirmation_with_new_fee(request, draft)
    return _pay(request, draft) if request.method == "POST" else _show_confirmation(request, draft)


@require_safe
@signed_in
def payment_detail(request: PageRequest, transaction_id: int) -> HttpResponse:
    """Show one payment; its progress is live, by htmx or, without a script, by loading the page again."""
    context = _live_context(_own_detail(request, transaction_id))
    context["account"] = account_of(request.user.pk, context["payment"]["user_account_id"])
    return render(request, "transactions/transaction_detail.html", context)


@require_safe
@signed_in
def payment_live(request: PageRequest, transaction_id: int) -> HttpResponse:
    """Answer a page that watches a payment: nothing (204) as long as what it shows is still true."""
    detail = _own_detail(request, transaction_id)
    if not request.htmx:
        return redirect("payment-detail", transaction_id)
    context = _live_context(detail)
    if request.GET.get("seen") == context["seen"]:
        return HttpResponse(status=204)
    # The answer about a final payment asks for nothing further, which ends the polling.
    return render(request, "transactions/_partials/payment_update.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def payment_cancel(request: PageRequest, transaction_id: int) -> HttpResponse:
    """Say what cancelling will do, and do it when the person says so."""
    detail = _own_detail(request, transaction_id)
    if request.method == "POST":
        try:
            cancel_own_payment(user_id=request.user.pk, transaction_id=transaction_id)
        except NotCancellableError as error:
            messages.warning(request, str(error))
        return redirect("payment-detail", transaction_id)
    if not is_cancellable(detail):
        return redirect("payment-detail", transaction_id)
    context = {
        "payment": detail,
        "is_sent": detail["stage"] in (Stage.SIGNED, Stage.BROADCAST),
        "may_be_paid": may_be_paid(dt.datetime.fromisoformat(detail["accepted_at"])),
    }
    return render(request, "transactions/transaction_cancel.html", context)


def _initial(request: PageRequest) -> dict[str, object]:
    """Return what the form starts with: an account from a link, or all of a draft that is to be changed."""
    draft = read_draft(request.GET.get("draft", ""), user_id=request.user.pk)
    if draft is None:
        return {"account": request.GET.get("account"), "unit": "ether"}
    return {
        "account": draft.user_account_id,
        "to": draft.typed_to,
        "amount": draft.typed_amount,
        "unit": draft.typed_unit,
    }


def _to_confirmation(draft: PaymentDraft) -> HttpResponseRedirect:
    return HttpResponseRedirect(f"{reverse('payment-confirm')}?{urlencode({'draft': sign_draft(draft)})}")


def _to_confirmation_with_new_fee(request: PageRequest, draft: PaymentDraft) -> HttpResponse:
    """Show the confirmation again: nobody pays a fee that they weren't shown."""
    fee = settings.PAYMENT_FEE_IN_WEI
    messages.warning(request, f"The fee has changed to {format_ether(fee)} ETH. Nothing was paid; please look again.")
    return _to_confirmation(dataclasses.replace(draft, fee_in_wei=fee))


def _to_payment_if_made(request: PageRequest, draft: PaymentDraft) -> HttpResponse | None:
    """Lead a confirmation that was used before to its payment."""
    payment_id = payment_of_key(
        user_id=draft.user_id, account_id=draft.user_account_id, idempotency_key=draft.idempotency_key
    )
    if payment_id is None:
        return None
    messages.info(request, "You confirmed this payment before. It was made once and is not made again.")
    return redirect("payment-detail", payment_id)


def _pay(request: PageRequest, draft: PaymentDraft) -> HttpResponse:
    """Make the payment and go to its page."""
    try:
        acceptance = submit_payment(
            user_id=request.user.pk,
            user_account_id=draft.user_account_id,
            to_public_address=draft.to_public_address,
            amount_in_wei=draft.amount_in_wei,
            idempotency_key=draft.idempotency_key,
        )
    except AccountNotFoundError:
        raise Http404 from None
    except (InsufficientFundsError, AccountFrozenError, *REFUSED_BY_POLICY) as error:
        # The page that is shown again says which, with the numbers of now; the error, if those would do again.
        return _show_confirmation(request, draft, error=f"{error} Nothing was paid.", status=422)
    except QueueFullError as error:
        return _show_confirmation(request, draft, error=f"{error} Nothing was paid so far.", status=429)
    except AccountLockedError as error:
        # The other payment may be this very one, sent by a second click.
        paid = _to_payment_if_made(request, draft)
        return paid or _show_confirmation(request, draft, error=f"{error} Nothing was paid so far.", status=409)
    return redirect("payment-detail", acceptance.detail["id"])


def _show_confirmation(
    request: PageRequest, draft: PaymentDraft, *, error: str = "", status: int = 200
) -> HttpResponse:
    """Show what would be paid, and whatever speaks against it or asks for a second look."""
    try:
        account = account_of(request.user.pk, draft.user_account_id)
    except AccountNotFoundError:
        raise Http404 from None
    limits = limits_of(account.pk, draft.to_public_address)
    context = {
        "draft": draft,
        "draft_text": request.GET["draft"],
        "account": account,
        "obstacle": _obstacle(account, draft, limits),
        "needs_approval": limits.needs_approval(draft.amount_in_wei),
        "error": error,
        "left_in_wei": account.available_balance_in_wei - draft.total_in_wei,
        "same_payment": same_payment_since(
            account_id=account.pk,
            to_public_address=draft.to_public_address,
            amount_in_wei=draft.amount_in_wei,
            since=timezone.now() - SAME_PAYMENT_WITHIN,
        ),
    }
    return render(request, "transactions/transaction_confirm.html", context, status=status)


def _obstacle(account: Account, draft: PaymentDraft, limits: Limits) -> str:
    """Return why the payment can't be made as things are now, or nothing."""
    if account.is_frozen:
        return str(AccountFrozenError())
    try:
        check_limits(limits, account_id=account.pk, amount_in_wei=draft.amount_in_wei, now=timezone.now())
    except REFUSED_BY_POLICY as error:
        return str(error)
    return missing_funds(account, draft.total_in_wei)


def _own_detail(request: PageRequest, transaction_id: int) -> Detail:
    """Return one of the person's own payments; another's is as good as none."""
    detail = read_detail(transaction_id)
    if detail is None or detail["owner_id"] != request.user.pk:
        raise Http404
    return detail


def _live_context(detail: Detail) -> dict[str, Any]:
    """Return what the part of the payment page that changes is made of."""
    hash_is_of_cancel = is_cancel(detail)
    return {
        "payment": detail,
        "total_in_wei": int(detail["transaction_amount_in_wei"]) + int(detail["transaction_fee_total_in_wei"]),
        "is_cancellable": is_cancellable(detail),
        "hash_is_of_cancel": hash_is_of_cancel,
        "story": tell(detail, by_depth=settings.CHAIN_FINALITY == "depth", is_cancel=hash_is_of_cancel),
        "seen": hashlib.sha256(json.dumps(detail, sort_keys=True).encode()).hexdigest()[:16],
        "poll_seconds": POLL_SECONDS_BY_STAGE.get(Stage(detail["stage"]), POLL_SECONDS),
    }
