"""Pay once from the demo account and print each stage to the end."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Account, AccountKind
from accounts.money import format_ether
from tasks.submission import submit_payment
from transactions.detail import Detail, read_detail
from transactions.models import Transaction

RECIPIENT = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
"""The last of the ten accounts that anvil makes by default."""

AMOUNT_IN_WEI = 1_250_000_000_000_000_000


class Command(BaseCommand):
    help = "Pay 1.25 ETH from the demo account and print each stage until the payment is final."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="do nothing if the demo account has paid before")
        parser.add_argument("--timeout", type=int, default=120, help="seconds to wait for the end (default 120)")

    def handle(self, *args: Any, **options: Any) -> None:
        account = Account.objects.filter(owner__username="demo", kind=AccountKind.USER).first()
        if account is None or account.owner_id is None:
            raise CommandError("There is no demo account: run manage.py load_demo first.")
        if options["once"] and Transaction.objects.filter(user_account=account).exists():
            return
        acceptance = submit_payment(
            user_id=account.owner_id,
            user_account_id=account.pk,
            to_public_address=RECIPIENT,
            amount_in_wei=AMOUNT_IN_WEI,
            idempotency_key=None,
        )
        self._watch(acceptance.detail, options["timeout"])

    def _watch(self, detail: Detail | None, timeout_seconds: int) -> None:
        start = time.monotonic()
        said = ""
        while detail is not None:
            line = _describe(detail)
            if line != said:
                self.stdout.write(f"  {time.monotonic() - start:5.1f} s  {line}")
                self.stdout.flush()
                said = line
            if detail["status"] != "PENDING":
                return
            if time.monotonic() - start > timeout_seconds:
                raise CommandError(f"Payment #{detail['id']} is not final after {timeout_seconds} s.")
            time.sleep(0.2)
            detail = read_detail(detail["id"])


def _describe(detail: Detail) -> str:
    amount = format_ether(int(detail["transaction_amount_in_wei"]))
    match detail["stage"]:
        case "REVIEW":
            return f"REVIEW     payment #{detail['id']}: {amount} ETH wait for approval, funds held"
        case "ACCEPTED":
            return f"ACCEPTED   payment #{detail['id']}: {amount} ETH to {detail['to_public_address']}, funds held"
        case "SIGNED":
            return f"SIGNED     nonce {detail['nonce']}, {detail['transaction_hash']}"
        case "BROADCAST":
            return f"BROADCAST  {detail['transaction_hash']}"
        case "MINED":
            required = detail["confirmations_required"]
            confirmations = min(detail["confirmations"], required)
            return f"MINED      block {detail['block_number']}: {confirmations} of {required} confirmations"
        case _:
            fee = format_ether(int(detail["transaction_fee_blockchain_in_wei"] or 0))
            return f"{detail['status']} network fee {fee} ETH {detail['failure_reason']}".rstrip()
