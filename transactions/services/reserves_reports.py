"""Reports of reserves: written once, in a form that others can read and check, and signed by the hot wallets' keys.

Only workers of the money queue can read the keys, so a report is kept unsigned first, and signed when one gets to it.
"""

import datetime as dt
import json
import logging
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.db import transaction as db_transaction
from django.db.models import Max

from accounts.exceptions import AccountsError
from accounts.keys import BadSignatureError, SignerUnavailableError, load_signer, recover_message, sign_message
from accounts.models import AlertKind
from accounts.services.alerts import raise_alert, resolve_alert
from transactions.models import ReservesReport, Wallet
from transactions.services.reserves import Proof
from transactions.states import WalletRole

logger = logging.getLogger(__name__)

FORMAT = "txnsite reserves report 1"
ALERT_SUBJECT = "books and chain"
NOT_COMPARED_SUBJECT = "chain not compared"

COMPARED_WITHIN = dt.timedelta(hours=36)
"""How old the newest comparison with the chain may be: two nights without one are too many."""


def keep_report(proof: Proof, now: dt.datetime) -> ReservesReport:
    """Save what was found, to be signed; raise the alert when anything differs, resolve it when all was proved.

    A proof at an older block than the newest that differed resolves nothing.
    """
    holdings = proof.holdings
    with db_transaction.atomic():
        row = ReservesReport.objects.create(
            made_at=now,
            block_number=holdings.block_number if holdings else None,
            block_hash=holdings.block_hash if holdings else "",
            not_compared=proof.not_compared,
            owed_in_wei=proof.owed_in_wei,
            held_in_wei=holdings.total_in_wei if holdings else None,
            in_flight_in_wei=sum(proof.in_flight.values()) if holdings else None,
            differences_total=proof.report.differences_total,
            text=write_text(proof, now),
        )
        if row.differences_total:
            raise_alert(kind=AlertKind.BOOKS_DIFFER, subject=ALERT_SUBJECT, message=_tell(row, proof), now=now)
        elif row.is_clean and not _differed_above(row):
            resolve_alert(kind=AlertKind.BOOKS_DIFFER, subject=ALERT_SUBJECT, now=now)
        _watch_comparisons(row, now)
    return row


def _watch_comparisons(row: ReservesReport, now: dt.datetime) -> None:
    """Raise the alert when reports have not compared the chain for long; the next that does resolves it."""
    if row.is_compared:
        resolve_alert(kind=AlertKind.BOOKS_DIFFER, subject=NOT_COMPARED_SUBJECT, now=now)
        return
    since = now - COMPARED_WITHIN
    compared = ReservesReport.objects.filter(block_number__isnull=False, made_at__gt=since)
    if ReservesReport.objects.filter(made_at__lte=since).exists() and not compared.exists():
        hours = COMPARED_WITHIN // dt.timedelta(hours=1)
        message = (
            f"No report of the last {hours} hours has compared the wallets with the chain, so nobody knows whether "
            f"they hold what the books say. {row}: {row.not_compared}"
        )
        raise_alert(kind=AlertKind.BOOKS_DIFFER, subject=NOT_COMPARED_SUBJECT, message=message, now=now)


def _differed_above(row: ReservesReport) -> bool:
    """Say whether something differed at a later block than the report's, about which the report says nothing then."""
    differed = ReservesReport.objects.filter(differences_total__gt=0).aggregate(block=Max("block_number"))["block"]
    return differed is not None and row.block_number is not None and row.block_number < differed


def write_text(proof: Proof, now: dt.datetime) -> str:
    """Return a proof as JSON by RFC 8785: keys sorted, no spaces; wei are strings, since many readers round numbers."""
    holdings, report = proof.holdings, proof.report
    document: dict[str, Any] = {
        "format": FORMAT,
        "made_at": now.astimezone(dt.UTC).isoformat(timespec="microseconds"),
        "chain_id": settings.CHAIN_ID,
        "block": {"number": holdings.block_number, "hash": holdings.block_hash} if holdings else None,
        "not_compared": proof.not_compared,
        "owed_in_wei": str(proof.owed_in_wei),
        "held_in_wei": str(holdings.total_in_wei) if holdings else None,
        "in_flight_in_wei": str(sum(proof.in_flight.values())) if holdings else None,
        "balances_in_wei": {address: str(wei) for address, wei in holdings.balances.items() if wei} if holdings else {},
        "in_flight_by_wallet_in_wei": {address: str(wei) for address, wei in proof.in_flight.items()},
        "checked": report.checked,
        "differences_total": report.differences_total,
        "differences": [asdict(difference) for difference in report.differences],
    }
    # Its keys and all texts of ours are such that Python's way of writing them is that of RFC 8785.
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sign_reports(now: dt.datetime) -> int:
    """Sign every report that isn't signed yet with the key of each hot wallet that is here; return how many were.

    Where a service that holds a key does not answer, nothing is signed now: signatures are added once.
    """
    ids = ReservesReport.objects.filter(signed_at__isnull=True).order_by("pk").values_list("pk", flat=True)
    signed = 0
    for report_id in ids:
        # What keeps one from being signed keeps the others.
        if not sign_report(report_id, now):
            break
        signed += 1
    return signed


def sign_report(report_id: int, now: dt.datetime) -> bool:
    """Sign a report if it isn't signed yet; return whether it was this call that did."""
    row = ReservesReport.objects.get(pk=report_id)
    if row.is_signed:
        return False
    try:
        signatures = _sign(row.statement)
    except SignerUnavailableError as error:
        logger.warning("%s is signed later: %s", row, error)
        return False
    if not signatures:
        return False
    unsigned = ReservesReport.objects.filter(pk=report_id, signed_at__isnull=True)
    return unsigned.update(signatures=signatures, signed_at=now) == 1


def signers_of(text: str, signatures: list[dict[str, str]]) -> list[str]:
    """Return the addresses that have signed a report's text.

    :raises BadSignatureError: when one of them has not, or nobody has.
    """
    statement = ReservesReport.statement_of(text)
    for given in signatures:
        if recover_message(statement, given["signature"]) != given["address"]:
            raise BadSignatureError(f"This is not a signature of {given['address']} under this report.")
    if not signatures:
        raise BadSignatureError("Nobody has signed this report.")
    return [given["address"] for given in signatures]


def _sign(statement: str) -> list[dict[str, str]]:
    signatures = []
    wallets = Wallet.objects.filter(role=WalletRole.HOT, retired_at__isnull=True).order_by("pk")
    for address in wallets.values_list("address", flat=True):
        try:
            signature = sign_message(load_signer(address), statement)
        except SignerUnavailableError:
            raise
        except AccountsError as error:
            # Its key may be on another machine, or not be needed any more.
            logger.warning("%s does not sign reports of reserves: %s", address, error)
            continue
        signatures.append({"address": address, "signature": signature})
    return signatures


def _tell(row: ReservesReport, proof: Proof) -> str:
    where = f"at block {row.block_number}" if row.is_compared else "in the books"
    first = f", the first of {proof.report.differences[0].subject}" if proof.report.differences else ""
    first = first.replace("the first of", "of") if row.differences_total == 1 else first
    rest = "." if row.is_compared else f"; the chain was not compared: {row.not_compared}"
    return f"{row} lists {row.differences_in_words} {where}{first}{rest}"
