"""Wallets and cancels in the admin: pages that ask why, permissions, and what is shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError
from pytest_django.fixtures import Settings

from accounts.keys import forget_signers, retire_keystore
from tasks.models import TaskRun
from tasks.money import resume_retired
from tests.desk import ETHER, Desk, stages
from tests.pages import links_of, text_of
from tests.staff import Staff, events, make_staff
from tests.transactions.test_nonces import send_elsewhere
from transactions.models import Transaction, Wallet


def wallet_page(desk: Desk, step: str) -> str:
    return reverse(f"admin:transactions_wallet_{step}", args=[desk.wallet.pk])


def now(desk: Desk) -> Wallet:
    desk.wallet.refresh_from_db()
    return desk.wallet


def post(staff: Staff, page: str, **fields: Any) -> str:
    answer = staff.client.post(page, fields, follow=True)
    assert answer.status_code == 200
    return text_of(answer)


class TestWallets:
    def test_paused_drained_and_resumed_with_a_reason(self, operator: Staff, desk: Desk) -> None:
        told = post(operator, wallet_page(desk, "pause"), reason="keys are rotated")
        assert f"Paused: {desk.wallet.address}" in told
        assert (now(desk).paused_reason, now(desk).draining_at) == ("keys are rotated", None)
        post(operator, wallet_page(desk, "drain"), reason="being retired")
        assert now(desk).draining_at is not None
        told = post(operator, wallet_page(desk, "resume"), reason="done")
        assert (now(desk).paused_at, now(desk).draining_at) == (None, None)
        assert [event.reason for event in events("wallet.paused")] == ["keys are rotated"]
        assert len(events("wallet.draining")) == len(events("wallet.resumed")) == 1

    def test_without_a_reason_nothing_happens(self, operator: Staff, desk: Desk) -> None:
        assert operator.client.get(wallet_page(desk, "pause")).status_code == 200
        post(operator, wallet_page(desk, "pause"), reason=" ")
        assert now(desk).paused_at is None

    def test_a_reason_has_at_most_500_characters(self, operator: Staff, desk: Desk) -> None:
        assert 'maxlength="500"' in operator.client.get(wallet_page(desk, "pause")).content.decode()
        assert "at most 500 characters (it has 501)" in post(operator, wallet_page(desk, "pause"), reason=501 * "x")
        assert now(desk).paused_at is None

    def test_what_is_so_already_is_told(self, operator: Staff, desk: Desk) -> None:
        told = post(operator, wallet_page(desk, "resume"), reason="x")
        assert "neither paused nor draining" in told

    @pytest.mark.parametrize(
        ("before", "step", "words"),
        [
            ("pause", "pause", "This wallet is paused already: the first time"),
            ("drain", "drain", "This wallet is draining already."),
            (None, "resume", "This wallet is neither paused nor draining."),
        ],
    )
    def test_what_is_so_already_is_not_asked_for(
        self, operator: Staff, desk: Desk, before: str | None, step: str, words: str
    ) -> None:
        if before is not None:
            post(operator, wallet_page(desk, before), reason="the first time")
        answer = operator.client.get(wallet_page(desk, step), follow=True)
        assert answer.redirect_chain == [(reverse("admin:transactions_wallet_change", args=[desk.wallet.pk]), 302)]
        assert words in text_of(answer)

    @pytest.mark.parametrize("step", ["pause", "drain", "resume", "identify", "pass_over"])
    def test_viewers_may_not(self, desk: Desk, step: str) -> None:
        viewer = make_staff("viewers")
        assert viewer.client.post(wallet_page(desk, step), {"reason": "x"}).status_code == 403
        assert viewer.client.get(wallet_page(desk, step)).status_code == 403
        assert (now(desk).paused_at, now(desk).draining_at) == (None, None)
        page = viewer.client.get(reverse("admin:transactions_wallet_change", args=[desk.wallet.pk]))
        assert "Pause…" not in page.content.decode()

    def test_a_wallets_page_leads_to_what_can_be_done(self, operator: Staff, desk: Desk) -> None:
        page = reverse("admin:transactions_wallet_change", args=[desk.wallet.pk])
        assert "Pause…" in operator.client.get(page).content.decode()
        post(operator, wallet_page(desk, "pause"), reason="x")
        shown = operator.client.get(page).content.decode()
        assert "Resume…" in shown
        assert "Tell the unknown transaction…" not in shown, "the chain holds none"
        assert "Pause…" not in shown

    def test_wallets_are_filtered_by_state(self, operator: Staff, desk: Desk) -> None:
        second, third = desk.add_wallet(), desk.add_wallet()
        post(operator, wallet_page(desk, "pause"), reason="x")
        retire(third, second)
        expected_by_state = {"paying": [second], "paused": [desk.wallet], "draining": [], "retired": [third]}
        for state, expected in expected_by_state.items():
            answer = operator.client.get(reverse("admin:transactions_wallet_changelist"), {"state": state})
            assert list(answer.context["cl"].result_list) == expected

    def test_a_replaced_wallet_and_its_successor_lead_to_each_other(self, operator: Staff, desk: Desk) -> None:
        second = desk.add_wallet()
        Wallet.objects.filter(pk=desk.wallet.pk).update(replaced_by=second, draining_at=timezone.now())
        page, successors = (
            reverse("admin:transactions_wallet_change", args=[wallet.pk]) for wallet in (desk.wallet, second)
        )
        shown = operator.client.get(page).content.decode()
        assert f'<a href="{successors}">{second}</a>' in shown
        assert "Resume…" not in shown, "it is drained for good"
        assert f'<a href="{page}">{desk.wallet}</a>' in operator.client.get(successors).content.decode()
        retire(desk.wallet, second)
        shown = operator.client.get(page).content.decode()
        assert "retired" in shown
        assert "Resume…" in shown, "for what comes to it late"


class TestResumingARetiredWallet:
    @pytest.fixture(autouse=True)
    def keystore_dir(self, tmp_path: Path, settings: Settings) -> Iterator[None]:
        """A keystore directory of the test's own, set before the desk is made."""
        settings.KEYSTORE_DIR = tmp_path / "keystore"
        forget_signers()
        yield
        forget_signers()

    def resume(self, operator: Staff, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> TaskRun:
        """Ask for it in the admin, and let a worker see to it; return the run that staff are led to."""
        sent: list[Any] = []
        monkeypatch.setattr("celery.app.task.Task.apply_async", lambda task, args, **_: sent.append((task.name, args)))
        answer = operator.client.post(wallet_page(desk, "resume"), {"reason": "somebody paid to it"})
        ((name, arguments),) = sent
        assert name == resume_retired.name
        resume_retired(*arguments)
        resume_retired(*arguments)
        run = TaskRun.objects.get()
        assert answer["Location"] == reverse("task-detail", args=[run.pk])
        return run

    def test_with_its_key_back(self, operator: Staff, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        retire(desk.wallet, desk.add_wallet())
        run = self.resume(operator, desk, monkeypatch)
        assert (run.status, run.owner) == ("Successful", operator.user)
        assert f"Resumed: {desk.wallet}." in run.message
        assert (now(desk).paused_at, now(desk).retired_at) == (None, None)
        (event,) = events("wallet.resumed")
        assert (event.actor, event.reason) == (operator.user, "somebody paid to it")

    @pytest.mark.parametrize("trouble", ["no key file", "another passphrase"])
    def test_without_its_key_nothing_changes(
        self, operator: Staff, desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch, trouble: str
    ) -> None:
        retire(desk.wallet, desk.add_wallet())
        before = Wallet.objects.filter(pk=desk.wallet.pk).values().get()
        if trouble == "no key file":
            retire_keystore(settings.KEYSTORE_DIR, desk.wallet.address)
        else:
            settings.KEYSTORE_PASSPHRASE = "not to be seen"
        run = self.resume(operator, desk, monkeypatch)
        assert run.status == "Failed"
        assert run.error.startswith("This wallet is retired: its key has to be put back first. ")
        assert "not to be seen" not in run.error
        assert Wallet.objects.filter(pk=desk.wallet.pk).values().get() == before
        assert events("wallet.resumed") == []

    def test_a_silent_broker_is_said(self, operator: Staff, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_args: object, **_options: object) -> None:
            raise OperationalError("connection refused")

        retire(desk.wallet, desk.add_wallet())
        monkeypatch.setattr("celery.app.task.Task.apply_async", refuse)
        assert "The broker does not answer" in post(operator, wallet_page(desk, "resume"), reason="x")
        assert now(desk).retired_at is not None


def retire(wallet: Wallet, successor: Wallet) -> None:
    """Write what the end of a rotation writes."""
    now = timezone.now()
    Wallet.objects.filter(pk=wallet.pk).update(
        replaced_by=successor, draining_at=now, paused_at=now, paused_reason="Replaced.", retired_at=now
    )


@pytest.mark.usefixtures("asked_by_pages")
class TestIdentify:
    def lose_the_memory(self, desk: Desk) -> Transaction:
        payment = desk.accept(3 * ETHER)
        send_elsewhere(desk, 0, to=payment.to_public_address, value_in_wei=payment.transaction_amount_in_wei)
        desk.mine()
        desk.broadcast()
        return payment

    def test_the_page_tells_what_is_unknown_and_takes_the_answer(self, operator: Staff, desk: Desk) -> None:
        payment = self.lose_the_memory(desk)
        page = wallet_page(desk, "identify")
        asked = operator.client.get(page)
        hash_ = asked.context["form"].initial["transaction_hash"]
        assert f"{hash_} used it and sent 3 ETH to {payment.to_public_address}." in text_of(asked)
        assert f"#{payment.pk}" in text_of(asked)
        fields = {"payment": payment.pk, "reason": "looked it up", "transaction_hash": hash_}
        assert f"Taken in: {hash_}" in post(operator, page, **fields)
        assert stages([payment]) == ["SIGNED"]
        assert len(events("wallet.nonce_identified")) == 1

    def test_the_wallets_page_leads_there(self, operator: Staff, desk: Desk) -> None:
        self.lose_the_memory(desk)
        wallet = reverse("admin:transactions_wallet_change", args=[desk.wallet.pk])
        assert wallet_page(desk, "identify") in links_of(operator.client.get(wallet))

    def test_where_nothing_is_unknown_nothing_is_asked(self, operator: Staff, desk: Desk) -> None:
        for words in ("Only a paused wallet's", "The chain counts no transaction of it"):
            answer = operator.client.get(wallet_page(desk, "identify"), follow=True)
            steps = [wallet_page(desk, "pass_over"), reverse("admin:transactions_wallet_change", args=[desk.wallet.pk])]
            assert answer.redirect_chain == [(step, 302) for step in steps]
            assert words in text_of(answer)
            post(operator, wallet_page(desk, "pause"), reason="maintenance")
        desk.chain.down = True
        answer = operator.client.get(wallet_page(desk, "identify"), follow=True)
        assert "The chain counts no" not in text_of(answer), "a node that is down says nothing"
        assert answer.redirect_chain

    @pytest.mark.parametrize("fields", [{}, {"payment": 1, "is_none_of_ours": "on"}, {"payment": 999}])
    def test_an_unclear_or_wrong_answer_changes_nothing(
        self, operator: Staff, desk: Desk, fields: dict[str, Any]
    ) -> None:
        payment = self.lose_the_memory(desk)
        [hash_] = [tx.hash for tx, _ in desk.chain.mined]
        post(operator, wallet_page(desk, "identify"), reason="x", transaction_hash=hash_, **fields)
        assert (stages([payment]), now(desk).next_nonce) == (["ACCEPTED"], 0)

    def test_what_no_node_can_tell_is_passed_over_once(self, operator: Staff, desk: Desk) -> None:
        desk.chain.use_up_nonce(desk.wallet.address)
        post(operator, wallet_page(desk, "pause"), reason="No node can tell.")
        answer = operator.client.get(wallet_page(desk, "identify"), follow=True)
        assert "No node can tell what nonce 0 of this wallet was used for" in text_of(answer)
        fields = {"first_nonce": 0, "end_nonce": 1, "reason": "an authorization"}
        post(operator, wallet_page(desk, "pass_over"), **fields)
        assert now(desk).next_nonce == 0, "nobody has said that it is none of ours"
        fields["is_none_of_ours"] = "on"
        told = post(operator, wallet_page(desk, "pass_over"), **fields)
        assert "Passed over: nonce 0. Resume the wallet to go on." in told
        post(operator, wallet_page(desk, "pass_over"), **fields)
        assert now(desk).next_nonce == 1
        assert [event.reason for event in events("wallet.nonces_passed_over")] == ["an authorization"]


class TestCancel:
    def cancel_page(self, payment: Transaction) -> str:
        return reverse("admin:transactions_transaction_cancel", args=[payment.pk])

    def test_staff_cancel_with_a_reason(self, operator: Staff, desk: Desk) -> None:
        payment = desk.accept()
        sent = desk.accept(now=timezone.now())
        assert "is cancelled" in post(operator, self.cancel_page(payment), reason="asked by phone")
        desk.broadcast()
        assert "to be replaced" in post(operator, self.cancel_page(sent), reason="asked by phone")
        payment.refresh_from_db()
        sent.refresh_from_db()
        assert payment.failure_reason == "cancelled"
        assert sent.cancel_requested_at is not None
        assert [event.reason for event in events("payment.cancelled")] == ["asked by phone"]

    def test_what_may_have_been_paid_waits_until_that_is_told(self, operator: Staff, desk: Desk) -> None:
        payment = desk.accept()
        Wallet.objects.update(unknown_since=timezone.now())
        told = post(operator, self.cancel_page(payment), reason="asked by phone")
        assert "is cancelled as soon as it is told that no unknown transaction has paid it." in told
        assert stages([payment]) == ["ACCEPTED"]

    def test_too_late_is_told(self, operator: Staff, desk: Desk) -> None:
        payment = desk.accept()
        desk.broadcast()
        desk.mine()
        assert "can't be cancelled any more" in post(operator, self.cancel_page(payment), reason="x")

    def test_viewers_may_not(self, desk: Desk) -> None:
        payment = desk.accept()
        viewer = make_staff("viewers")
        assert viewer.client.post(self.cancel_page(payment), {"reason": "x"}).status_code == 403
        assert stages([payment]) == ["ACCEPTED"]
