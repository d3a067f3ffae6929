"""Each accepted payment against the chain, by the hashes of its attempts and by what its recipient has."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from chaos.evidence import Evidence
from chaos.onchain import Mined
from chaos.rows import Payment


def every_payment_is_final(evidence: Evidence) -> Iterator[str]:
    """Each payment, and each sweep, has come to its end."""
    for payment in (*evidence.rows.payments, *evidence.rows.sweeps):
        if (payment.status, payment.stage) not in {("SUCCESSFUL", "SETTLED"), ("FAILED", "SETTLED")}:
            waits_for = payment.wait_reason or "nothing"
            yield f"{_name(payment)} is {payment.status} ({payment.stage}), waits for {waits_for}"


def each_is_paid_once_or_refunded(evidence: Evidence) -> Iterator[str]:
    """A successful payment is in the chain once, with its value, to its recipient; any other one is not."""
    yield from made_wrongly(evidence, evidence.rows.payments)


def made_wrongly(evidence: Evidence, payments: Sequence[Payment]) -> Iterator[str]:
    """Tell of each of these that the chain doesn't hold as its row says."""
    mined = _mined_by_payment(evidence)
    for payment in payments:
        paid = [each for each in mined[payment.id] if each.succeeded and not _is_void(each)]
        wrong = [
            each
            for each in paid
            if (each.to_address, each.value_in_wei)
            != (payment.to_public_address.lower(), payment.transaction_amount_in_wei)
        ]
        for each in wrong:
            yield f"{_name(payment)} paid {each.value_in_wei} wei to {each.to_address} in {each.hash}"
        wanted = 1 if payment.status == "SUCCESSFUL" else 0
        if len(paid) != wanted:
            hashes = ", ".join(f"{each.hash} in block {each.block_number}" for each in paid) or "no transaction"
            yield f"{_name(payment)} is {payment.status} and was paid {len(paid)} times: {hashes}"


def recipients_have_what_was_paid_to_them(evidence: Evidence) -> Iterator[str]:
    """What an address has on the chain is the sum of the successful payments to it, however it came there."""
    due: defaultdict[str, int] = defaultdict(int)
    for order in evidence.told.orders.values():
        due[order.to_address.lower()] += 0
    for payment in evidence.rows.payments:
        due[payment.to_public_address.lower()] += (
            payment.transaction_amount_in_wei if payment.status == "SUCCESSFUL" else 0
        )
    for address, amount in due.items():
        found = evidence.chain.balances_in_wei.get(address, 0)
        if found != amount:
            yield f"{address} has {found} wei; successful payments to it come to {amount} wei"


def nothing_left_a_wallet_without_an_attempt(evidence: Evidence) -> Iterator[str]:
    """Each transaction of a wallet is one whose bytes were saved."""
    wallets = {wallet.address.lower() for wallet in evidence.rows.wallets}
    saved = {attempt.hash for attempt in evidence.rows.attempts}
    for each in evidence.chain.mined:
        if each.from_address in wallets and each.hash not in saved:
            yield f"{each.hash} left wallet {each.from_address} with nonce {each.nonce} and no attempt was saved"


def no_nonce_is_left_open(evidence: Evidence) -> Iterator[str]:
    """Each nonce that was assigned is used by a block, once, and no transaction waits."""
    for wallet in evidence.rows.wallets:
        address = wallet.address.lower()
        count = evidence.chain.counts[address]
        if not wallet.next_nonce == count.latest == count.pending:
            yield (
                f"wallet {address} assigns nonce {wallet.next_nonce} next; the chain has used {count.latest} "
                f"and knows of {count.pending}"
            )
        used = [each.nonce for each in evidence.chain.mined if each.from_address == address]
        if used != list(range(len(used))):
            missing = sorted(set(range(len(used))) - set(used))
            yield f"wallet {address} has used {len(used)} nonces, without {missing}"


def rows_say_what_the_chain_says(evidence: Evidence) -> Iterator[str]:
    """Hash, block and network fee of a payment's or a sweep's row are those of its transaction."""
    by_hash = {each.hash: each for each in evidence.chain.mined}
    for payment in (*evidence.rows.payments, *evidence.rows.sweeps):
        if payment.block_number is None:
            continue
        each = by_hash.get(payment.transaction_hash or "")
        found = None if each is None else (each.block_number, each.block_hash, each.fee_in_wei)
        said = (payment.block_number, payment.block_hash, payment.transaction_fee_blockchain_in_wei)
        if found != said:
            yield f"{_name(payment)}: {payment.transaction_hash} is said to be {said}, and is {found or 'in no block'}"


def _mined_by_payment(evidence: Evidence) -> defaultdict[int, list[Mined]]:
    payment_of = {attempt.hash: attempt.transaction_id for attempt in evidence.rows.attempts}
    mined: defaultdict[int, list[Mined]] = defaultdict(list)
    for each in evidence.chain.mined:
        payment_id = payment_of.get(each.hash)
        if payment_id is not None:
            mined[payment_id].append(each)
    return mined


def _is_void(mined: Mined) -> bool:
    """Say whether it only uses its nonce up: a cancelling transaction pays nothing, to its own sender."""
    return mined.value_in_wei == 0 and mined.to_address == mined.from_address


def _name(payment: Payment) -> str:
    if payment.kind == "sweep":
        return f"sweep #{payment.id}"
    return f"payment #{payment.id} ({payment.idempotency_key})"
