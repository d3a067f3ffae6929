"""Deposits: what came to the desk's addresses; read-only, since the chain and the ledger decide."""

import zlib
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse

from accounts.admin import cells
from accounts.admin.base import ReadOnlyAdmin, as_number
from accounts.models import Account, Journal, User
from transactions.addresses import parse_address
from transactions.exceptions import BadAddressError
from transactions.models import Block, BlockContent, Deposit, Wallet
from transactions.states import DepositStatus

HASH_LENGTH = 66
OWNED_MAX = 1_000
"""Of how many deposit addresses a search for owners shows deposits."""


@admin.register(Deposit)
class DepositAdmin(ReadOnlyAdmin):
    list_display = ("number", "status_pill", "ether", "for_whom", "sender", "short_hash", "block_number", "seen")
    list_display_links = ("number",)
    list_filter = ("status", "wallet__role", "seen_at")
    list_select_related = ("wallet__credits",)
    search_fields = ("transaction_hash",)
    search_help_text = "Deposit or account number, owner's user name, transaction hash, or an address of ours."
    ordering = ("-id",)
    fields = (
        "status_pill",
        "amount",
        "for_whom",
        "wallet_link",
        "sender_in_full",
        "hash_in_full",
        "block_number",
        "block_hash_in_full",
        "confirmations",
        "credits",
        "seen_at",
        "credited_at",
        "pages",
    )
    readonly_fields = fields

    def find(self, term: str) -> Q:
        """Find by what the term looks like, each so that an index serves it."""
        number = as_number(term)
        if number is not None:
            return Q(pk=number) | Q(wallet__in=_wallets(Q(credits_id=number)))
        if term.lower().startswith("0x") and len(term) == HASH_LENGTH:
            return Q(transaction_hash=term.lower())
        if term.lower().startswith("0x"):
            try:
                # Without its checksum: whoever searches may have it in any case.
                return Q(wallet__in=_wallets(Q(address=parse_address(term.lower()).address)))
            except BadAddressError:
                return Q(pk__in=())
        return Q(wallet__in=_wallets(Q(credits__owner__in=User.objects.filter(username__icontains=term))))

    def get_urls(self) -> list[URLPattern]:
        raw = self.admin_site.admin_view(self.raw_block)
        return [path("<int:deposit_id>/block/", raw, name="transactions_deposit_block"), *super().get_urls()]

    def raw_block(self, request: HttpRequest, deposit_id: int) -> HttpResponse:
        """Return the whole block as the node gave it, while it is kept."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        hashes = Deposit.objects.filter(pk=deposit_id).values("block_hash")
        content = BlockContent.objects.filter(hash__in=hashes).first()
        if content is None:
            raise Http404
        return HttpResponse(zlib.decompress(content.body), content_type="application/json")

    @admin.display(description="#", ordering="id")
    def number(self, row: Deposit) -> int:
        return row.pk

    @admin.display(description="status", ordering="status")
    def status_pill(self, row: Deposit) -> Any:
        tone = {DepositStatus.CREDITED: "good", DepositStatus.GONE: "bad"}.get(DepositStatus(row.status), "plain")
        return cells.pill(row.get_status_display(), tone)

    @admin.display(description="amount", ordering="amount_in_wei")
    def ether(self, row: Deposit) -> Any:
        return cells.ether(row.amount_in_wei)

    @admin.display(description="amount")
    def amount(self, row: Deposit) -> Any:
        return cells.amount(row.amount_in_wei)

    @admin.display(description="for")
    def for_whom(self, row: Deposit) -> Any:
        if row.wallet.credits_id is None:
            return "the desk itself"
        return cells.link_to(Account, row.wallet.credits_id, row.wallet.credits)

    @admin.display(description="to")
    def wallet_link(self, row: Deposit) -> Any:
        return cells.link_to(Wallet, row.wallet_id, row.wallet.address)

    @admin.display(description="from")
    def sender(self, row: Deposit) -> Any:
        return cells.short_hexadecimal(row.from_public_address)

    @admin.display(description="from")
    def sender_in_full(self, row: Deposit) -> Any:
        return cells.hexadecimal(row.from_public_address)

    @admin.display(description="hash")
    def short_hash(self, row: Deposit) -> Any:
        return cells.short_hexadecimal(row.transaction_hash)

    @admin.display(description="hash")
    def hash_in_full(self, row: Deposit) -> Any:
        return cells.hexadecimal(row.transaction_hash)

    @admin.display(description="block hash")
    def block_hash_in_full(self, row: Deposit) -> Any:
        return cells.hexadecimal(row.block_hash)

    @admin.display(description="confirmations")
    def confirmations(self, row: Deposit) -> Any:
        head = Block.newest_number()
        if head is None or row.block_number is None:
            return cells.EMPTY
        return Block.count_confirmations(row.block_number, head)

    @admin.display(description="age", ordering="id")
    def seen(self, row: Deposit) -> Any:
        return cells.age(row.seen_at)

    @admin.display(description="see also")
    def pages(self, row: Deposit) -> Any:
        links = [("Journals", cells.list_url(Journal, q=row.ledger_source))] if row.credits else []
        if BlockContent.objects.filter(hash=row.block_hash).exists():
            links.append(("Raw block", reverse("admin:transactions_deposit_block", args=[row.pk])))
        return cells.links(*links) if links else cells.EMPTY


def _wallets(wanted: Q) -> list[int]:
    """Return ids looked up first: an OR with a subquery would read every deposit."""
    return list(Wallet.objects.filter(wanted).order_by("pk").values_list("pk", flat=True)[:OWNED_MAX])
