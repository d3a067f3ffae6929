"""Reports of reserves in the admin: listed, shown with what differs, downloaded; never changed."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.services.verify import Difference
from tests.desk import ETHER, NOW, Desk
from tests.pages import text_of
from tests.staff import Staff, make_staff
from transactions.admin import reserves as admin_reserves
from transactions.models import ReservesReport
from transactions.services.holdings import Holdings
from transactions.services.reserves import Proof
from transactions.services.reserves_reports import keep_report, sign_report


@pytest.fixture
def viewer(desk: Desk) -> Staff:
    return make_staff("viewers")


def keep(
    desk: Desk, *, differing: int = 0, owed_in_wei: int = 100 * ETHER, compared: bool = True, block_number: int = 7
) -> ReservesReport:
    """Keep a report of a desk of one wallet."""
    proof = Proof(not_compared="" if compared else "The fake node is down.", owed_in_wei=owed_in_wei)
    if compared:
        proof.holdings = Holdings(block_number, "0x" + "ab" * 32, {desk.wallet.address: 1_000 * ETHER}, {})
    proof.report.count("wallets", 1)
    for number in range(differing):
        subject = f"wallet {desk.wallet.address}" if number == 0 else f"account #{number}"
        proof.report.add(Difference("it is so", subject, "1 wei", "<b>2</b> wei", (f"row={number}", "entry=9")))
    return keep_report(proof, timezone.now())


def when(report: ReservesReport) -> str:
    """Return when it was made, in words."""
    return f"on {report.made_at:%Y-%m-%d at %H:%M} UTC"


def page(report: ReservesReport) -> str:
    return reverse("admin:transactions_reservesreport_change", args=[report.pk])


def shown(staff: Staff, url: str, **parameters: Any) -> str:
    answer = staff.client.get(url, parameters)
    assert answer.status_code == 200
    return text_of(answer)


LIST = "admin:transactions_reservesreport_changelist"


class TestList:
    def test_how_each_ended(self, viewer: Staff, desk: Desk) -> None:
        for report in (keep(desk), keep(desk, differing=2), keep(desk, compared=False)):
            assert f"#{report.pk}" in shown(viewer, reverse(LIST))
        for words in ("adds up", "2 differences", "chain not compared", "not yet", "900 ETH"):
            assert words in shown(viewer, reverse(LIST)), words

    @pytest.mark.parametrize(("result", "position"), [("clean", 0), ("differs", 1), ("books", 2)])
    def test_filtered_by_how_they_ended(self, viewer: Staff, desk: Desk, result: str, position: int) -> None:
        reports = [keep(desk), keep(desk, differing=2), keep(desk, compared=False)]
        found = shown(viewer, reverse(LIST), result=result)
        assert "1 reserves report" in found
        assert f"#{reports[position].pk}" in found

    def test_found_by_number(self, viewer: Staff, desk: Desk) -> None:
        first, _ = keep(desk), keep(desk)
        assert "1 result" in shown(viewer, reverse(LIST), q=f"#{first.pk}")
        assert "0 results" in shown(viewer, reverse(LIST), q="nonsense")

    def test_it_costs_the_same_for_many_and_reads_no_text(self, viewer: Staff, desk: Desk) -> None:
        costs = []
        for count in (2, 10):
            for _ in range(count):
                keep(desk)
            with CaptureQueriesContext(connection) as captured:
                viewer.client.get(reverse(LIST))
            costs.append(len(captured))
            assert not [query for query in captured if '"text"' in query["sql"]]
        assert costs[0] == costs[1]


class TestPage:
    def test_a_clean_one(self, viewer: Staff, desk: Desk) -> None:
        report = keep(desk)
        told = shown(viewer, page(report))
        for words in ("adds up", "1000 ETH", "900 ETH", "wallets: 1", "none", "Not signed yet", report.block_hash):
            assert words in told, words

    def test_signed(self, viewer: Staff, desk: Desk) -> None:
        report = keep(desk)
        sign_report(report.pk, NOW)
        report.refresh_from_db()
        told = shown(viewer, page(report))
        for words in (desk.wallet.address, report.signatures[0]["signature"], report.statement):
            assert words in told, words

    def test_differences_with_their_rows(self, viewer: Staff, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(admin_reserves, "SHOWN_MAX", 2)
        report = keep(desk, differing=5)
        answer = viewer.client.get(page(report)).content.decode()
        assert "expected 1 wei\nfound    &lt;b&gt;2&lt;/b&gt; wei\n  row=0\n  entry=9" in answer
        assert "account #1: it is so" in answer
        assert "account #2" not in answer
        assert "and 3 more" in answer

    def test_the_chain_not_compared(self, viewer: Staff, desk: Desk) -> None:
        assert "The fake node is down." in shown(viewer, page(keep(desk, compared=False)))

    def test_short_of_what_is_owed(self, viewer: Staff, desk: Desk) -> None:
        told = shown(viewer, page(keep(desk, owed_in_wei=1_001 * ETHER)))
        assert "short" in told
        assert "-1 ETH" in told

    def test_nobody_changes_it(self, desk: Desk) -> None:
        superuser = make_staff(is_superuser=True)
        report = keep(desk)
        assert superuser.client.post(page(report), {"not_compared": "x"}).status_code == 403
        assert superuser.client.post(f"{page(report)}../delete/", {"post": "yes"}).status_code == 403
        assert superuser.client.get(reverse("admin:transactions_reservesreport_add")).status_code == 403


class TestDownload:
    def url(self, report_id: int) -> str:
        return reverse("admin:transactions_reservesreport_download", args=[report_id])

    def test_text_and_signatures_that_verify(self, viewer: Staff, desk: Desk, tmp_path: Path) -> None:
        report = keep(desk)
        sign_report(report.pk, NOW)
        answer = viewer.client.get(self.url(report.pk))
        assert answer["Content-Disposition"] == f'attachment; filename="reserves-report-{report.pk}.json"'
        content = json.loads(answer.content)
        assert content["text"] == report.text
        assert content["statement"] == report.statement
        path = tmp_path / "report.json"
        path.write_bytes(answer.content)
        call_command("verify_report", str(path))

    def test_for_whom_may_see_it(self, desk: Desk) -> None:
        report = keep(desk)
        assert make_staff().client.get(self.url(report.pk)).status_code == 403

    def test_of_none(self, viewer: Staff) -> None:
        assert viewer.client.get(self.url(7)).status_code == 404


class TestElsewhere:
    def test_a_wallets_page_says_when_it_was_last_proved(self, viewer: Staff, desk: Desk) -> None:
        wallet = reverse("admin:transactions_wallet_change", args=[desk.wallet.pk])
        assert "at block 7" not in shown(viewer, wallet)
        run = when(keep(desk, differing=1))
        assert f"differs at block 7 {run}. It never added up so far." in shown(viewer, wallet)
        proof = when(keep(desk, block_number=6))
        assert f"adds up at block 6 {proof}" in shown(viewer, wallet)
        run = when(keep(desk, differing=1))
        assert f"differs at block 7 {run}. Last added up at block 6 {proof}." in shown(viewer, wallet)

    def test_the_index_leads_to_them(self, desk: Desk) -> None:
        told = make_staff("operators").client.get(reverse("admin:index")).content.decode()
        assert f'<a href="{reverse(LIST)}">Reserves reports</a>' in told
