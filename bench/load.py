"""What a row begins with: users with tokens and funded accounts, a funded wallet, payments."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone

from accounts.keys import create_keystore, list_keystores
from accounts.ledger import JournalDraft, post, system_account
from accounts.models import Account, AccountKind, JournalKind, User
from accounts.services.tokens import create_token
from bench.client import build_request
from bench.desk import Desk
from transactions.models import Wallet
from transactions.services.accept import accept_transaction
from transactions.services.wallets import register_wallet

ETHER = 10**18
ACCOUNT_FUNDS_IN_WEI = 1_000_000 * ETHER
WALLET_FUNDS_IN_WEI = 1_000_000_000 * ETHER
ACCOUNTS_EACH = 25

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Payer:
    """A user's program: its token and the accounts it pays from."""

    user_id: int
    token: str
    account_ids: Sequence[int]

    def requests(self) -> Iterator[bytes]:
        """Return payments to send over HTTP, without end, one account after another, each to a recipient of its own."""
        for account_id in itertools.cycle(self.account_ids):
            number = next(_numbers)
            body = {"user_account_id": account_id, "to_public_address": _recipient(number)}
            headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": f"bench-{number}"}
            content = json.dumps(body | {"transaction_amount_in_wei": str(number)}).encode()
            yield build_request("POST", "/api/v1/transactions", headers, content)


def load_payers(count: int) -> list[Payer]:
    """Create users, each with a token and 25 funded accounts."""
    payers = []
    for number in range(count):
        user = User.objects.create(username=f"payer-{number}")
        accounts = Account.objects.bulk_create(
            Account(owner=user, name=f"Account {index}") for index in range(ACCOUNTS_EACH)
        )
        ids = [account.pk for account in accounts]
        payers.append(Payer(user.pk, create_token(user=user, name="bench").text, ids))
    funding = system_account(AccountKind.EXTERNAL_FUNDING).pk
    drafts = [
        JournalDraft(
            JournalKind.ADJUSTMENT,
            f"bench-{account_id}",
            [(account_id, ACCOUNT_FUNDS_IN_WEI), (funding, -ACCOUNT_FUNDS_IN_WEI)],
        )
        for payer in payers
        for account_id in payer.account_ids
    ]
    post(now=timezone.now(), journals=drafts)
    return payers


def load_wallet(desk: Desk) -> Wallet:
    """Register the one hot wallet, with ether on the chain; its key is the same in every row."""
    known = list_keystores(settings.KEYSTORE_DIR)
    address = known[0] if known else create_keystore(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE)
    desk.anvil.set_balance(address, WALLET_FUNDS_IN_WEI)
    # What an earlier row has sent from it must be final, or the desk would take it for a stranger's work.
    desk.anvil.mine(settings.CONFIRMATIONS + 1)
    return register_wallet(address)


def accept_payments(payers: Sequence[Payer], count: int) -> list[int]:
    """Accept payments in this process, without a word to any worker; return their ids."""
    sources = itertools.cycle([(payer, account_id) for payer in payers for account_id in payer.account_ids])
    ids = []
    for payer, account_id in itertools.islice(sources, count):
        number = next(_numbers)
        acceptance = accept_transaction(
            user_id=payer.user_id,
            user_account_id=account_id,
            to_public_address=_recipient(number),
            amount_in_wei=number,
            idempotency_key=f"bench-{number}",
            now=timezone.now(),
        )
        ids.append(acceptance.detail["id"])
    return ids


def _recipient(number: int) -> str:
    """Return an address that nobody has used, away from the precompiled contracts at the lowest ones."""
    return f"0x{0xBE << 152 | number:040x}"
