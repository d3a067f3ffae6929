"""The page between a payment or a sweep and its cancel by staff: why."""

from typing import TYPE_CHECKING

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts.admin.asking import ask
from accounts.admin.base import staff_user
from accounts.admin.forms import ReasonForm
from accounts.exceptions import AccountsError
from tasks.cancelling import cancel_payment
from transactions.exceptions import TransactionsError
from transactions.models import Transaction
from transactions.states import UNSIGNED, Kind, Status

if TYPE_CHECKING:
    from transactions.admin.payments import TransactionAdmin


def cancel(model_admin: "TransactionAdmin", request: HttpRequest, transaction_id: int) -> HttpResponse:
    """Ask why a payment or a sweep is to be called off, and do it or have its place taken."""
    if not model_admin.has_cancel_permission(request):
        raise PermissionDenied
    row = Transaction.objects.filter(pk=transaction_id, kind__in=[Kind.PAYMENT, Kind.SWEEP]).first()
    if row is None:
        raise Http404
    back = reverse("admin:transactions_transaction_change", args=[row.pk])
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            row = cancel_payment(actor=staff_user(request), transaction_id=row.pk, reason=form.cleaned_data["reason"])
        except (AccountsError, TransactionsError) as error:
            model_admin.message_user(request, str(error), messages.WARNING)
        else:
            if row.status == Status.FAILED:
                done = "is cancelled."
            elif row.stage in UNSIGNED:
                done = "is cancelled as soon as it is told that no unknown transaction has paid it."
            else:
                done = "is to be replaced by a transaction that pays nobody."
            model_admin.message_user(request, f"{row} {done}", messages.SUCCESS)
        return HttpResponseRedirect(back)
    meaning = (
        "Nothing signed yet: it ends at once and the money is available again. Sent already: a transaction that pays "
        "nobody is to take its place, and whichever of the two a block takes decides; the network's fee for it is "
        "ours. While a transaction that nobody can tell may have paid it, it waits until that one is told."
    )
    return ask(
        model_admin, request, form, title=f"Cancel {row}", verb=f"Cancel the {row.kind}", meaning=meaning, back=back
    )
