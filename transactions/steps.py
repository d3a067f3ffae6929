"""The steps of a payment's way: which are behind it, which is under way, and how far that is."""

from dataclasses import dataclass
from typing import Literal

from transactions.detail import Detail
from transactions.states import Stage, Status

StepState = Literal["done", "now", "later", "failed"]

_ORDER = [stage for stage in Stage if stage != Stage.REVIEW]
_PERCENT_BEFORE_BLOCK = {Stage.REVIEW: 4, Stage.ACCEPTED: 8, Stage.SIGNED: 16, Stage.BROADCAST: 25}
_PERCENT_IN_BLOCK = 30
_PERCENT_CONFIRMED = 95


@dataclass(frozen=True, slots=True)
class Step:
    """One step on the way."""

    name: str
    state: StepState
    at: str | None
    note: str = ""


def steps_of(detail: Detail, stage: Stage) -> list[Step]:
    """Return the steps as they are for this payment; those a failed one never reached are left out."""
    failed = detail["status"] == Status.FAILED
    confirmations = "" if detail["block_number"] is None else _confirmations_words(detail)
    names_and_times = [
        ("Accepted", detail["accepted_at"], "Amount and fee reserved"),
        *([("Approval", detail["approved_at"], "By our staff")] if _needs_approval(detail) else []),
        ("Signed", detail["signed_at"], ""),
        ("Sent to the network", detail["broadcast_at"], ""),
        ("Confirmations", detail["mined_at"], confirmations),
    ]
    # What comes after the step of now is under way: signing after ACCEPTED, confirming after BROADCAST and in MINED.
    reached = _position(detail, stage)
    under_way = reached if stage == Stage.MINED else reached + 1
    steps = [
        Step(name, _state(position, under_way), at if position <= reached else None, note)
        for position, (name, at, note) in enumerate(names_and_times)
        if not failed or at is not None
    ]
    last = "Failed" if failed else "Done"
    state: StepState = "later" if stage != Stage.SETTLED else ("failed" if failed else "done")
    return [*steps, Step(last, state, detail["settled_at"], "Nothing was taken" if failed else "")]


def _needs_approval(detail: Detail) -> bool:
    """Say whether approval is one of the payment's steps, behind it or before it."""
    return detail["stage"] == Stage.REVIEW or detail["approved_at"] is not None


def _position(detail: Detail, stage: Stage) -> int:
    """Return which of the payment's steps it has reached, from 0."""
    return 0 if stage == Stage.REVIEW else _ORDER.index(stage) + _needs_approval(detail)


def _state(position: int, under_way: int) -> StepState:
    if position < under_way:
        return "done"
    return "now" if position == under_way else "later"


def percent_of(detail: Detail, stage: Stage) -> int:
    """Return how far the payment is: it only ever grows on the way."""
    if stage != Stage.MINED:
        return _PERCENT_BEFORE_BLOCK[stage]
    span = _PERCENT_CONFIRMED - _PERCENT_IN_BLOCK
    return _PERCENT_IN_BLOCK + span * confirmations_of(detail) // detail["confirmations_required"]


def progress_words(detail: Detail, stage: Stage) -> str:
    """Return how far the payment is, in few words."""
    if stage == Stage.MINED:
        return f"{_confirmations_words(detail)} confirmations"
    return f"Step {_position(detail, stage) + 1} of {len(_ORDER) + _needs_approval(detail)}"


def confirmations_of(detail: Detail) -> int:
    """Return how many of the required confirmations there are."""
    return min(detail["confirmations"], detail["confirmations_required"])


def _confirmations_words(detail: Detail) -> str:
    return f"{confirmations_of(detail)} of {detail['confirmations_required']}"
