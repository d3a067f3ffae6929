"""Nobody was told something untrue: every answer against what has really become of each payment."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator

from chaos.clients import is_definite
from chaos.evidence import Evidence
from chaos.told import Answer, Order

_INSUFFICIENT = "insufficient_funds"
_FINAL = frozenset({"SUCCESSFUL", "FAILED"})


def every_order_has_an_answer(evidence: Evidence) -> Iterator[str]:
    """Whoever asked often enough was told what became of the order."""
    answered = {answer.subject for answer in evidence.told.answers if answer.kind == "pay" and is_definite(answer)}
    for key in evidence.told.orders:
        if key not in answered and not key.startswith("probe"):
            yield f"order {key} never got a definite answer"


def accepted_payments_exist_as_ordered(evidence: Evidence) -> Iterator[str]:
    """What was said to be accepted is there, with the account, recipient and amount of the order."""
    payments = evidence.payments_by_id()
    for answer in evidence.told.acceptances():
        order = evidence.told.orders[answer.subject]
        payment = payments.get(answer.body["id"])
        if payment is None:
            yield f"order {order.key} was accepted as payment #{answer.body['id']}, which is not there"
            continue
        row = (payment.user_account_id, payment.to_public_address.lower(), payment.transaction_amount_in_wei)
        if row != _terms(order) or payment.idempotency_key != order.key:
            yield f"order {order.key} {_terms(order)} became payment #{payment.id} {row} ({payment.idempotency_key})"
        if _told_terms(answer) != _terms(order):
            yield f"order {order.key} {_terms(order)} was accepted as {_told_terms(answer)}"


def an_order_is_one_payment(evidence: Evidence) -> Iterator[str]:
    """All answers under one key name the same payment, which no other key has; it is new (201) at most once."""
    ids: defaultdict[str, set[int]] = defaultdict(set)
    created: defaultdict[str, int] = defaultdict(int)
    for answer in evidence.told.acceptances():
        ids[answer.subject].add(answer.body["id"])
        created[answer.subject] += answer.status == 201
    owner: dict[int, str] = {}
    for key, told in ids.items():
        if len(told) > 1 or created[key] > 1:
            yield f"order {key} was told to be payments {sorted(told)}, {created[key]} times new"
        for payment_id in told:
            other = owner.setdefault(payment_id, key)
            if other != key:
                yield f"payment #{payment_id} was told to be of order {other} and of order {key}"
    rows: defaultdict[str | None, list[int]] = defaultdict(list)
    for payment in evidence.rows.payments:
        rows[payment.idempotency_key].append(payment.id)
    for row_key, payment_ids in rows.items():
        if len(payment_ids) > 1 or row_key not in evidence.told.orders:
            yield f"payments {payment_ids} are there for key {row_key}, which one order or none has"


def what_was_final_has_stayed(evidence: Evidence) -> Iterator[str]:
    """A payment told SUCCESSFUL or FAILED is so, unless blocks were taken back that had counted as final."""
    if evidence.deep_reorgs:
        return
    payments = evidence.payments_by_id()
    for answer in _looks(evidence):
        payment = payments.get(answer.body["id"])
        if answer.body["status"] not in _FINAL or payment is None:
            continue
        told = (answer.body["status"], answer.body["transaction_hash"], answer.body["block_number"])
        found = (payment.status, payment.transaction_hash, payment.block_number)
        if told != found:
            yield f"payment #{payment.id} was told to be finally {told}, and is {found}"


def looks_were_true(evidence: Evidence) -> Iterator[str]:
    """Who looked at a payment of theirs found it, as it was ordered; no final one was told to be pending later."""
    orders = {
        payment.id: evidence.told.orders[payment.idempotency_key]
        for payment in evidence.rows.payments
        if payment.idempotency_key in evidence.told.orders
    }
    final_since: dict[int, Answer] = {}
    for answer in evidence.told.answers:
        if answer.kind != "look" or not is_definite(answer):
            continue
        payment_id = int(answer.subject)
        if answer.status != 200:
            yield f"payment #{payment_id} was answered with {answer.status} {answer.body.get('code')}"
            continue
        if payment_id not in orders or _told_terms(answer) != _terms(orders[payment_id]):
            yield f"payment #{payment_id} was shown as {_told_terms(answer)}, ordered as {orders.get(payment_id)}"
        before = final_since.get(payment_id)
        if answer.body["status"] in _FINAL:
            final_since.setdefault(payment_id, answer)
        elif before is not None and answer.sent_at > before.answered_at and not evidence.deep_reorgs:
            yield f"payment #{payment_id} was told to be {before.body['status']}, and later {answer.body['status']}"


def balances_were_true(evidence: Evidence) -> Iterator[str]:
    """A balance that was told is one that the account has had, less at least what was told to be accepted before."""
    had: defaultdict[int, set[int]] = defaultdict(set)
    for entry in evidence.rows.entries:
        had[entry.account_id].add(entry.balance_after_in_wei)
    spent, credited = _Spent(evidence), _credited(evidence)
    for answer in evidence.told.answers:
        if answer.is_acceptance:
            spent.add(answer)
        if answer.kind != "balance" or not is_definite(answer):
            continue
        account_id = int(answer.subject)
        if answer.status != 200:
            yield f"account #{account_id} was answered with {answer.status} {answer.body.get('code')}"
            continue
        current = int(answer.body["current_balance_in_wei"])
        available = int(answer.body["available_balance_in_wei"])
        if current not in had[account_id]:
            yield f"account #{account_id} was told to have {current} wei, which it never had"
        most = evidence.cast.funds_in_wei[account_id] + credited.before(answer.answered_at, account_id)
        most -= spent.before(answer.sent_at, account_id)
        if not 0 <= available <= min(current, most):
            yield f"account #{account_id} was told to have {available} of {current} wei available; at most {most} were"


def refusals_were_true(evidence: Evidence) -> Iterator[str]:
    """Nobody was refused but the poor account, for insufficient funds, and only when they may have been."""
    payments = evidence.payments_by_id()
    made = {payment.idempotency_key: payment.id for payment in evidence.rows.payments}
    fees = {payment.transaction_fee_total_in_wei for payment in evidence.rows.payments}
    first_sent: dict[str, float] = {}
    accepted = {answer.subject: answer.body["id"] for answer in evidence.told.acceptances()}
    for answer in evidence.told.answers:
        if answer.kind == "pay":
            first_sent[answer.subject] = min(answer.sent_at, first_sent.get(answer.subject, answer.sent_at))
    for answer in evidence.told.answers:
        if answer.kind != "pay" or answer.is_acceptance or not is_definite(answer):
            continue
        order = evidence.told.orders[answer.subject]
        if answer.body.get("code") != _INSUFFICIENT or order.account_id not in evidence.cast.poor.account_ids:
            yield f"order {order.key} was refused: {answer.status} {answer.body}"
            continue
        if order.key in made:
            yield f"order {order.key} was refused, and is payment #{made[order.key]}"
        # What may have been held at that moment: every payment of the account that was asked for before.
        held = sum(
            payments[payment_id].transaction_amount_in_wei + payments[payment_id].transaction_fee_total_in_wei
            for key, payment_id in accepted.items()
            if evidence.told.orders[key].account_id == order.account_id
            and payment_id in payments
            and first_sent[key] < answer.answered_at
        )
        left = evidence.cast.funds_in_wei[order.account_id] - held
        if left >= order.amount_in_wei + max(fees, default=0):
            yield f"order {order.key} was told that funds are insufficient; at least {left} wei were available"


class _Totals:
    """What had come together for each account at any time."""

    def __init__(self) -> None:
        self._times: defaultdict[int, list[float]] = defaultdict(list)
        self._totals: defaultdict[int, list[int]] = defaultdict(lambda: [0])

    def count(self, at: float, account_id: int, wei: int) -> None:
        """Add wei, in the order of time."""
        times, totals = self._times[account_id], self._totals[account_id]
        times.append(max(at, times[-1] if times else 0.0))
        totals.append(totals[-1] + wei)

    def before(self, at: float, account_id: int) -> int:
        """Return the wei that were counted before this time."""
        return self._totals[account_id][bisect_left(self._times[account_id], at)]


class _Spent(_Totals):
    """What each account's accepted payments, those that succeed in the end, had taken or reserved at any time."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__()
        self._payments = evidence.payments_by_id()
        self._counted: set[int] = set()

    def add(self, acceptance: Answer) -> None:
        """Count a payment from when it was first told to be accepted; call it in the order of the answers."""
        payment = self._payments.get(acceptance.body["id"])
        if payment is None or payment.id in self._counted or payment.status != "SUCCESSFUL":
            return
        self._counted.add(payment.id)
        total = payment.transaction_amount_in_wei + payment.transaction_fee_total_in_wei
        self.count(acceptance.answered_at, payment.user_account_id, total)


def _credited(evidence: Evidence) -> _Totals:
    """Return the deposits that were credited by any time, though they may have been taken back."""
    totals = _Totals()
    for entry in sorted(evidence.rows.entries, key=lambda entry: entry.posted_at):
        if entry.kind == "deposit" and entry.amount_in_wei > 0:
            totals.count(entry.posted_at, entry.account_id, entry.amount_in_wei)
    return totals


def _looks(evidence: Evidence) -> Iterator[Answer]:
    for answer in evidence.told.answers:
        if answer.kind == "look" and answer.status == 200:
            yield answer


def _terms(order: Order) -> tuple[int, str, int]:
    return order.account_id, order.to_address.lower(), order.amount_in_wei


def _told_terms(answer: Answer) -> tuple[int, str, int]:
    body = answer.body
    return body["user_account_id"], body["to_public_address"].lower(), int(body["transaction_amount_in_wei"])
