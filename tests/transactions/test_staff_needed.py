"""What no program can put right is flagged for staff at once, and holds nobody else up."""

from accounts.models import Hold
from tests.desk import NOW, Desk, stages
from transactions.states import WaitReason


def test_a_nonce_that_a_stranger_used_is_flagged_and_others_go_on(desk: Desk) -> None:
    # As if another program had used the key: the chain has counted a nonce that the row has not.
    desk.chain.blocks[-1].nonces[desk.wallet.address] = 1
    jammed = desk.accept(2)
    desk.broadcast()
    jammed.refresh_from_db()
    assert (jammed.stage, jammed.wait_reason, jammed.needs_attention) == ("SIGNED", WaitReason.NONCE, True)

    free = desk.accept(3)
    desk.broadcast()

    assert stages([jammed, free]) == ["SIGNED", "BROADCAST"]


def test_broken_books_of_one_payment_do_not_stop_the_others(desk: Desk) -> None:
    payments = desk.accept_many(3)
    desk.broadcast()
    desk.mine()
    Hold.objects.filter(source=str(payments[1].pk)).update(status="released", resolved_at=NOW)
    desk.mine(10)
    assert stages(payments) == ["SETTLED", "MINED", "SETTLED"]
    payments[1].refresh_from_db()
    assert payments[1].needs_attention
