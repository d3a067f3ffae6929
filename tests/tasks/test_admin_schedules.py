"""Schedulers edit schedules and nothing else; what they do is checked, recorded, and can't break the desk."""

from typing import Any

import pytest
from django.conf import settings
from django.contrib.messages import get_messages
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks
from kombu.exceptions import OperationalError

from tasks.schedules import WHILE_OFF, create_default_schedules
from tests.pages import text_of
from tests.staff import Staff, events, make_staff

pytestmark = pytest.mark.django_db
LIST = "admin:django_celery_beat_periodictask_changelist"
ADD = "admin:django_celery_beat_periodictask_add"
CHANGE = "admin:django_celery_beat_periodictask_change"


@pytest.fixture
def scheduler(db: None) -> Staff:
    create_default_schedules()
    return make_staff("schedulers")


def fields(row: PeriodicTask | None = None, **changes: Any) -> dict[str, Any]:
    """Return what the form of a schedule posts, with changes; a change to None is left out."""
    values: dict[str, Any] = {"name": "Extra check", "regtask": "tasks.housekeeping.check_ledger", "enabled": "on"}
    values |= {"task": "", "args": "[]", "kwargs": "{}", "description": "", "queue": ""}
    if row is not None:
        values |= {"name": row.name, "regtask": row.task, "task": row.task, "expire_seconds": row.expire_seconds}
        values |= {"interval": row.interval_id, "crontab": row.crontab_id}
    return {name: value for name, value in (values | changes).items() if value is not None}


def save(staff: Staff, row: PeriodicTask, **changes: Any) -> Any:
    return staff.client.post(reverse(CHANGE, args=[row.pk]), fields(row, **changes))


def act(staff: Staff, action: str, *rows: PeriodicTask) -> Any:
    chosen = {"action": action, "_selected_action": [row.pk for row in rows], "index": 0, "post": "yes"}
    return staff.client.post(reverse(LIST), chosen)


def default(name: str = "Check the ledger") -> PeriodicTask:
    row: PeriodicTask = PeriodicTask.objects.get(name=name)
    return row


def midnight() -> CrontabSchedule:
    row: CrontabSchedule = CrontabSchedule.objects.create(minute="0", hour="0")
    return row


def test_a_crontab_is_edited_and_beat_is_told(scheduler: Staff) -> None:
    row, before = default(), PeriodicTasks.last_change()
    timing = row.crontab
    page = reverse("admin:django_celery_beat_crontabschedule_change", args=[timing.pk])
    shown = scheduler.client.get(page).content.decode()
    assert "Check the ledger" in shown, "it says what the change is about"
    terms = {"minute": "45", "hour": "4", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*"}
    inline = {f"periodictask_set-{name}": 0 for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    assert scheduler.client.post(page, {**terms, "timezone": "UTC", **inline}).status_code == 302
    timing.refresh_from_db()
    assert (timing.minute, timing.hour) == ("45", "4")
    assert PeriodicTasks.last_change() > before
    (event,) = events("crontabschedule.changed")
    assert (event.actor, event.details) == (scheduler.user, {"minute": ["30", "45"], "hour": ["2", "4"]})
    assert create_default_schedules() == []
    timing.refresh_from_db()
    assert timing.hour == "4", "a set-up leaves it"


def test_a_schedule_is_given_another_time(scheduler: Staff) -> None:
    row, crontab = default(), midnight()
    assert save(scheduler, row, crontab=crontab.pk).status_code == 302
    row.refresh_from_db()
    assert row.crontab == crontab
    (event,) = events("periodictask.changed")
    assert event.target_id == str(row.pk)
    assert event.details["crontab"][1] == str(crontab)


def test_a_schedule_is_added_changed_and_deleted(scheduler: Staff) -> None:
    assert scheduler.client.post(reverse(ADD), fields(crontab=midnight().pk)).status_code == 302
    row = default("Extra check")
    assert (row.task, row.enabled, row.queue) == ("tasks.housekeeping.check_ledger", True, None)
    save(scheduler, row, regtask="tasks.housekeeping.clean_up", name="Extra cleaning")
    row.refresh_from_db()
    assert (row.task, row.name) == ("tasks.housekeeping.clean_up", "Extra cleaning")
    scheduler.client.post(reverse("admin:django_celery_beat_periodictask_delete", args=[row.pk]), {"post": "yes"})
    assert not PeriodicTask.objects.filter(pk=row.pk).exists()
    assert [len(events(f"periodictask.{verb}")) for verb in ("added", "changed", "deleted")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"regtask": "tasks.money.no_such_task"}, "Choose one of the tasks in the list."),
        ({"regtask": "celery.backend_cleanup"}, "Choose one of the tasks in the list."),
        ({"regtask": "", "task": "os.system"}, "Choose one of the tasks in the list."),
        ({"queue": "no such queue"}, "Select a valid choice."),
        ({"args": "{}"}, "This must be a list"),
        ({"kwargs": "[1]"}, "This must be an object"),
        ({"kwargs": "not JSON"}, "Unable to parse JSON"),
        ({"crontab": None}, "must be set"),
    ],
)
def test_what_could_never_run_is_refused(scheduler: Staff, wrong: dict[str, Any], words: str) -> None:
    answer = scheduler.client.post(reverse(ADD), fields(**{"crontab": midnight().pk, **wrong}))
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert PeriodicTask.objects.count() == len(settings.DEFAULT_SCHEDULES)
    assert events("periodictask.added") == []


def test_the_desks_own_keep_name_and_task(scheduler: Staff) -> None:
    row = default("Follow the chain")
    assert save(scheduler, row, name="Mine", regtask="tasks.housekeeping.clean_up", enabled=None).status_code == 302
    row.refresh_from_db()
    assert (row.name, row.task, row.enabled) == ("Follow the chain", "tasks.money.follow", False)


def test_the_desks_own_are_not_deleted(scheduler: Staff) -> None:
    superuser = make_staff(is_superuser=True)
    extra = PeriodicTask.objects.create(name="Extra", task="tasks.housekeeping.clean_up", crontab=midnight())
    for staff in (scheduler, superuser):
        for row in PeriodicTask.objects.exclude(pk=extra.pk):
            page = reverse("admin:django_celery_beat_periodictask_delete", args=[row.pk])
            assert staff.client.post(page, {"post": "yes"}).status_code == 403
        assert "delete_selected" not in staff.client.get(reverse(LIST)).content.decode(), "it could only refuse"
        act(staff, "delete_selected", *PeriodicTask.objects.all())
    assert PeriodicTask.objects.count() == len(settings.DEFAULT_SCHEDULES) + 1
    page = reverse("admin:django_celery_beat_periodictask_delete", args=[extra.pk])
    scheduler.client.post(page, {"post": "yes"})
    assert not PeriodicTask.objects.filter(pk=extra.pk).exists()
    assert events("periodictask.deleted")[0].details["was"].startswith("Extra: ")


def test_what_stops_with_a_schedule_is_said_as_long_as_it_is_off(scheduler: Staff) -> None:
    words = "Follow the chain: Payments are not followed while it is off, and none is settled."
    row = default("Follow the chain")
    change = reverse(CHANGE, args=[row.pk])
    for page in (reverse(LIST), change):
        assert "while it is off" not in text_of(scheduler.client.get(page))
    saved = scheduler.client.post(change, fields(row, enabled=None), follow=True)
    assert saved.redirect_chain == [(reverse(LIST), 302)]
    assert text_of(saved).count(words) == 1
    for page in (reverse(LIST), change):
        assert text_of(scheduler.client.get(page)).count(words) == 1
    act(scheduler, "disable_tasks", default("Watch wallets"), default("Clean up old task runs"))
    page = text_of(scheduler.client.get(reverse(LIST)))
    assert page.count("while it is off") == 2
    assert "Nobody is told that a wallet holds too little" in page
    act(scheduler, "enable_tasks", row, default("Watch wallets"))
    assert "while it is off" not in text_of(scheduler.client.get(reverse(LIST)))
    assert set(WHILE_OFF) <= set(settings.DEFAULT_SCHEDULES)


@pytest.mark.parametrize("kind", ["interval", "crontab"])
def test_a_time_in_use_is_not_deleted_since_its_schedules_would_go_too(scheduler: Staff, kind: str) -> None:
    model = {"interval": IntervalSchedule, "crontab": CrontabSchedule}[kind]
    used = PeriodicTask.objects.filter(**{f"{kind}__isnull": False}).first()
    timing = getattr(used, kind)
    for staff in (scheduler, make_staff(is_superuser=True)):
        page = reverse(f"admin:django_celery_beat_{kind}schedule_delete", args=[timing.pk])
        assert staff.client.post(page, {"post": "yes"}).status_code == 403
        chosen = {"action": "delete_selected", "_selected_action": [timing.pk], "index": 0, "post": "yes"}
        staff.client.post(reverse(f"admin:django_celery_beat_{kind}schedule_changelist"), chosen)
    assert model.objects.filter(pk=timing.pk).exists()
    assert PeriodicTask.objects.count() == len(settings.DEFAULT_SCHEDULES)


def test_a_time_that_nothing_uses_is_deleted(scheduler: Staff) -> None:
    timing = midnight()
    page = reverse("admin:django_celery_beat_crontabschedule_delete", args=[timing.pk])
    assert scheduler.client.post(page, {"post": "yes"}).status_code == 302
    assert not CrontabSchedule.objects.filter(pk=timing.pk).exists()


@pytest.mark.parametrize(("every", "period"), [("1", "microseconds"), ("0", "seconds"), ("-1", "seconds")])
def test_an_interval_lasts_a_second_at_least(scheduler: Staff, every: str, period: str) -> None:
    count = IntervalSchedule.objects.count()
    inline = {f"periodictask_set-{name}": 0 for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    page = reverse("admin:django_celery_beat_intervalschedule_add")
    assert scheduler.client.post(page, {"every": every, "period": period, **inline}).status_code == 200
    assert IntervalSchedule.objects.count() == count
    scheduler.client.post(page, {"every": "2", "period": "seconds", **inline})
    assert IntervalSchedule.objects.count() == count + 1


def test_schedules_are_switched_off_and_on(scheduler: Staff) -> None:
    rows, before = [default("Check the ledger"), default("Follow the chain")], PeriodicTasks.last_change()
    act(scheduler, "disable_tasks", *rows)
    assert [default(row.name).enabled for row in rows] == [False, False]
    assert PeriodicTasks.last_change() > before
    act(scheduler, "enable_tasks", rows[0])
    assert [default(row.name).enabled for row in rows] == [True, False]
    assert {event.target_id for event in events("periodictask.disabled")} == {str(row.pk) for row in rows}
    (event,) = events("periodictask.enabled")
    assert (event.actor, event.target_id) == (scheduler.user, str(rows[0].pk))


def test_a_schedule_is_run_at_once(scheduler: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda task, **_options: sent.append(task.name))
    act(scheduler, "run_tasks", default())
    assert sent == ["tasks.housekeeping.check_ledger"]
    (event,) = events("periodictask.run")
    assert (event.actor, event.target_id) == (scheduler.user, str(default().pk))


def test_a_silent_broker_is_said(scheduler: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("celery.app.task.Task.apply_async", refuse)
    answer = act(scheduler, "run_tasks", default())
    assert "The broker does not answer" in str(list(get_messages(answer.wsgi_request))[0])


def test_viewers_see_schedules_without_a_field_to_type_in(scheduler: Staff) -> None:
    viewer = make_staff("viewers")
    for row in PeriodicTask.objects.all():
        shown = viewer.client.get(reverse(CHANGE, args=[row.pk])).content.decode()
        assert row.name in shown
        assert "<select" not in shown.split('id="periodictask_form"')[1].split("</form>")[0]
        assert save(viewer, row, enabled=None).status_code == 403
    assert not PeriodicTask.objects.filter(enabled=False).exists()


def test_a_list_of_many_costs_what_a_list_of_few_costs(scheduler: Staff, django_assert_max_num_queries: Any) -> None:
    timing = midnight()
    PeriodicTask.objects.bulk_create(
        [
            PeriodicTask(name=f"Extra {number}", task="tasks.housekeeping.clean_up", crontab=timing)
            for number in range(45)
        ]
    )
    with django_assert_max_num_queries(7):
        scheduler.client.get(reverse(LIST))
    with django_assert_max_num_queries(9):
        scheduler.client.get(reverse("admin:django_celery_beat_crontabschedule_change", args=[timing.pk]))


def test_no_page_has_a_script_in_it(scheduler: Staff) -> None:
    """Our Content-Security-Policy lets scripts come from files only; data in `<script>` is not run."""
    for page in (reverse(ADD), reverse(CHANGE, args=[default().pk]), reverse(LIST)):
        for script in scheduler.client.get(page).content.decode().split("<script")[1:]:
            tag = script.split(">")[0]
            assert "src=" in tag or 'type="application/json"' in tag, tag
