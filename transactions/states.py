"""The life of a transaction: its stages, the allowed moves between them, and what each means in plain words.

The one table of moves. The diagram in docs/architecture.md is generated from it (`manage.py draw_states`), CHECK
constraints on the model tie stage, status and columns together, and `require_move` guards every change in Python.
"""

from django.db import models

from transactions.exceptions import ForbiddenMoveError


class Kind(models.TextChoices):
    """What a transaction is to the desk."""

    PAYMENT = "payment", "payment"
    FILL = "fill", "no-op that fills a nonce"
    STRANGER = "stranger", "another program's transaction"
    SWEEP = "sweep", "moved between wallets of the desk"


class WalletRole(models.TextChoices):
    """What an address of the desk's is for."""

    HOT = "hot", "pays"
    DEPOSIT = "deposit", "is paid to, for one account"


class DepositStatus(models.TextChoices):
    """How far a deposit has come."""

    WAITING = "waiting", "waiting for confirmations"
    CREDITED = "credited", "credited"
    GONE = "gone", "left the chain"


class Purpose(models.TextChoices):
    """What an attempt does with its nonce."""

    PAYMENT = "payment", "pays"
    CANCEL = "cancel", "uses up the nonce and pays nobody"
    STRANGER = "stranger", "was signed elsewhere and pays somebody else"


class Status(models.TextChoices):
    """What the outside world is told."""

    PENDING = "PENDING", "pending"
    SUCCESSFUL = "SUCCESSFUL", "successful"
    FAILED = "FAILED", "failed"


class Stage(models.TextChoices):
    """How far a transaction has come."""

    REVIEW = "REVIEW", "waits for approval"
    ACCEPTED = "ACCEPTED", "accepted"
    SIGNED = "SIGNED", "signed"
    BROADCAST = "BROADCAST", "broadcast"
    MINED = "MINED", "mined"
    SETTLED = "SETTLED", "settled"


class FailureReason(models.TextChoices):
    """Why a transaction failed."""

    REJECTED = "rejected", "rejected"
    REVERTED = "reverted", "reverted"
    CANCELLED = "cancelled", "cancelled"
    EXPIRED = "expired", "expired"
    DISPLACED = "displaced", "displaced by another transaction"
    REFUSED = "refused", "refused by staff"


class Verdict(models.TextChoices):
    """What became of a payment that needed approval."""

    OPEN = "", "open"
    APPROVED = "approved", "approved"
    REFUSED = "refused", "refused"
    WITHDRAWN = "withdrawn", "called off before a verdict"


class WaitReason(models.TextChoices):
    """What a transaction that isn't moving waits for."""

    NOTHING = "", "nothing"
    NODE = "node", "the Ethereum node does not answer"
    NETWORK_FEE = "network_fee", "the network asks for more than the fee paid"
    WALLET_FUNDS = "wallet_funds", "the hot wallet needs funds"
    WALLET = "wallet", "no hot wallet is ready to send"
    KEY = "key", "the hot wallet's key can't be read"
    RECIPIENT = "recipient", "the node can't say what gas this recipient needs"
    NONCE = "nonce", "another transaction used its nonce: staff have to look"
    UNCLEAR = "unclear", "a transaction that nobody knows may have paid it"
    IN_FLIGHT = "in_flight", "as many are under way as may be"


UNSIGNED = (Stage.REVIEW, Stage.ACCEPTED)
"""The stages in which nothing of a transaction can be on the chain, as far as this database knows."""

STARTS: dict[Stage, str] = {
    Stage.REVIEW: "funds held, more than may be paid without approval",
    Stage.ACCEPTED: "funds held",
}

MOVES: dict[Stage, dict[Stage, str]] = {
    Stage.REVIEW: {
        Stage.ACCEPTED: "approved by a second person",
        Stage.SETTLED: "refused or cancelled, hold released",
    },
    Stage.ACCEPTED: {
        Stage.SIGNED: "nonce assigned, raw bytes saved",
        Stage.SETTLED: "rejected or cancelled, hold released",
    },
    Stage.SIGNED: {
        Stage.BROADCAST: "a node has it",
        Stage.MINED: "found in a block after a crash",
        Stage.SETTLED: "given up, as nobody can tell what used its nonce",
    },
    Stage.BROADCAST: {
        Stage.MINED: "receipt found",
        Stage.SETTLED: "given up, as nobody can tell what used its nonce",
    },
    Stage.MINED: {
        Stage.SETTLED: "deep enough and canonical, ledger posted",
        Stage.BROADCAST: "its block left the chain, same bytes sent again",
    },
    Stage.SETTLED: {
        Stage.BROADCAST: "its block left the chain after all, settlement reversed",
    },
}


def require_move(old: Stage, new: Stage) -> None:
    """Check that the table allows this move.

    :raises ForbiddenMoveError: when it does not.
    """
    if new not in MOVES[old]:
        raise ForbiddenMoveError(f"A transaction can't move from {old} to {new}.")


def draw_states() -> str:
    """Return the table of moves as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", *(f"    [*] --> {stage}: {why}" for stage, why in STARTS.items())]
    for old, moves in MOVES.items():
        lines += [f"    {old} --> {new}: {why}" for new, why in moves.items()]
    lines.append("    SETTLED --> [*]: SUCCESSFUL or FAILED")
    return "\n".join(lines)
