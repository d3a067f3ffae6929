"""What no program can put right is flagged for staff at once, and holds nobody else up."""

from accounts.models import Hold
from tests.desk import NOW, Desk, stages


def test_broken_books_of_one_payment_do_not_stop_the_others(desk: Desk) -> None:
    payments = desk.accept_many(3)
    desk.broadcast()
    desk.mine()
    Hold.objects.filter(source=str(payments[1].pk)).update(status="released", resolved_at=NOW)
    desk.mine(10)
    assert stages(payments) == ["SETTLED", "MINED", "SETTLED"]
    payments[1].refresh_from_db()
    assert payments[1].needs_attention
