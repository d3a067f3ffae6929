"""The proof: books and chain in one, the report that is kept of it, and the names under it."""

import datetime as dt
import json
from typing import Any

import pytest
from django.utils import timezone
from eth_account import Account as EthAccount
from eth_account.messages import encode_defunct
from pytest_django.fixtures import Settings

from accounts.keys import BadSignatureError, SignerUnavailableError, forget_signers, load_signer, sign_message
from accounts.models import Alert, AlertKind
from accounts.services.alerts import raise_alert
from tests.desk import ETHER, FEE, NOW, Desk, make_address, make_wallet, write_keystore
from tests.tasks.test_housekeeping import tamper
from transactions.chain import ChainUnavailableError
from transactions.models import Block, ReservesReport, Wallet
from transactions.queries import last_proof_of, last_report_of
from transactions.services import holdings, reserves, reserves_reports
from transactions.services.reserves import Proof, prove_reserves
from transactions.services.reserves_reports import keep_report, sign_report, sign_reports, signers_of

# The books are read on a connection of their own, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def four_confirmations(settings: Settings) -> None:
    settings.CONFIRMATIONS = 4


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing."""
    monkeypatch.setattr(holdings, "PATIENCE_SECONDS", 0.0)


@pytest.fixture
def at_work(desk: Desk) -> Desk:
    """A desk with a payment settled, one in flight, one accepted, and a deposit."""
    address = desk.add_deposit_address().address
    desk.accept(2 * ETHER)
    desk.broadcast()
    desk.pay_in(address, 3 * ETHER)
    desk.mine(6)
    desk.accept()
    desk.broadcast()
    desk.mine()
    desk.take_in()
    desk.mine(4)
    desk.take_in()
    desk.accept()
    return desk


def prove(desk: Desk, **options: Any) -> Proof:
    return prove_reserves(chain=desk.chain, **options)


def kept(desk: Desk, **options: Any) -> ReservesReport:
    return keep_report(prove(desk, **options), NOW)


class TestProof:
    def test_a_desk_at_work(self, at_work: Desk) -> None:
        proof = prove(at_work)
        assert proof.is_clean, [str(row) for row in proof.report.differences]
        assert proof.holdings is not None
        assert proof.holdings.block_number == 8
        assert proof.owed_in_wei == (100 - 2 + 3 - 1) * ETHER - 2 * FEE
        assert {what: proof.report.checked[what] for what in ("wallets", "payments", "deposits")} == {
            "wallets": 2, "payments": 3, "deposits": 1
        }  # fmt: skip

    def test_progress_ends_at_its_total(self, at_work: Desk) -> None:
        totals: list[int] = []
        steps: list[int] = []
        prove(at_work, on_total=totals.append, on_progress=steps.append)
        assert totals == [sum(steps)]

    def test_differences_of_books_and_chain_are_in_one_list(self, at_work: Desk) -> None:
        tamper(at_work.account)
        at_work.chain.blocks[8].balances[at_work.wallet.address] -= 1
        report = prove(at_work).report
        assert report.differences_total == len(report.differences) == 4
        assert [row.subject.split()[0] for row in report.differences] == ["wallet", "account", "account", "the"]

    def test_a_node_that_is_down_leaves_the_books(self, at_work: Desk) -> None:
        tamper(at_work.account)
        with at_work.chain.outage():
            proof = prove(at_work)
        assert (proof.holdings, proof.not_compared) == (None, "The fake node is down.")
        assert proof.report.differences_total == 3

    def test_books_that_add_up_are_no_proof_without_the_chain(self, at_work: Desk) -> None:
        with at_work.chain.outage():
            proof = prove(at_work)
        assert proof.report.is_clean
        assert not proof.is_clean

    def test_the_books_alone(self, at_work: Desk) -> None:
        proof = prove(at_work, with_chain=False)
        assert proof.not_compared == "Only the books were asked for."
        assert at_work.chain.asked["balances"] == 0

    def test_a_block_that_left_the_chain_meanwhile_is_compared_with_nothing(
        self, at_work: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = holdings.read_holdings(at_work.chain)
        Block.objects.filter(number=found.block_number).update(hash="0x" + "ab" * 32)
        monkeypatch.setattr(reserves, "read_holdings", lambda *_, **__: found)
        proof = prove(at_work)
        assert (proof.holdings, proof.not_compared) == (None, "The chain changed while it was compared.")
        assert proof.report.is_clean

    def test_whatever_a_node_says_can_be_kept(self, at_work: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ChainUnavailableError("\0" + "\ud800" + "x" * 1_000)

        monkeypatch.setattr(reserves, "read_holdings", fail)
        assert kept(at_work).not_compared == "?" + "x" * 499


class TestReport:
    def test_what_it_says(self, at_work: Desk) -> None:
        row = kept(at_work)
        assert row.is_clean
        balance = at_work.chain.blocks[8].balances[at_work.wallet.address]
        address = Wallet.objects.get(role="deposit").address
        document = row.document
        assert document.pop("checked")["wallets"] == 2
        assert document == {
            "format": "txnsite reserves report 1",
            "made_at": "2026-01-02T03:04:05.000000+00:00",
            "chain_id": 31337,
            "block": {"number": 8, "hash": at_work.chain.blocks[8].header.hash},
            "not_compared": "",
            "owed_in_wei": str(100 * ETHER - 2 * FEE),
            "held_in_wei": str(balance + 3 * ETHER),
            "in_flight_in_wei": "0",
            "balances_in_wei": {at_work.wallet.address: str(balance), address: str(3 * ETHER)},
            "in_flight_by_wallet_in_wei": {},
            "differences_total": 0,
            "differences": [],
        }
        assert row.surplus_in_wei == balance + 3 * ETHER - (100 * ETHER - 2 * FEE)

    def test_its_text_is_canonical(self, at_work: Desk) -> None:
        text = kept(at_work).text
        assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def test_what_is_in_flight_is_no_surplus(self, at_work: Desk) -> None:
        clean, earlier = kept(at_work), kept(at_work, block_number=1)
        assert earlier.is_clean
        assert earlier.document["in_flight_by_wallet_in_wei"] != {}
        assert earlier.held_in_wei != clean.held_in_wei
        assert earlier.surplus_in_wei == clean.surplus_in_wei

    def test_it_lists_differences_with_their_rows(self, at_work: Desk) -> None:
        at_work.chain.blocks[8].balances[at_work.wallet.address] -= 1
        row = kept(at_work)
        assert (row.differences_total, row.is_clean) == (1, False)
        [difference] = row.document["differences"]
        assert difference["subject"] == f"wallet {at_work.wallet.address}"
        assert difference["rows"][0].endswith("difference=-1")

    def test_without_the_chain_it_says_why(self, at_work: Desk) -> None:
        with at_work.chain.outage():
            row = kept(at_work)
        assert (row.is_compared, row.is_clean, row.not_compared) == (False, False, "The fake node is down.")
        assert row.surplus_in_wei is None
        assert row.document["block"] is None


def alert() -> Alert:
    return Alert.objects.get(kind=AlertKind.BOOKS_DIFFER)


class TestAlert:
    def test_a_difference_raises_it_and_the_next_proof_resolves_it(self, at_work: Desk) -> None:
        block = at_work.chain.blocks[8]
        block.balances[at_work.wallet.address] -= 1
        row = kept(at_work)
        assert alert().is_open
        assert alert().message == (
            f"Reserves report #{row.pk} lists 1 difference at block 8, of wallet {at_work.wallet.address}."
        )
        kept(at_work)
        assert alert().times_seen == 2
        block.balances[at_work.wallet.address] += 1
        kept(at_work)
        assert not alert().is_open

    def test_a_proof_at_an_older_block_resolves_nothing(self, at_work: Desk) -> None:
        at_work.chain.blocks[8].balances[at_work.wallet.address] -= 1
        kept(at_work)
        assert kept(at_work, block_number=7).is_clean
        assert alert().is_open
        at_work.chain.blocks[8].balances[at_work.wallet.address] += 1
        kept(at_work, block_number=8)
        assert not alert().is_open

    @pytest.mark.parametrize("why", ["node down", "books only"])
    def test_what_was_not_compared_resolves_nothing(self, at_work: Desk, why: str) -> None:
        raise_alert(kind=AlertKind.BOOKS_DIFFER, subject=reserves_reports.ALERT_SUBJECT, message="x", now=NOW)
        if why == "node down":
            with at_work.chain.outage():
                kept(at_work)
        else:
            kept(at_work, with_chain=False)
        assert alert().is_open

    def test_a_chain_that_was_not_compared_is_none(self, at_work: Desk) -> None:
        with at_work.chain.outage():
            kept(at_work)
        assert not Alert.objects.exists()

    def test_two_nights_without_the_chain_raise_one_of_their_own(self, at_work: Desk) -> None:
        kept(at_work)
        with at_work.chain.outage():
            keep_report(prove(at_work), NOW + dt.timedelta(days=1))
            assert not Alert.objects.exists()
            row = keep_report(prove(at_work), NOW + dt.timedelta(days=2))
        assert (alert().subject, alert().is_open) == ("chain not compared", True)
        assert alert().message == (
            "No report of the last 36 hours has compared the wallets with the chain, so nobody knows whether they hold "
            f"what the books say. Reserves report #{row.pk}: The fake node is down."
        )
        keep_report(prove(at_work), NOW + dt.timedelta(days=2, minutes=1))
        assert not alert().is_open

    def test_a_chain_that_was_never_compared_raises_it_too(self, at_work: Desk) -> None:
        with at_work.chain.outage():
            kept(at_work)
            assert not Alert.objects.exists()
            keep_report(prove(at_work), NOW + dt.timedelta(days=2))
        assert alert().subject == "chain not compared"

    def test_books_that_differ_raise_it_without_the_chain(self, at_work: Desk) -> None:
        tamper(at_work.account)
        with at_work.chain.outage():
            kept(at_work)
        assert alert().message.endswith("; the chain was not compared: The fake node is down.")
        assert " lists 3 differences in the books, the first of " in alert().message


class TestSignatures:
    def test_each_hot_wallet_signs_once(self, at_work: Desk) -> None:
        at_work.add_wallet()
        row = kept(at_work)
        assert not row.is_signed
        assert sign_reports(NOW) == 1
        assert sign_reports(NOW + dt.timedelta(days=1)) == 0
        row.refresh_from_db()
        hot = list(Wallet.objects.filter(role="hot").order_by("pk").values_list("address", flat=True))
        assert len(hot) == 2
        assert [given["address"] for given in row.signatures] == hot
        assert row.signed_at == NOW
        assert signers_of(row.text, row.signatures) == hot

    def test_all_that_wait_are_signed(self, at_work: Desk) -> None:
        rows = [kept(at_work), kept(at_work, with_chain=False)]
        assert sign_reports(NOW) == 2
        assert not ReservesReport.objects.filter(pk__in=[row.pk for row in rows], signed_at=None).exists()

    def test_others_can_check_them_by_tools_of_their_own(self, at_work: Desk) -> None:
        row = kept(at_work)
        sign_report(row.pk, NOW)
        row.refresh_from_db()
        [given] = row.signatures
        message = encode_defunct(text=row.statement)
        assert EthAccount.recover_message(message, signature=given["signature"]) == at_work.wallet.address

    def test_of_two_at_once_one_signs(self, at_work: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        row = kept(at_work)
        sign = reserves_reports._sign

        def sign_after_another(statement: str) -> list[dict[str, str]]:
            monkeypatch.setattr(reserves_reports, "_sign", sign)
            assert sign_report(row.pk, NOW)
            return sign(statement)

        monkeypatch.setattr(reserves_reports, "_sign", sign_after_another)
        assert not sign_report(row.pk, NOW + dt.timedelta(days=1))
        row.refresh_from_db()
        assert row.signed_at == NOW

    def test_a_wallet_whose_key_is_elsewhere_is_left_out(self, at_work: Desk) -> None:
        make_wallet(make_address())
        row = kept(at_work)
        assert sign_reports(NOW) == 1
        row.refresh_from_db()
        assert [given["address"] for given in row.signatures] == [at_work.wallet.address]

    def test_a_retired_wallet_signs_nothing_more(self, at_work: Desk) -> None:
        retired = {"retired_at": NOW, "paused_at": NOW, "paused_reason": "x", "draining_at": NOW}
        other = at_work.add_wallet()
        Wallet.objects.filter(pk=other.pk).update(replaced_by=at_work.wallet, **retired)
        row = kept(at_work)
        sign_report(row.pk, NOW)
        row.refresh_from_db()
        assert [given["address"] for given in row.signatures] == [at_work.wallet.address]

    def test_without_any_key_it_waits(self, at_work: Desk, settings: Settings, tmp_path: Any) -> None:
        settings.KEYSTORE_DIR = tmp_path
        forget_signers()
        row = kept(at_work)
        assert sign_reports(NOW) == 0
        row.refresh_from_db()
        assert (row.is_signed, row.signatures) == (False, [])

    def test_a_service_that_does_not_answer_is_waited_for(self, at_work: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Signatures are added once: half of them would be all there ever are."""
        other = at_work.add_wallet()

        def load(address: str) -> Any:
            if address == other.address:
                raise SignerUnavailableError
            return load_signer(address)

        monkeypatch.setattr(reserves_reports, "load_signer", load)
        row = kept(at_work)
        assert sign_reports(NOW) == 0
        monkeypatch.undo()
        assert sign_reports(NOW) == 1
        row.refresh_from_db()
        assert len(row.signatures) == 2

    def test_neither_another_text_nor_another_name(self, at_work: Desk) -> None:
        row = kept(at_work)
        sign_report(row.pk, NOW)
        row.refresh_from_db()
        with pytest.raises(BadSignatureError):
            signers_of(row.text.replace("31337", "31338"), row.signatures)
        address = write_keystore(7)
        signature = sign_message(load_signer(address), row.statement)
        with pytest.raises(BadSignatureError):
            signers_of(row.text, [{"address": at_work.wallet.address, "signature": signature}])
        with pytest.raises(BadSignatureError, match="Nobody"):
            signers_of(row.text, [])


class TestLastReport:
    def test_the_newest_that_compared_the_wallet(self, at_work: Desk) -> None:
        now = timezone.now()
        compared = keep_report(prove(at_work), now)
        keep_report(prove(at_work, with_chain=False), now)
        assert last_report_of(at_work.wallet) == compared
        assert not compared.is_about(at_work.wallet.address)

    def test_the_last_run_counts_at_whichever_block_and_the_last_that_held(self, at_work: Desk) -> None:
        wallet = at_work.wallet
        assert last_proof_of(wallet) is None
        keep_report(prove(at_work), timezone.now())
        older = keep_report(prove(at_work, block_number=7), timezone.now())
        assert older.is_clean
        assert last_report_of(wallet) == last_proof_of(wallet) == older
        at_work.chain.blocks[8].balances[wallet.address] -= 1
        differing = keep_report(prove(at_work), timezone.now())
        assert (last_report_of(wallet), last_proof_of(wallet)) == (differing, older)
        assert last_proof_of(Wallet.objects.get(role="deposit")) == differing

    def test_none_of_before_it_was_opened(self, at_work: Desk) -> None:
        keep_report(prove(at_work), timezone.now())
        assert last_report_of(at_work.add_wallet()) is None

    def test_it_says_whether_the_wallet_differed(self, at_work: Desk) -> None:
        at_work.chain.blocks[8].balances[at_work.wallet.address] -= 1
        report = kept(at_work)
        assert report.is_about(at_work.wallet.address)
        assert not report.is_about(Wallet.objects.get(role="deposit").address)
