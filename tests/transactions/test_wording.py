"""A payment's state in plain words: every stage, wait and failure has them, and they tell what became of the money."""

from typing import Any

import pytest

from tests.desk import ETHER, FEE, RECIPIENT
from transactions.detail import Detail
from transactions.states import FailureReason, Stage, Status, WaitReason
from transactions.wording import Story, is_cancellable, tell

AT = {stage: f"2026-01-02T03:04:0{number}Z" for number, stage in enumerate(Stage)}
WAY = [stage for stage in Stage if stage != Stage.REVIEW]
UNSIGNED = (Stage.REVIEW, Stage.ACCEPTED)


def detail(stage: Stage = Stage.ACCEPTED, *, confirmations: int = 0, **changes: Any) -> Detail:
    """Return a payment of 1 ether as it is in a stage."""
    reached = WAY[: WAY.index(stage) + 1] if stage in WAY else []
    at = {name: AT[name] if name in reached else None for name in Stage}
    in_block = stage in (Stage.MINED, Stage.SETTLED)
    values = Detail(
        id=12,
        owner_id=1,
        user_account_id=3,
        status=Status.SUCCESSFUL if stage == Stage.SETTLED else Status.PENDING,
        stage=stage,
        failure_reason="",
        failure_detail="",
        wait_reason="",
        to_public_address=RECIPIENT,
        from_public_address="" if stage in UNSIGNED else RECIPIENT,
        transaction_hash=None if stage in UNSIGNED else "0x" + "1" * 64,
        transaction_amount_in_wei=str(ETHER),
        transaction_fee_total_in_wei=str(FEE),
        transaction_fee_blockchain_in_wei="21000" if in_block else None,
        nonce=None if stage in UNSIGNED else 0,
        block_number=100 if in_block else None,
        block_hash="0x" + "2" * 64 if in_block else "",
        confirmations=confirmations,
        confirmations_required=10,
        accepted_at=AT[Stage.ACCEPTED],
        approved_at=None,
        cancel_requested_at=None,
        signed_at=at[Stage.SIGNED],
        broadcast_at=at[Stage.BROADCAST],
        mined_at=at[Stage.MINED],
        settled_at=at[Stage.SETTLED],
    )
    return Detail(**{**values, **changes})  # type: ignore[typeddict-item]


def failed(reason: FailureReason, *, in_block: bool = False) -> Detail:
    """Return a payment that failed, in a block or before it was signed."""
    base = detail(Stage.SETTLED, confirmations=10) if in_block else detail()
    changes = {
        "stage": Stage.SETTLED,
        "status": Status.FAILED,
        "failure_reason": reason,
        "settled_at": AT[Stage.SETTLED],
    }
    return Detail(**{**base, **changes})  # type: ignore[typeddict-item]


def states(story: Story) -> dict[str, str]:
    return {step.name: step.state for step in story.steps}


@pytest.mark.parametrize(
    ("stage", "headline", "expected", "progress"),
    [
        (Stage.ACCEPTED, "Accepted, about to be signed", "done now later later later", "Step 1 of 5"),
        (Stage.SIGNED, "Signed, about to be sent", "done done now later later", "Step 2 of 5"),
        (Stage.BROADCAST, "Sent, waiting for a block", "done done done now later", "Step 3 of 5"),
        (Stage.MINED, "In a block, being confirmed", "done done done now later", "0 of 10 confirmations"),
        (Stage.SETTLED, "Payment done", "done done done done done", "Done"),
    ],
)
def test_each_stage_has_its_words_and_steps(stage: Stage, headline: str, expected: str, progress: str) -> None:
    story = tell(detail(stage))
    assert story.headline == headline
    assert list(states(story)) == ["Accepted", "Signed", "Sent to the network", "Confirmations", "Done"]
    assert " ".join(states(story).values()) == expected
    assert story.progress == progress
    assert story.is_final is (stage == Stage.SETTLED)


@pytest.mark.parametrize(
    ("stage", "expected", "progress"),
    [
        (Stage.REVIEW, "done now later later later later", "Step 1 of 6"),
        (Stage.ACCEPTED, "done done now later later later", "Step 2 of 6"),
        (Stage.BROADCAST, "done done done done now later", "Step 4 of 6"),
        (Stage.MINED, "done done done done now later", "0 of 10 confirmations"),
        (Stage.SETTLED, "done done done done done done", "Done"),
    ],
)
def test_approval_is_a_step_of_those_that_need_it(stage: Stage, expected: str, progress: str) -> None:
    approved_at = None if stage == Stage.REVIEW else AT[Stage.ACCEPTED]
    story = tell(detail(stage, approved_at=approved_at))
    assert list(states(story)) == ["Accepted", "Approval", "Signed", "Sent to the network", "Confirmations", "Done"]
    assert " ".join(states(story).values()) == expected
    assert story.progress == progress
    assert story.steps[1].at == approved_at


def test_a_payment_that_waits_for_approval_says_so_and_where_its_money_is() -> None:
    story = tell(detail(Stage.REVIEW))
    assert (story.headline, story.tone, story.badge) == ("Waiting for approval", "warn", "Needs approval")
    assert story.explanation.startswith("This payment is not on its way yet.")
    assert story.money.startswith("1.008 ETH are reserved on your account: the amount and the fee. They stay yours")
    assert story.advice.startswith("Nothing. Once our staff have approved it, it goes on by itself")


def test_who_would_not_have_the_payment_is_quoted_by_name() -> None:
    said = {"failure_detail": "The invoice is unknown"}
    refused = tell(Detail(**{**failed(FailureReason.REFUSED), **said}))  # type: ignore[typeddict-item]
    rejected = tell(Detail(**{**failed(FailureReason.REJECTED), **said}))  # type: ignore[typeddict-item]
    assert refused.headline == "The payment was not approved"
    assert refused.quote == "Our staff said: “The invoice is unknown”"
    assert rejected.quote == "The network said: “The invoice is unknown”"
    assert tell(failed(FailureReason.CANCELLED)).quote == tell(detail()).quote == ""


def test_the_bar_only_ever_grows_on_the_way() -> None:
    way = [detail(stage) for stage in list(Stage)[:4]]
    way += [detail(Stage.MINED, confirmations=number) for number in range(11)] + [detail(Stage.SETTLED)]
    percents = [tell(step).percent for step in way]
    assert percents == sorted(set(percents))
    assert percents[0] > 0
    assert percents[-1] == 100


def test_confirmations_are_counted_up_to_what_is_required() -> None:
    assert tell(detail(Stage.MINED, confirmations=3)).progress == "3 of 10 confirmations"
    assert tell(detail(Stage.MINED, confirmations=12)).progress == "10 of 10 confirmations"
    assert tell(detail(Stage.SETTLED, confirmations=12)).steps[3].note == "10 of 10"


def test_a_payment_that_is_deep_enough_waits_for_the_ledger_or_for_finality() -> None:
    deep = detail(Stage.MINED, confirmations=10)
    assert tell(deep).headline == "Confirmed, being booked"
    assert tell(deep, by_depth=False).headline == "Confirmed, waiting for finality"
    assert "final" not in tell(detail(Stage.MINED, confirmations=9), by_depth=False).headline


def test_steps_carry_the_times_that_are_behind_them() -> None:
    times = [step.at for step in tell(detail(Stage.BROADCAST)).steps]
    assert times == [AT[Stage.ACCEPTED], AT[Stage.SIGNED], AT[Stage.BROADCAST], None, None]


def test_a_payment_whose_block_left_the_chain_is_no_longer_told_as_confirmed() -> None:
    sent_again = detail(Stage.BROADCAST, mined_at=AT[Stage.MINED])
    assert states(tell(sent_again))["Confirmations"] == "now"
    assert tell(sent_again).steps[3].at is None


def test_on_the_way_the_money_is_reserved_and_afterwards_it_is_gone() -> None:
    assert tell(detail()).money.startswith("1.008 ETH are reserved on your account")
    done = tell(detail(Stage.SETTLED))
    assert done.money == "1.008 ETH left your account: the amount, and the fee of 0.008 ETH."
    assert done.explanation == "1 ETH arrived, and the network has confirmed it."


WAITS = [reason for reason in WaitReason if reason != WaitReason.NOTHING]


@pytest.mark.parametrize("reason", WAITS)
def test_each_wait_says_what_for_and_that_nothing_is_to_be_done(reason: WaitReason) -> None:
    story = tell(detail(wait_reason=reason))
    assert story.headline.startswith("Waiting for ")
    assert story.headline != "Waiting for a moment", "every reason has words of its own"
    assert (story.tone, story.badge, story.is_final) == ("warn", "Waiting", False)
    assert story.advice.startswith("Nothing.")


@pytest.mark.parametrize("reason", list(FailureReason))
def test_each_failure_says_what_happened_that_no_money_was_taken_and_what_to_do(reason: FailureReason) -> None:
    story = tell(failed(reason))
    assert story.headline != "The payment failed", "every reason has words of its own"
    assert story.money == "No money was taken. The 1.008 ETH that were reserved are available to you again."
    assert story.explanation
    assert "new payment" in story.advice
    assert (story.tone, story.badge, story.is_final, story.percent) == ("bad", "Failed", True, 100)


def test_a_failure_shows_only_the_steps_it_went() -> None:
    assert states(tell(failed(FailureReason.REJECTED))) == {"Accepted": "done", "Failed": "failed"}
    assert states(tell(failed(FailureReason.REVERTED, in_block=True))) == {
        "Accepted": "done",
        "Signed": "done",
        "Sent to the network": "done",
        "Confirmations": "done",
        "Failed": "failed",
    }


def test_reasons_of_a_newer_release_have_words_too() -> None:
    assert tell(detail(wait_reason="weather")).headline == "Waiting for a moment"
    unknown = Detail(**{**failed(FailureReason.EXPIRED), "failure_reason": "weather"})
    assert tell(unknown).money.startswith("No money was taken.")


class TestCancelling:
    ASKED: dict[str, Any] = {"cancel_requested_at": AT[Stage.BROADCAST]}

    def test_asked_for_and_not_sent_yet(self) -> None:
        story = tell(detail(Stage.BROADCAST, **self.ASKED))
        assert (story.badge, story.headline) == ("Cancelling", "Being cancelled")
        assert "We are preparing a transaction" in story.explanation
        assert story.money.startswith("1.008 ETH stay reserved until it is certain. If the cancel comes first")
        assert story.advice.startswith("Nothing. As soon as a block holds one of the two")

    def test_sent(self) -> None:
        story = tell(detail(Stage.BROADCAST, **self.ASKED), is_cancel=True)
        assert (story.badge, story.headline) == ("Cancelling", "Being cancelled")
        assert "and after it a transaction that takes its place" in story.explanation
        assert "If the cancel comes first" in story.money

    @pytest.mark.parametrize("is_cancel", [False, True])
    @pytest.mark.parametrize("stage", [Stage.SIGNED, Stage.BROADCAST])
    @pytest.mark.parametrize(
        ("reason", "words"),
        [
            (WaitReason.NODE, "Our connection to the Ethereum network does not answer at the moment; "),
            (WaitReason.NETWORK_FEE, "The network asks for more just now than we pay for a cancel; "),
            (WaitReason.WALLET_FUNDS, "The wallet we pay from needs more ether first. "),
            (WaitReason.NONCE, "Something else seems to have taken the place in line of both. Our staff "),
            ("weather", "Something has to be ready first; the cancel goes on by itself as soon as it is."),
        ],
    )
    def test_it_says_what_it_waits_for(self, reason: str, words: str, stage: Stage, is_cancel: bool) -> None:
        moving = tell(detail(stage, **self.ASKED), is_cancel=is_cancel)
        story = tell(detail(stage, **self.ASKED, wait_reason=reason), is_cancel=is_cancel)
        assert (story.badge, story.headline, story.tone) == ("Cancelling", "Being cancelled", "warn")
        assert story.explanation.startswith(f"{moving.explanation} {words}")
        assert (story.money, story.advice) == (moving.money, moving.advice)

    def test_in_a_block(self) -> None:
        story = tell(detail(Stage.MINED, **self.ASKED), is_cancel=True)
        assert (story.badge, story.headline) == ("Cancelling", "Cancelled, being confirmed")
        assert story.money == "1.008 ETH stay reserved until then. Afterwards all of it is available to you again."

    @pytest.mark.parametrize("stage", [Stage.REVIEW, Stage.ACCEPTED])
    def test_asked_for_while_it_may_have_been_paid(self, stage: Stage) -> None:
        story = tell(detail(stage, **self.ASKED, wait_reason=WaitReason.UNCLEAR))
        assert (story.badge, story.headline) == ("Cancelling", "Being cancelled")
        assert "since it may have paid this already" in story.explanation
        assert story.money.startswith("1.008 ETH stay reserved until it is certain. If the payment was not made")

    def test_too_late(self) -> None:
        story = tell(detail(Stage.MINED, **self.ASKED))
        assert (story.badge, story.headline) == ("In progress", "In a block, being confirmed")
        assert story.explanation.startswith("The network took the payment before it took the cancel.")
        assert "They leave it when the payment is done." in story.money


def test_a_cancel_is_offered_once_and_only_before_a_block() -> None:
    offered = [stage for stage in Stage if is_cancellable(detail(stage))]
    assert offered == [Stage.REVIEW, Stage.ACCEPTED, Stage.SIGNED, Stage.BROADCAST]
    assert not is_cancellable(detail(Stage.BROADCAST, cancel_requested_at=AT[Stage.BROADCAST]))
