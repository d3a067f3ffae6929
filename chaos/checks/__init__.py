"""What must hold when the rain is over, whatever happened meanwhile: `judge` asks every check in this package."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaos.checks import books, deposits, payments, told
from chaos.evidence import Evidence

Check = Callable[[Evidence], Iterator[str]]

CHECKS: tuple[Check, ...] = (
    payments.every_payment_is_final,
    payments.each_is_paid_once_or_refunded,
    payments.recipients_have_what_was_paid_to_them,
    payments.nothing_left_a_wallet_without_an_attempt,
    payments.no_nonce_is_left_open,
    payments.rows_say_what_the_chain_says,
    deposits.what_came_is_credited_once,
    deposits.nothing_else_is_credited,
    deposits.each_sweep_is_made_once,
    books.balances_equal_entries,
    books.journals_sum_to_zero,
    books.holds_are_resolved,
    books.accounts_have_paid_what_was_paid,
    books.wallets_hold_what_the_ledger_says,
    books.the_desk_finds_nothing,
    told.every_order_has_an_answer,
    told.accepted_payments_exist_as_ordered,
    told.an_order_is_one_payment,
    told.what_was_final_has_stayed,
    told.looks_were_true,
    told.balances_were_true,
    told.refusals_were_true,
)


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be."""

    check: str
    told: str


def judge(evidence: Evidence) -> list[Violation]:
    """Return all that is wrong."""
    return [Violation(check.__name__.replace("_", " "), told) for check in CHECKS for told in check(evidence)]
