"""Alerts: open once for each subject however many see it at once, loud once, and part of the caller's transaction."""

import datetime as dt
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.db import transaction as db_transaction

from accounts.exceptions import AlertNotFoundError
from accounts.models import Alert, AlertKind
from accounts.models.alerts import HAPPENED_ONCE
from accounts.queries import unacknowledged_alerts_count
from accounts.services.alerts import (
    acknowledge_alert,
    raise_alert,
    raise_or_resolve,
    resolve_alert,
    resolve_others,
)
from tests.desk import NOW, make_user
from tests.staff import events

LATER = NOW + dt.timedelta(seconds=30)
LOW = AlertKind.WALLET_BALANCE_LOW


def low(subject: str = "0xabc", message: str = "It holds 1 wei.", now: dt.datetime = NOW) -> bool:
    return raise_alert(kind=LOW, subject=subject, message=message, now=now)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.message) for record in caplog.records if "alerts" in record.name]


@pytest.mark.django_db
class TestRaised:
    def test_it_is_opened(self) -> None:
        assert low() is True
        row = Alert.objects.get()
        assert (row.kind, row.subject, row.message) == ("wallet_balance_low", "0xabc", "It holds 1 wei.")
        assert (row.opened_at, row.last_seen_at, row.times_seen) == (NOW, NOW, 1)
        assert (row.resolved_at, row.acknowledged_at, row.mailed_at) == (None, None, None)

    def test_seen_again_it_is_the_same_alert_with_the_newest_words(self) -> None:
        low()
        assert low(message="It holds nothing.", now=LATER) is False
        row = Alert.objects.get()
        assert (row.opened_at, row.last_seen_at, row.times_seen) == (NOW, LATER, 2)
        assert row.message == "It holds nothing."

    def test_a_clock_that_lags_turns_nothing_back(self) -> None:
        low(now=LATER)
        low(now=NOW)
        assert Alert.objects.get().last_seen_at == LATER

    def test_other_subjects_and_kinds_are_other_alerts(self) -> None:
        assert low()
        assert low("0xdef")
        assert raise_alert(kind=AlertKind.WALLET_PAUSED, subject="0xabc", message="m", now=NOW)
        assert Alert.objects.count() == 3

    def test_whoever_raises_one_does_not_fail_by_its_words(self) -> None:
        long = "x\0\ud800" + "y" * 2_000
        assert low(long, long)
        assert not low(long, long), "the same subject, cut the same way"
        row = Alert.objects.get()
        assert row.subject == "x?" + "y" * 198
        assert row.message == "x?" + "y" * 998


class TestLogged:
    @pytest.mark.django_db(transaction=True)
    def test_once_when_opened_and_after_the_commit(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        with db_transaction.atomic():
            low()
            assert logged(caplog) == []
        low(now=LATER)
        assert logged(caplog) == [("ERROR", "Alert: wallet balance low, 0xabc: It holds 1 wei.")]

    @pytest.mark.django_db(transaction=True)
    def test_what_was_rolled_back_was_never_said(self, caplog: pytest.LogCaptureFixture) -> None:
        with db_transaction.atomic():
            low()
            db_transaction.set_rollback(True)
        assert not Alert.objects.exists()
        assert logged(caplog) == []


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_opens_it() -> None:
    def raise_it(number: int) -> bool:
        try:
            return low(now=NOW + dt.timedelta(seconds=number))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(raise_it, range(24)))
    assert opened.count(True) == 1
    row = Alert.objects.get()
    assert (row.times_seen, row.last_seen_at) == (24, NOW + dt.timedelta(seconds=23))


@pytest.mark.django_db
class TestResolved:
    def test_it_is_closed_and_a_new_one_may_open(self) -> None:
        low()
        low("0xdef")
        assert resolve_alert(kind=LOW, subject="0xabc", now=LATER) is True
        assert Alert.objects.get(subject="0xabc").resolved_at == LATER
        assert Alert.objects.get(subject="0xdef").resolved_at is None
        assert low(now=LATER) is True
        assert Alert.objects.filter(subject="0xabc").count() == 2

    def test_where_none_is_open_nothing_happens(self) -> None:
        assert resolve_alert(kind=LOW, subject="0xabc", now=NOW) is False
        low()
        resolve_alert(kind=LOW, subject="0xabc", now=NOW)
        assert resolve_alert(kind=LOW, subject="0xabc", now=LATER) is False
        assert resolve_alert(kind=AlertKind.NODE, subject="0xabc", now=LATER) is False
        assert Alert.objects.get().resolved_at == NOW

    def test_a_subject_that_was_cut_is_found_again(self) -> None:
        low("z" * 500)
        assert resolve_alert(kind=LOW, subject="z" * 500, now=NOW) is True

    def test_all_about_anything_else(self) -> None:
        for subject in ("0xabc", "0xdef", "z" * 500, "0xfff"):
            low(subject)
        raise_alert(kind=AlertKind.NODE, subject="0xabc", message="m", now=NOW)
        resolve_others(kind=LOW, subjects=["0xdef", "z" * 500], now=LATER)
        still_open = Alert.objects.filter(resolved_at=None).order_by("id").values_list("kind", "subject")
        assert list(still_open) == [(LOW, "0xdef"), (LOW, "z" * 200), ("node", "0xabc")]
        assert set(Alert.objects.exclude(resolved_at=None).values_list("resolved_at", flat=True)) == {LATER}

    def test_what_is_watched_is_open_as_long_as_there_is_something_to_say(self) -> None:
        watched: dict[str, Any] = {"kind": AlertKind.WALLET_BALANCE_LOW, "subject": "0xabc"}
        raise_or_resolve(**watched, message="It holds 1 wei.", now=NOW)
        alert = Alert.objects.get()
        assert (alert.message, alert.resolved_at) == ("It holds 1 wei.", None)
        later = NOW + dt.timedelta(minutes=1)
        raise_or_resolve(**watched, message="", now=later)
        alert.refresh_from_db()
        assert (alert.message, alert.resolved_at) == ("It holds 1 wei.", later)
        raise_or_resolve(**watched, message="", now=later)
        assert Alert.objects.count() == 1


@pytest.mark.django_db
class TestAcknowledged:
    def test_by_whom_and_when_and_in_the_audit_trail(self) -> None:
        low()
        alert, user = Alert.objects.get(), make_user()
        assert acknowledge_alert(actor=user, alert_id=alert.pk, now=LATER) is True
        alert.refresh_from_db()
        assert (alert.acknowledged_at, alert.acknowledged_by, alert.resolved_at) == (LATER, user, None)
        (event,) = events("alert.acknowledged")
        assert (event.actor, event.target_type, event.target_id) == (user, "accounts.alert", str(alert.pk))
        assert event.details == {"alert": "wallet balance low: 0xabc"}

    def test_the_first_stays_the_one(self) -> None:
        low()
        alert, first = Alert.objects.get(), make_user()
        acknowledge_alert(actor=first, alert_id=alert.pk, now=NOW)
        assert acknowledge_alert(actor=make_user(), alert_id=alert.pk, now=LATER) is False
        alert.refresh_from_db()
        assert (alert.acknowledged_at, alert.acknowledged_by) == (NOW, first)
        assert len(events("alert.acknowledged")) == 1

    def test_there_is_no_such_alert(self) -> None:
        with pytest.raises(AlertNotFoundError):
            acknowledge_alert(actor=make_user(), alert_id=987_654_321, now=NOW)

    @pytest.mark.parametrize("kind", HAPPENED_ONCE)
    def test_what_happened_once_is_resolved_with_it(self, kind: AlertKind) -> None:
        raise_alert(kind=kind, subject="x", message="x", now=NOW)
        acknowledge_alert(actor=make_user(), alert_id=Alert.objects.get().pk, now=LATER)
        assert Alert.objects.get().resolved_at == LATER

    def test_what_goes_on_is_not(self) -> None:
        low("x")
        acknowledge_alert(actor=make_user(), alert_id=Alert.objects.get().pk, now=LATER)
        assert Alert.objects.get().resolved_at is None

    def test_what_is_counted_is_open_and_not_acknowledged(self) -> None:
        for subject in ("open", "known", "over"):
            low(subject)
        acknowledge_alert(actor=make_user(), alert_id=Alert.objects.get(subject="known").pk, now=NOW)
        resolve_alert(kind=LOW, subject="over", now=NOW)
        assert unacknowledged_alerts_count() == 1


@pytest.mark.django_db
def test_open_ones_come_first_then_the_last_resolved(django_assert_num_queries: Any) -> None:
    for subject in ("first over", "last over", "open", "newer"):
        low(subject)
    resolve_alert(kind=LOW, subject="last over", now=LATER)
    resolve_alert(kind=LOW, subject="first over", now=NOW)
    with django_assert_num_queries(1):
        assert [row.subject for row in Alert.objects.all()] == ["newer", "open", "last over", "first over"]
