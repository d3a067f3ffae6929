"""Settlement counts depth only over blocks that the follower has walked."""

from contextlib import nullcontext

import pytest
from django.conf import settings as site_settings
from pytest_django.fixtures import Settings

from accounts.models import Journal
from tests.desk import NOW, Desk, stages
from transactions.models import Block
from transactions.services.settle import final_block_number, settle_final


def deepen(desk: Desk, blocks: int) -> None:
    for _ in range(blocks):
        desk.chain.mine()


def test_depth_that_nobody_has_walked_does_not_count(desk: Desk) -> None:
    payment = desk.accept()
    desk.broadcast()
    desk.mine()
    deepen(desk, 30)
    view = desk.chain.view([], with_finalized=False)
    assert view.head.number - 30 == Block.newest_number() == 1
    assert final_block_number(view) == 1 - site_settings.CONFIRMATIONS + 1
    assert settle_final(final_block_number(view), NOW) == 0
    assert stages([payment]) == ["MINED"]


def test_nor_a_finalized_block_that_nobody_has_walked_to(desk: Desk, settings: Settings) -> None:
    settings.CHAIN_FINALITY = "finalized"
    desk.chain.finalized_depth = 3
    desk.mine(2)
    deepen(desk, 30)
    assert final_block_number(desk.chain.view([], with_finalized=True)) == 2


def test_a_node_that_lags_behind_what_was_walked_brings_no_finality(desk: Desk) -> None:
    view = desk.chain.view([], with_finalized=False)
    desk.mine(30)
    assert Block.newest_number() == view.head.number + 30
    assert final_block_number(view) == view.head.number - site_settings.CONFIRMATIONS + 1


def test_a_reconcile_settles_nothing_by_a_block_that_a_long_unwalked_reorg_replaced(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The follower is at work elsewhere, so that the reconcile can't walk by itself."""
    payment = desk.accept()
    desk.broadcast()
    desk.mine()
    desk.chain.reorg(1)
    deepen(desk, 30)
    monkeypatch.setattr("transactions.services.reconcile.advisory_lock", lambda *_: nullcontext(False))
    desk.reconcile(payment)
    assert stages([payment]) != ["SETTLED"]
    assert not Journal.objects.filter(kind="settlement").exists()
