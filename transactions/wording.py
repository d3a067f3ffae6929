"""A payment's state in plain words: what happens, what became of the money, what to do."""

from dataclasses import dataclass, replace
from typing import Literal

from accounts.money import format_ether
from transactions.detail import Detail
from transactions.states import UNSIGNED, FailureReason, Stage, Status, WaitReason
from transactions.steps import Step, confirmations_of, percent_of, progress_words, steps_of

Tone = Literal["busy", "warn", "good", "bad"]


@dataclass(frozen=True, slots=True)
class Story:
    """What the payment page tells."""

    tone: Tone
    badge: str
    headline: str
    explanation: str
    quote: str
    money: str
    advice: str
    percent: int
    progress: str
    steps: list[Step]
    is_final: bool

    @property
    def in_short(self) -> str:
        """Return what a browser's tab has room for."""
        return self.badge if self.is_final else self.progress


@dataclass(frozen=True, slots=True)
class _Words:
    """What is told on the way; in `money`, `{held}` is what is reserved."""

    headline: str
    explanation: str
    advice: str = "Nothing. The payment goes on by itself, even if you close this page."
    money: str = "{held} are reserved on your account: the amount and the fee. They leave it when the payment is done."
    badge: str = ""


_ON_THE_WAY = {
    Stage.REVIEW: _Words(
        "Waiting for approval",
        "This payment is not on its way yet. Because of its amount, our staff have to approve it first, and may refuse "
        "it.",
        "Nothing. Once our staff have approved it, it goes on by itself, even if you close this page. Until then you "
        "can cancel it.",
        "{held} are reserved on your account: the amount and the fee. They stay yours while the payment waits, and are "
        "available to you again if it is refused.",
        "Needs approval",
    ),
    Stage.ACCEPTED: _Words(
        "Accepted, about to be signed", "Amount and fee are reserved on your account. The payment is being prepared."
    ),
    Stage.SIGNED: _Words("Signed, about to be sent", "The payment is signed and is being handed to the network."),
    Stage.BROADCAST: _Words(
        "Sent, waiting for a block", "The Ethereum network has the payment and will put it into one of the next blocks."
    ),
}

_WAITS: dict[str, _Words] = {
    WaitReason.NODE: _Words(
        "Waiting for the Ethereum network",
        "Our connection to the Ethereum network does not answer at the moment. The payment is kept safe and goes on "
        "by itself as soon as it does.",
    ),
    WaitReason.NETWORK_FEE: _Words(
        "Waiting for a lower network fee",
        "The network asks for more just now than the fee of this payment covers. It goes on by itself once the "
        "network is cheaper. You are not charged more.",
    ),
    WaitReason.WALLET_FUNDS: _Words(
        "Waiting for our wallet to be refilled",
        "The wallet we pay from needs more ether first. We have been told; the payment goes out by itself afterwards.",
    ),
    WaitReason.WALLET: _Words(
        "Waiting for one of our wallets",
        "No wallet of ours is ready to send at the moment. The payment goes out by itself as soon as one is.",
    ),
    WaitReason.UNCLEAR: _Words(
        "Waiting for a check",
        "Our wallet has sent a transaction that we have to look at before anything else goes out: it may have made "
        "this payment already. Your money stays reserved meanwhile.",
    ),
    WaitReason.IN_FLIGHT: _Words(
        "Waiting for its turn",
        "Many payments are on their way just now. This one goes out by itself as soon as there is room.",
    ),
    WaitReason.NONCE: _Words(
        "Waiting for our staff",
        "Something else took this payment's place in line, and we can't find that the payment was made. Our staff have "
        "to look at it. Your money stays reserved meanwhile.",
    ),
    WaitReason.KEY: _Words(
        "Waiting for our signature",
        "Our signing key can't be used at the moment. We have been told; the payment goes out by itself afterwards.",
    ),
    WaitReason.RECIPIENT: _Words(
        "Waiting for a clear answer about the recipient",
        "The recipient is a contract, and the network can't say yet what paying it takes. We ask again and again; "
        "nothing is sent until it can.",
    ),
}

_CANCEL_ASKED_FOR = _Words(
    "Being cancelled",
    "The payment was sent already, and you or our staff have asked to cancel it. We are preparing a transaction that "
    "takes its place and pays nobody. Whichever of the two the network takes first decides, so that the payment may "
    "still arrive.",
    "Nothing. As soon as a block holds one of the two, this page says which.",
    "{held} stay reserved until it is certain. If the cancel comes first, all of it is available to you again.",
    "Cancelling",
)

_CANCEL_WISHED = replace(
    _CANCEL_ASKED_FOR,
    explanation="You or our staff have asked to cancel this payment. Our wallet holds a transaction that we have to "
    "look at first, since it may have paid this already. If it has not, the payment is cancelled as soon as we know.",
    advice="Nothing. As soon as we know what the transaction has paid, this page says so.",
    money="{held} stay reserved until it is certain. If the payment was not made, all of it is available to you again.",
)

_CANCEL_SENT = replace(
    _CANCEL_ASKED_FOR,
    explanation="The payment was sent already, and after it a transaction that takes its place and pays nobody. "
    "Whichever of the two the network takes first decides, so that the payment may still arrive.",
)

_CANCEL_WAITS: dict[str, str] = {
    WaitReason.NODE: "Our connection to the Ethereum network does not answer at the moment; the cancel goes on by "
    "itself as soon as it does.",
    WaitReason.NETWORK_FEE: "The network asks for more just now than we pay for a cancel; it goes on by itself once "
    "the network is cheaper.",
    WaitReason.WALLET_FUNDS: "The wallet we pay from needs more ether first. We have been told; the cancel goes on by "
    "itself afterwards.",
    WaitReason.NONCE: "Something else seems to have taken the place in line of both. Our staff have to look at it.",
}
"""What the cancel of a payment that is signed may wait for: a sentence more."""

_CANCEL_WAITS_FOR_SOMETHING = "Something has to be ready first; the cancel goes on by itself as soon as it is."

_CANCEL_IN_BLOCK = replace(
    _CANCEL_ASKED_FOR,
    headline="Cancelled, being confirmed",
    explanation="A block holds the transaction that pays nobody, in place of the payment. Each block that follows "
    "makes that harder to undo.",
    advice="Nothing. Once the cancel is confirmed, this page says so.",
    money="{held} stay reserved until then. Afterwards all of it is available to you again.",
)

_PAID_BEFORE_CANCEL = "The network took the payment before it took the cancel. "

_WAITS_FOR_SOMETHING = _Words(
    "Waiting for a moment", "Something has to be ready first. The payment goes on by itself as soon as it is."
)

_FAILURES: dict[str, _Words] = {
    FailureReason.REJECTED: _Words(
        "The payment was refused",
        "The Ethereum network would not carry it out, so it was never sent.",
        "Check the address with the recipient: a contract can refuse ether. Then make a new payment.",
    ),
    FailureReason.REVERTED: _Words(
        "The recipient refused the payment",
        "It reached the network, but the contract at this address did not take the ether, which stayed with us. "
        "The network's own fee for the try is on us.",
        "Ask the recipient for an address that accepts plain ether. Then make a new payment.",
    ),
    FailureReason.CANCELLED: _Words(
        "The payment was cancelled",
        "It was called off before it could reach the recipient.",
        "If you still want to pay, make a new payment.",
    ),
    FailureReason.REFUSED: _Words(
        "The payment was not approved",
        "It needed approval, and our staff have refused it. Nothing of it was sent.",
        "Ask our staff if you want to know more. You can make a new payment.",
    ),
    FailureReason.DISPLACED: _Words(
        "The payment was not carried out",
        "Something else took its place in line, so that it can never reach the recipient.",
        "If you still want to pay, make a new payment.",
    ),
    FailureReason.EXPIRED: _Words(
        "The payment ran out of time",
        "It could not be sent in time and was called off.",
        "Make a new payment when you are ready.",
    ),
}

_FAILED_SOMEHOW = _Words("The payment failed", "It was not carried out.", "You can make a new payment.")


def tell(detail: Detail, *, by_depth: bool = True, is_cancel: bool = False) -> Story:
    """Return the story of a payment.

    :param by_depth: whether confirmations alone decide, or the network's own finality does (CHAIN_FINALITY).
    :param is_cancel: whether the transaction that the payment's hash names is the one that cancels it.
    """
    if detail["status"] == Status.SUCCESSFUL:
        return _tell_success(detail)
    if detail["status"] == Status.FAILED:
        return _tell_failure(detail)
    stage = Stage(detail["stage"])
    words = _words_in_block(detail, by_depth, is_cancel) if stage == Stage.MINED else _words_before(detail, is_cancel)
    waits = stage == Stage.REVIEW or bool(detail["wait_reason"])
    return Story(
        tone="warn" if waits else "busy",
        badge=words.badge or ("Waiting" if waits else "In progress"),
        headline=words.headline,
        explanation=words.explanation,
        quote="",
        money=words.money.format(held=_ether(_total(detail))),
        advice=words.advice,
        percent=percent_of(detail, stage),
        progress=progress_words(detail, stage),
        steps=steps_of(detail, stage),
        is_final=False,
    )


def is_cancellable(detail: Detail) -> bool:
    """Say whether it makes sense to offer a cancel: no block is known to hold the payment, and nobody asked before."""
    before_block = detail["stage"] in (*UNSIGNED, Stage.SIGNED, Stage.BROADCAST)
    return before_block and detail["cancel_requested_at"] is None


def _tell_success(detail: Detail) -> Story:
    return Story(
        tone="good",
        badge="Successful",
        headline="Payment done",
        explanation=f"{_ether(detail['transaction_amount_in_wei'])} arrived, and the network has confirmed it.",
        quote="",
        money=f"{_ether(_total(detail))} left your account: the amount, and the fee of "
        f"{_ether(detail['transaction_fee_total_in_wei'])}.",
        advice="",
        percent=100,
        progress="Done",
        steps=steps_of(detail, Stage.SETTLED),
        is_final=True,
    )


def _tell_failure(detail: Detail) -> Story:
    words = _FAILURES.get(detail["failure_reason"], _FAILED_SOMEHOW)
    return Story(
        tone="bad",
        badge="Failed",
        headline=words.headline,
        explanation=words.explanation,
        quote=_quote(detail),
        money=f"No money was taken. The {_ether(_total(detail))} that were reserved are available to you again.",
        advice=words.advice,
        percent=100,
        progress="Ended without a payment",
        steps=steps_of(detail, Stage.SETTLED),
        is_final=True,
    )


def _quote(detail: Detail) -> str:
    """Return what those said who would not have the payment."""
    if not detail["failure_detail"]:
        return ""
    speaker = "Our staff" if detail["failure_reason"] == FailureReason.REFUSED else "The network"
    return f"{speaker} said: “{detail['failure_detail']}”"


def _words_before(detail: Detail, is_cancel: bool) -> _Words:
    """Return what is told as long as no block is known to hold anything."""
    if detail["cancel_requested_at"]:
        return _words_of_cancel(detail, is_cancel)
    if detail["wait_reason"]:
        # During a deploy, a newer worker may give a reason that this page has no words for yet.
        return _WAITS.get(detail["wait_reason"], _WAITS_FOR_SOMETHING)
    return _ON_THE_WAY[Stage(detail["stage"])]


def _words_of_cancel(detail: Detail, is_cancel: bool) -> _Words:
    """Return what is told while no block is known to hold either the payment or its cancel."""
    if detail["stage"] in UNSIGNED:
        return _CANCEL_WISHED
    words = _CANCEL_SENT if is_cancel else _CANCEL_ASKED_FOR
    if not detail["wait_reason"]:
        return words
    wait = _CANCEL_WAITS.get(detail["wait_reason"], _CANCEL_WAITS_FOR_SOMETHING)
    return replace(words, explanation=f"{words.explanation} {wait}")


def _words_in_block(detail: Detail, by_depth: bool, is_cancel: bool) -> _Words:
    if is_cancel:
        return _CANCEL_IN_BLOCK
    block, required = detail["block_number"], detail["confirmations_required"]
    so_far = _PAID_BEFORE_CANCEL if detail["cancel_requested_at"] else ""
    if confirmations_of(detail) < required:
        return _Words(
            "In a block, being confirmed",
            f"{so_far}The payment is in block {block}. Each block that follows makes it harder to undo; "
            f"after {required} confirmations it is done.",
        )
    if by_depth:
        return _Words(
            "Confirmed, being booked", f"{so_far}The payment is in block {block} and deep enough. A moment more."
        )
    return _Words(
        "Confirmed, waiting for finality",
        f"{so_far}The payment is in block {block}. It is done once the network declares that block final, which takes "
        "about a quarter of an hour on Ethereum.",
    )


def _total(detail: Detail) -> int:
    return int(detail["transaction_amount_in_wei"]) + int(detail["transaction_fee_total_in_wei"])


def _ether(amount_in_wei: int | str) -> str:
    return f"{format_ether(int(amount_in_wei))} ETH"
