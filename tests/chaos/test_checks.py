"""Each check finds what it is there for: honest evidence passes them all, and each doctoring is noticed by name."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chaos.checks import CHECKS, judge
from chaos.evidence import Evidence
from chaos.onchain import Count
from chaos.told import Answer, Order
from tests.chaos.evidence import (
    CREDITED_AT,
    DEPOSIT_ACCOUNT,
    DEPOSIT_ADDRESS,
    INCOME,
    PAID,
    POOR,
    REVERTING,
    RICH,
    SAVER,
    WALLET,
    accepted_body,
    balance_body,
    change,
    final_body,
    honest,
)

FINAL = "every payment is final"
ONCE = "each is paid once or refunded"
RECIPIENTS = "recipients have what was paid to them"
STRANGERS = "nothing left a wallet without an attempt"
NONCES = "no nonce is left open"
ROWS = "rows say what the chain says"
CAME = "what came is credited once"
ELSE = "nothing else is credited"
SWEPT = "each sweep is made once"
ENTRIES = "balances equal entries"
JOURNALS = "journals sum to zero"
HOLDS = "holds are resolved"
PAID_FOR = "accounts have paid what was paid"
WALLETS = "wallets hold what the ledger says"
DESK = "the desk finds nothing"
ANSWERED = "every order has an answer"
ORDERED = "accepted payments exist as ordered"
ONE_ORDER = "an order is one payment"
STAYED = "what was final has stayed"
LOOKS = "looks were true"
BALANCES = "balances were true"
REFUSALS = "refusals were true"


def broken(evidence: Evidence) -> set[str]:
    return {violation.check for violation in judge(evidence)}


def test_honest_evidence_passes_every_check() -> None:
    assert judge(honest()) == []


def test_every_check_is_tried_below() -> None:
    tried = {check for _, checks in DOCTORED for check in checks}
    assert tried == {check.__name__.replace("_", " ") for check in CHECKS}


# --- Doctors: each makes one thing untrue -----------------------------------------------------------------------------
def still_pending(evidence: Evidence) -> None:
    change(evidence.rows.payments, 2, status="PENDING", stage="ACCEPTED", failure_reason="", wait_reason="node")
    change(evidence.rows.holds, 2, status="held")
    change(evidence.rows.accounts, 0, available_balance_in_wei=810)
    _forget_answers(evidence, "3")


def paid_twice(evidence: Evidence) -> None:
    """The same payment again, under another nonce and an attempt that was saved."""
    again = replace(evidence.chain.mined[0], hash="0xagain", nonce=3, block_number=20)
    evidence.chain.mined.append(again)
    evidence.rows.attempts = [*evidence.rows.attempts, replace(evidence.rows.attempts[0], hash="0xagain", nonce=3)]
    evidence.chain.balances_in_wei |= {PAID: 200, WALLET: 4_878}
    evidence.chain.counts[WALLET] = Count(4, 4)
    change(evidence.rows.wallets, 0, next_nonce=4)


def never_paid(evidence: Evidence) -> None:
    change(evidence.chain.mined, 0, succeeded=False)
    evidence.chain.balances_in_wei[PAID] = 0


def refunded_and_paid(evidence: Evidence) -> None:
    change(evidence.chain.mined, 1, succeeded=True)
    evidence.chain.balances_in_wei[REVERTING] = 50


def paid_to_another(evidence: Evidence) -> None:
    change(evidence.chain.mined, 0, to_address=REVERTING)
    evidence.chain.balances_in_wei |= {PAID: 0, REVERTING: 100}


def paid_too_much(evidence: Evidence) -> None:
    change(evidence.chain.mined, 0, value_in_wei=101)
    evidence.chain.balances_in_wei[PAID] = 101


def recipient_was_paid_by_nobody_known(evidence: Evidence) -> None:
    evidence.chain.balances_in_wei[PAID] = 200


def order_that_was_never_made_was_paid(evidence: Evidence) -> None:
    evidence.told.orders["poor-2"] = replace(evidence.told.orders["poor-2"], to_address="0xelsewhere")
    evidence.chain.balances_in_wei["0xelsewhere"] = 1


def stranger_with_our_key(evidence: Evidence) -> None:
    evidence.chain.mined.append(replace(evidence.chain.mined[0], hash="0xstranger", nonce=3))
    evidence.chain.counts[WALLET] = Count(4, 4)
    change(evidence.rows.wallets, 0, next_nonce=4)


def nonce_assigned_and_never_used(evidence: Evidence) -> None:
    change(evidence.rows.wallets, 0, next_nonce=4)


def transaction_still_waits(evidence: Evidence) -> None:
    evidence.chain.counts[WALLET] = Count(3, 4)


def nonce_used_twice(evidence: Evidence) -> None:
    change(evidence.chain.mined, 1, nonce=0)


def row_names_a_block_that_left(evidence: Evidence) -> None:
    change(evidence.rows.payments, 1, block_hash="0xleft")


def row_names_another_fee(evidence: Evidence) -> None:
    change(evidence.rows.payments, 1, transaction_fee_blockchain_in_wei=4)


def deposit_never_credited(evidence: Evidence) -> None:
    change(evidence.rows.deposits, 0, status="gone", block_number=None, block_hash="")


def deposit_never_found(evidence: Evidence) -> None:
    del evidence.rows.deposits[1]  # type: ignore[attr-defined]


def deposit_still_waits(evidence: Evidence) -> None:
    change(evidence.rows.deposits, 0, status="waiting")


def lost_deposit_still_waits(evidence: Evidence) -> None:
    change(evidence.rows.deposits, 2, status="waiting", block_number=12, block_hash="0xleft")


def deposit_of_another_amount(evidence: Evidence) -> None:
    change(evidence.rows.deposits, 0, amount_in_wei=201)


def deposit_to_another_address(evidence: Evidence) -> None:
    change(evidence.rows.deposits, 0, wallet_id=1)


def deposit_in_a_block_that_left(evidence: Evidence) -> None:
    change(evidence.rows.deposits, 0, block_hash="0xleft")


def deposit_twice(evidence: Evidence) -> None:
    evidence.rows.deposits = [*evidence.rows.deposits, replace(evidence.rows.deposits[0], id=9)]


def deposit_left_the_chain(evidence: Evidence) -> None:
    evidence.chain.mined = [each for each in evidence.chain.mined if each.to_address != DEPOSIT_ADDRESS]


def deposit_reverted(evidence: Evidence) -> None:
    change(evidence.chain.mined, 4, succeeded=False)


def sweep_never_came(evidence: Evidence) -> None:
    evidence.rows.deposits = list(evidence.rows.deposits)[:-1]


def deposit_credited_twice_in_the_ledger(evidence: Evidence) -> None:
    """In books that balance by themselves."""
    entry = evidence.rows.entries[6]
    deposit = replace(entry, journal_id=14, kind="deposit", source="again")
    evidence.rows.entries = [
        *evidence.rows.entries,
        replace(deposit, id=140, account_id=SAVER, amount_in_wei=200, balance_after_in_wei=400),
        replace(deposit, id=141, account_id=DEPOSIT_ACCOUNT, amount_in_wei=-200, balance_after_in_wei=-247),
    ]
    change(evidence.rows.accounts, 6, current_balance_in_wei=400, available_balance_in_wei=400)
    change(evidence.rows.accounts, 7, current_balance_in_wei=-247, available_balance_in_wei=-247)


def sweep_still_pending(evidence: Evidence) -> None:
    change(evidence.rows.sweeps, 0, status="PENDING", stage="MINED")


def sweep_made_twice(evidence: Evidence) -> None:
    evidence.chain.mined.append(replace(evidence.chain.mined[3], hash="0xagain", nonce=1, block_number=20))
    evidence.rows.attempts = [*evidence.rows.attempts, replace(evidence.rows.attempts[-1], hash="0xagain", nonce=1)]
    evidence.chain.counts[DEPOSIT_ADDRESS] = Count(2, 2)
    change(evidence.rows.wallets, 1, next_nonce=2)


def sweep_never_made(evidence: Evidence) -> None:
    change(evidence.chain.mined, 3, succeeded=False)


def sweep_to_a_stranger(evidence: Evidence) -> None:
    change(evidence.rows.sweeps, 0, to_public_address=PAID)
    change(evidence.chain.mined, 3, to_address=PAID)


def sweep_without_an_attempt(evidence: Evidence) -> None:
    evidence.rows.attempts = list(evidence.rows.attempts)[:-1]


def sweep_names_another_fee(evidence: Evidence) -> None:
    change(evidence.rows.sweeps, 0, transaction_fee_blockchain_in_wei=4)


def wei_missing_at_the_deposit_address(evidence: Evidence) -> None:
    evidence.chain.balances_in_wei[DEPOSIT_ADDRESS] -= 1


def available_before_it_was_credited(evidence: Evidence) -> None:
    at = CREDITED_AT - 10
    evidence.told.answers.append(Answer("balance", str(SAVER), at, at + 0.1, 200, balance_body(200, 200)))


def balance_without_an_entry(evidence: Evidence) -> None:
    change(evidence.rows.accounts, 3, current_balance_in_wei=15, available_balance_in_wei=15)


def hold_that_is_not_counted(evidence: Evidence) -> None:
    change(evidence.rows.accounts, 0, available_balance_in_wei=880)


def entry_that_skips(evidence: Evidence) -> None:
    change(evidence.rows.entries, 8, balance_after_in_wei=8)


def journal_that_makes_money(evidence: Evidence) -> None:
    change(evidence.rows.entries, -1, amount_in_wei=8, balance_after_in_wei=15)
    change(evidence.rows.accounts, 3, current_balance_in_wei=15, available_balance_in_wei=15)


def hold_never_given_back(evidence: Evidence) -> None:
    change(evidence.rows.holds, 2, status="held")
    change(evidence.rows.accounts, 0, available_balance_in_wei=810)


def hold_of_no_payment(evidence: Evidence) -> None:
    evidence.rows.holds = [*evidence.rows.holds, replace(evidence.rows.holds[0], source="99", status="released")]


def charged_for_a_failure(evidence: Evidence) -> None:
    """The rejected payment was taken from the account all the same, in books that balance."""
    entry = evidence.rows.entries[6]
    evidence.rows.entries = [
        *evidence.rows.entries,
        replace(entry, id=70, journal_id=7, source="3", account_id=RICH, amount_in_wei=-80, balance_after_in_wei=810),
        replace(entry, id=71, journal_id=7, source="3", account_id=INCOME, amount_in_wei=80, balance_after_in_wei=94),
    ]
    change(evidence.rows.accounts, 0, current_balance_in_wei=810, available_balance_in_wei=810)
    change(evidence.rows.accounts, 3, current_balance_in_wei=94, available_balance_in_wei=94)


def wei_missing_in_the_wallet(evidence: Evidence) -> None:
    evidence.chain.balances_in_wei[WALLET] -= 1


def desk_finds_a_difference(evidence: Evidence) -> None:
    evidence.books = ["account #1: current is the sum of its entries"]


def never_answered(evidence: Evidence) -> None:
    _forget_answers(evidence, "poor-2")


def accepted_and_gone(evidence: Evidence) -> None:
    payment = evidence.rows.payments[2]
    evidence.rows.payments = [each for each in evidence.rows.payments if each is not payment]
    evidence.rows.holds = [each for each in evidence.rows.holds if each.source != "3"]


def accepted_as_another(evidence: Evidence) -> None:
    _change_answers(evidence, "key-1", 200, user_account_id=POOR)


def two_payments_of_one_order(evidence: Evidence) -> None:
    _change_answers(evidence, "key-1", 200, id=4)


def new_twice(evidence: Evidence) -> None:
    evidence.told.answers.append(
        Answer("pay", "key-1", 400.0, 400.1, 201, accepted_body(evidence.rows.payments[0])),
    )


def payment_of_no_order(evidence: Evidence) -> None:
    del evidence.told.orders["key-3"]
    _forget_answers(evidence, "key-3", "3")


def final_and_changed(evidence: Evidence) -> None:
    body = final_body(evidence.rows.payments[1]) | {"status": "SUCCESSFUL"}
    evidence.told.answers.append(Answer("look", "2", 400.0, 400.1, 200, body))


def final_under_another_hash(evidence: Evidence) -> None:
    body = final_body(evidence.rows.payments[0]) | {"transaction_hash": "0xother"}
    evidence.told.answers.append(Answer("look", "1", 400.0, 400.1, 200, body))


def not_found(evidence: Evidence) -> None:
    evidence.told.answers.append(Answer("look", "1", 400.0, 400.1, 404, {"code": "transaction_not_found"}))


def shown_with_another_amount(evidence: Evidence) -> None:
    body = final_body(evidence.rows.payments[0]) | {"transaction_amount_in_wei": "1"}
    evidence.told.answers.append(Answer("look", "1", 400.0, 400.1, 200, body))


def listed_and_not_there(evidence: Evidence) -> None:
    body = accepted_body(evidence.rows.payments[0]) | {"id": 99}
    evidence.told.answers.append(Answer("look", "99", 400.0, 400.1, 200, body))


def pending_again(evidence: Evidence) -> None:
    evidence.told.answers.append(Answer("look", "1", 400.0, 400.1, 200, accepted_body(evidence.rows.payments[0])))


def balance_it_never_had(evidence: Evidence) -> None:
    evidence.told.answers.append(Answer("balance", str(RICH), 400.0, 400.1, 200, balance_body(900, 890)))


def available_as_if_nothing_was_accepted(evidence: Evidence) -> None:
    evidence.told.answers.append(Answer("balance", str(RICH), 400.0, 400.1, 200, balance_body(1_000, 1_000)))


def account_not_found(evidence: Evidence) -> None:
    evidence.told.answers.append(Answer("balance", str(RICH), 400.0, 400.1, 404, {"code": "account_not_found"}))


def rich_told_to_be_poor(evidence: Evidence) -> None:
    _refuse(evidence, replace(evidence.told.orders["poor-2"], key="rich-9", account_id=RICH), "insufficient_funds")


def refused_while_it_had_enough(evidence: Evidence) -> None:
    """Before anything was asked for on the poor account."""
    order = replace(evidence.told.orders["poor-2"], key="poor-1")
    evidence.told.orders[order.key] = order
    evidence.told.answers.append(Answer("pay", order.key, 90.0, 90.1, 422, {"code": "insufficient_funds"}))


def refused_for_no_reason(evidence: Evidence) -> None:
    _refuse(evidence, replace(evidence.told.orders["poor-2"], key="poor-3"), "unauthorized")


def refused_and_made(evidence: Evidence) -> None:
    change(evidence.rows.payments, 3, idempotency_key="poor-2")
    del evidence.told.orders["key-4"]
    _forget_answers(evidence, "key-4", "4")


def _forget_answers(evidence: Evidence, *subjects: str) -> None:
    evidence.told.answers = [answer for answer in evidence.told.answers if answer.subject not in subjects]


def _refuse(evidence: Evidence, order: Order, code: str) -> None:
    evidence.told.orders[order.key] = order
    evidence.told.answers.append(Answer("pay", order.key, 400.0, 400.1, 422, {"code": code}))


def _change_answers(evidence: Evidence, subject: str, status: int, **body: object) -> None:
    for index, answer in enumerate(evidence.told.answers):
        if (answer.subject, answer.status) == (subject, status):
            change(evidence.told.answers, index, body={**answer.body, **body})


DOCTORED: list[tuple[Callable[[Evidence], None], set[str]]] = [
    (still_pending, {FINAL}),
    (paid_twice, {ONCE, RECIPIENTS, WALLETS}),
    (never_paid, {ONCE, RECIPIENTS}),
    (refunded_and_paid, {ONCE, RECIPIENTS}),
    (paid_to_another, {ONCE, RECIPIENTS}),
    (paid_too_much, {ONCE, RECIPIENTS}),
    (recipient_was_paid_by_nobody_known, {RECIPIENTS}),
    (order_that_was_never_made_was_paid, {RECIPIENTS}),
    (stranger_with_our_key, {STRANGERS}),
    (nonce_assigned_and_never_used, {NONCES}),
    (transaction_still_waits, {NONCES}),
    (nonce_used_twice, {NONCES}),
    (row_names_a_block_that_left, {ROWS}),
    (row_names_another_fee, {ROWS}),
    (deposit_never_credited, {CAME}),
    (deposit_never_found, {CAME}),
    (deposit_still_waits, {CAME, ELSE}),
    (lost_deposit_still_waits, {ELSE}),
    (deposit_of_another_amount, {CAME}),
    (deposit_to_another_address, {CAME}),
    (deposit_in_a_block_that_left, {CAME}),
    (deposit_twice, {CAME}),
    (deposit_left_the_chain, {ELSE, PAID_FOR}),
    (deposit_reverted, {ELSE, PAID_FOR}),
    (sweep_never_came, {CAME}),
    (deposit_credited_twice_in_the_ledger, {PAID_FOR, WALLETS}),
    (sweep_still_pending, {FINAL, SWEPT}),
    (sweep_made_twice, {SWEPT, CAME}),
    (sweep_never_made, {SWEPT, ELSE}),
    (sweep_to_a_stranger, {SWEPT, ELSE}),
    (sweep_without_an_attempt, {SWEPT, STRANGERS}),
    (sweep_names_another_fee, {ROWS}),
    (wei_missing_at_the_deposit_address, {WALLETS}),
    (available_before_it_was_credited, {BALANCES}),
    (balance_without_an_entry, {ENTRIES}),
    (hold_that_is_not_counted, {ENTRIES}),
    (entry_that_skips, {ENTRIES}),
    (journal_that_makes_money, {JOURNALS}),
    (hold_never_given_back, {HOLDS}),
    (hold_of_no_payment, {HOLDS}),
    (charged_for_a_failure, {PAID_FOR}),
    (wei_missing_in_the_wallet, {WALLETS}),
    (desk_finds_a_difference, {DESK}),
    (never_answered, {ANSWERED}),
    (accepted_and_gone, {ORDERED, LOOKS}),
    (accepted_as_another, {ORDERED}),
    (two_payments_of_one_order, {ONE_ORDER, ORDERED}),
    (new_twice, {ONE_ORDER}),
    (payment_of_no_order, {ONE_ORDER}),
    (final_and_changed, {STAYED}),
    (final_under_another_hash, {STAYED}),
    (not_found, {LOOKS}),
    (shown_with_another_amount, {LOOKS}),
    (listed_and_not_there, {LOOKS}),
    (pending_again, {LOOKS}),
    (balance_it_never_had, {BALANCES}),
    (available_as_if_nothing_was_accepted, {BALANCES}),
    (account_not_found, {BALANCES}),
    (rich_told_to_be_poor, {REFUSALS}),
    (refused_while_it_had_enough, {REFUSALS}),
    (refused_for_no_reason, {REFUSALS}),
    (refused_and_made, {REFUSALS}),
]


@pytest.mark.parametrize(("doctor", "checks"), DOCTORED, ids=lambda item: getattr(item, "__name__", ""))
def test_what_is_untrue_is_found(doctor: Callable[[Evidence], None], checks: set[str]) -> None:
    evidence = honest()
    doctor(evidence)
    assert broken(evidence) == checks


@pytest.mark.parametrize("doctor", [final_and_changed, pending_again])
def test_after_a_deep_reorg_what_was_final_may_not_have_lasted(doctor: Callable[[Evidence], None]) -> None:
    evidence = honest()
    doctor(evidence)
    evidence.deep_reorgs = True
    assert broken(evidence) == set()


def test_a_refusal_may_be_true_while_another_payment_is_under_way() -> None:
    """The first request of the payment that was accepted is what counts, answered or not."""
    evidence = honest()
    order = replace(evidence.told.orders["poor-2"], key="poor-1")
    evidence.told.orders[order.key] = order
    refusal = Answer("pay", order.key, 102.9, 103.05, 422, {"code": "insufficient_funds"})
    evidence.told.answers.append(refusal)
    assert broken(evidence) == set()


def test_what_was_cancelled_uses_its_nonce_and_pays_nothing() -> None:
    """A replacement of no value to the wallet itself is no payment, of whichever payment the attempt is."""
    evidence = honest()
    change(evidence.chain.mined, 1, succeeded=True, value_in_wei=0, to_address=WALLET)
    assert broken(evidence) == set()
