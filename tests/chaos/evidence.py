"""A small desk that has done everything right, for checks to find nothing in until somebody doctors it."""

from dataclasses import replace
from typing import Any, TypeVar

from chaos.cast import Cast, Payer
from chaos.evidence import Evidence
from chaos.onchain import ChainFacts, Count, Mined
from chaos.rows import Account, Attempt, Deposit, Entry, Hold, Payment, Rows, Wallet
from chaos.told import Answer, Order, Told

T = TypeVar("T")

RICH, POOR, WALLET_ACCOUNT, INCOME, NETWORK, FUNDING, SAVER, DEPOSIT_ACCOUNT = 1, 2, 3, 4, 5, 6, 7, 8
FUNDS = 1_000
POOR_FUNDS = 120
WALLET_FUNDS = 5_000
FEE = 10
GAS = 3
WALLET = f"0x{0xAA:040x}"
PAID = f"0x{0xB1:040x}"
REVERTING = f"0x{0xB2:040x}"
REFUSING = f"0x{0xB3:040x}"
POOR_PAID = f"0x{0xB4:040x}"
DEPOSIT_ADDRESS = f"0x{0xDD:040x}"
OUTSIDER = f"0x{0xCC:040x}"
CREDITED_AT = 150.0


def honest() -> Evidence:
    """Return four payments: paid, reverted, rejected, and paid by the poor account, which was then refused one.

    A deposit came to the saver's address and was swept, and the hot wallet was funded.
    """
    payments = [
        _payment(1, RICH, PAID, 100, nonce=0),
        _payment(2, RICH, REVERTING, 50, nonce=1, status="FAILED", failure_reason="reverted"),
        _rejected(3, RICH, REFUSING, 70),
        _payment(4, POOR, POOR_PAID, 80, nonce=2),
    ]
    entries = [
        *_journal(1, "adjustment", "chaos-1", (RICH, FUNDS, FUNDS), (FUNDING, -FUNDS, -FUNDS)),
        *_journal(2, "adjustment", "chaos-2", (POOR, POOR_FUNDS, POOR_FUNDS), (FUNDING, -POOR_FUNDS, -1_120)),
        *_journal(3, "wallet_funding", "x", (WALLET_ACCOUNT, -5_000, -5_000), (FUNDING, 5_000, 3_880)),
        *_journal(4, "settlement", "1", (RICH, -110, 890), (WALLET_ACCOUNT, 103, -4_897), (INCOME, 7, 7)),
        *_journal(5, "settlement", "2", (WALLET_ACCOUNT, 3, -4_894), (NETWORK, -3, -3)),
        *_journal(11, "deposit", _hash(6), (SAVER, 200, 200), (DEPOSIT_ACCOUNT, -200, -200), at=CREDITED_AT),
        *_journal(12, "settlement", "5", (DEPOSIT_ACCOUNT, 153, -47), (FUNDING, -150, 3_730), (NETWORK, -3, -6)),
        *_journal(14, "wallet_funding", _hash(5), (FUNDING, 150, 3_880), (WALLET_ACCOUNT, -150, -5_044)),
        *_journal(13, "wallet_funding", _hash(7), (FUNDING, 20, 3_900), (WALLET_ACCOUNT, -20, -5_064)),
        *_journal(6, "settlement", "4", (POOR, -90, 30), (WALLET_ACCOUNT, 83, -4_981), (INCOME, 7, 14)),
    ]
    sweep = _payment(
        5,
        NETWORK,
        WALLET,
        150,
        nonce=0,
        kind="sweep",
        wallet_id=2,
        idempotency_key=None,
    )
    deposits = [_came(6, DEPOSIT_ADDRESS, 200, nonce=0), _came(7, WALLET, 20, nonce=1)]
    rows = Rows(
        payments=payments,
        sweeps=[sweep],
        attempts=[
            *(Attempt(_hash(each.id), each.id, 1, each.nonce) for each in payments if each.nonce is not None),
            Attempt(_hash(5), 5, 2, 0),
        ],
        wallets=[Wallet(1, WALLET, WALLET_ACCOUNT, 3), Wallet(2, DEPOSIT_ADDRESS, DEPOSIT_ACCOUNT, 1)],
        deposits=[
            Deposit(1, 2, _hash(6), 200, "credited", 16, "0xb6"),
            Deposit(2, 1, _hash(7), 20, "credited", 17, "0xb7"),
            Deposit(3, 2, "0xforgotten", 33, "gone", None, ""),
            Deposit(4, 1, _hash(5), 150, "credited", 15, "0xb5"),
        ],
        accounts=[
            Account(RICH, "user", 890, 890),
            Account(POOR, "user", 30, 30),
            Account(WALLET_ACCOUNT, "hot_wallet", -4_981, -4_981),
            Account(INCOME, "fee_income", 14, 14),
            Account(NETWORK, "network_fees", -6, -6),
            Account(FUNDING, "external_funding", 3_900, 3_900),
            Account(SAVER, "user", 200, 200),
            Account(DEPOSIT_ACCOUNT, "deposit_address", -47, -47),
        ],
        entries=entries,
        holds=[
            Hold("payment", "1", RICH, 110, "settled"),
            Hold("payment", "2", RICH, 60, "released"),
            Hold("payment", "3", RICH, 80, "released"),
            Hold("payment", "4", POOR, 90, "settled"),
        ],
    )
    chain = ChainFacts(
        mined=[
            _mined(payments[0]),
            _mined(payments[1], succeeded=False),
            _mined(payments[3]),
            replace(_mined(sweep), from_address=DEPOSIT_ADDRESS),
            *deposits,
        ],
        balances_in_wei={
            WALLET: 4_981,
            DEPOSIT_ADDRESS: 47,
            PAID: 100,
            REVERTING: 0,
            REFUSING: 0,
            POOR_PAID: 80,
        },
        counts={WALLET: Count(3, 3), DEPOSIT_ADDRESS: Count(1, 1)},
    )
    return Evidence(_cast(), rows, chain, _told(payments))


def change(items: Any, index: int, **changes: Any) -> None:
    """Replace one item of a list by one that differs in these fields."""
    items[index] = replace(items[index], **changes)


def _cast() -> Cast:
    rich = Payer("client-1", "secret", [RICH, SAVER])
    poor = Payer("poor", "secret", [POOR])
    funds = {RICH: FUNDS, POOR: POOR_FUNDS, SAVER: 0}
    return Cast([rich], poor, Payer("probe", "secret", []), [WALLET], funds, {SAVER: DEPOSIT_ADDRESS})


def _payment(number: int, account: int, to: str, amount: int, *, nonce: int | None, **changes: Any) -> Payment:
    payment = Payment(
        id=number,
        user_account_id=account,
        status="SUCCESSFUL",
        stage="SETTLED",
        failure_reason="",
        wait_reason="",
        to_public_address=to,
        transaction_amount_in_wei=amount,
        transaction_fee_total_in_wei=FEE,
        transaction_fee_blockchain_in_wei=GAS,
        transaction_hash=_hash(number),
        idempotency_key=f"key-{number}",
        wallet_id=1,
        nonce=nonce,
        block_number=10 + number,
        block_hash=f"0xb{number}",
    )
    return replace(payment, **changes)


def _rejected(number: int, account: int, to: str, amount: int) -> Payment:
    return _payment(
        number,
        account,
        to,
        amount,
        nonce=None,
        status="FAILED",
        failure_reason="rejected",
        wallet_id=None,
        transaction_hash=None,
        transaction_fee_blockchain_in_wei=None,
        block_number=None,
        block_hash="",
    )


def _mined(payment: Payment, *, succeeded: bool = True) -> Mined:
    assert payment.nonce is not None
    assert payment.block_number is not None
    return Mined(
        hash=_hash(payment.id),
        from_address=WALLET,
        to_address=payment.to_public_address,
        value_in_wei=payment.transaction_amount_in_wei,
        nonce=payment.nonce,
        block_number=payment.block_number,
        block_hash=payment.block_hash,
        succeeded=succeeded,
        fee_in_wei=GAS,
    )


def _came(number: int, to: str, amount: int, *, nonce: int) -> Mined:
    block_number = 10 + number
    return Mined(_hash(number), OUTSIDER, to, amount, nonce, block_number, f"0xb{number}", succeeded=True, fee_in_wei=1)


def _journal(number: int, kind: str, source: str, *lines: tuple[int, int, int], at: float = 0.0) -> list[Entry]:
    return [
        Entry(number * 10 + place, number, kind, source, account, amount, after, at)
        for place, (account, amount, after) in enumerate(lines)
    ]


def _told(payments: list[Payment]) -> Told:
    """Return what clients were told: each payment accepted, replayed and looked at, and the poor one's refusal."""
    told = Told()
    for at, payment in enumerate(payments):
        key = payment.idempotency_key or ""
        account, to, amount = payment.user_account_id, payment.to_public_address, payment.transaction_amount_in_wei
        told.orders[key] = Order("client", key, account, to, amount)
        told.answers += [
            Answer("pay", key, 100.0 + at, 100.1 + at, 0),
            Answer("pay", key, 100.2 + at, 100.3 + at, 201, accepted_body(payment)),
            Answer("pay", key, 100.4 + at, 100.5 + at, 200, accepted_body(payment)),
            Answer("look", str(payment.id), 100.6 + at, 100.7 + at, 200, accepted_body(payment)),
            Answer("look", str(payment.id), 200.0 + at, 200.1 + at, 200, final_body(payment)),
        ]
    told.orders["poor-2"] = Order("poor", "poor-2", POOR, POOR_PAID, 80)
    told.answers += [
        Answer("pay", "poor-2", 110.0, 110.1, 422, {"code": "insufficient_funds"}),
        Answer("balance", str(RICH), 101.0, 101.1, 200, balance_body(1_000, 890)),
        Answer("balance", str(RICH), 300.0, 300.1, 200, balance_body(890, 890)),
        Answer("balance", str(SAVER), 300.2, 300.3, 200, balance_body(200, 200)),
    ]
    told.answers.sort(key=lambda answer: answer.answered_at)
    return told


def accepted_body(payment: Payment) -> dict[str, Any]:
    """Return what is told of a payment that has just been accepted."""
    return final_body(payment) | {
        "status": "PENDING",
        "stage": "ACCEPTED",
        "transaction_hash": None,
        "block_number": None,
    }


def final_body(payment: Payment) -> dict[str, Any]:
    """Return what is told of a payment at its end."""
    return {
        "id": payment.id,
        "user_account_id": payment.user_account_id,
        "status": payment.status,
        "stage": payment.stage,
        "to_public_address": payment.to_public_address,
        "transaction_amount_in_wei": str(payment.transaction_amount_in_wei),
        "transaction_hash": payment.transaction_hash,
        "block_number": payment.block_number,
    }


def balance_body(current: int, available: int) -> dict[str, str]:
    """Return what is told of an account."""
    return {"current_balance_in_wei": str(current), "available_balance_in_wei": str(available)}


def _hash(number: int) -> str:
    return f"0xh{number}"
