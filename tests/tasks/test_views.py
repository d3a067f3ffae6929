"""The page of a background task: a progress bar for people, JSON for programs, for its owner and for staff."""

import re
import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from accounts.services.tokens import create_token, revoke_token
from tasks.models import TaskRun
from tasks.progress import advance_run, create_run, fail_run, finish_run, start_run
from tasks.queries import describe_run
from tests.desk import make_user
from tests.pages import text_of

JSON = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HTMX = {"HX-Request": "true", "Accept": "*/*"}


@pytest.fixture
def owner(db: None) -> User:
    return make_user("ada")


@pytest.fixture
def run(owner: User) -> TaskRun:
    """A run that is at 17 of 80."""
    run = create_run(name="Check the ledger", owner=owner, total=80)
    start_run(run.pk)
    advance_run(run.pk, 17, message="Account 17 of 80")
    run.refresh_from_db()
    return run


@pytest.fixture
def ada(client: Client, owner: User) -> Client:
    client.force_login(owner)
    return client


def path_of(run: TaskRun) -> str:
    return f"/tasks/{run.pk}/"


# --- For programs -----------------------------------------------------------------------------------------------------
def test_programs_get_the_progress_as_json(ada: Client, run: TaskRun) -> None:
    answer = ada.get(path_of(run), headers=JSON)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        **describe_run(run),
        "id": str(run.pk),
        "name": "Check the ledger",
        "status": "In Progress",
        "processed": 17,
        "total": 80,
        "percent": 21,
        "message": "Account 17 of 80",
        "error": "",
    }


def test_a_failure_is_told_with_its_error(ada: Client, run: TaskRun) -> None:
    fail_run(run.pk, error="Two accounts differ.")
    told = ada.get(path_of(run), headers=JSON).json()
    assert (told["status"], told["processed"], told["error"]) == ("Failed", 17, "Two accounts differ.")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html", "text/html; charset=utf-8"),
        (BROWSER["Accept"], "text/html; charset=utf-8"),
        ("application/json;q=0.5, text/html", "text/html; charset=utf-8"),
    ],
)
def test_who_asks_gets_what_they_accept(ada: Client, run: TaskRun, accept: str, content_type: str) -> None:
    answer = ada.get(path_of(run), headers={"Accept": accept})
    assert answer["Content-Type"] == content_type
    assert {"Accept", "HX-Request", "Authorization", "Cookie"} <= set(answer["Vary"].split(", "))
    assert "no-store" in answer["Cache-Control"]


def test_a_program_can_use_its_token(client: Client, run: TaskRun, owner: User) -> None:
    token = create_token(user=owner, name="watcher")
    headers = {**JSON, "Authorization": f"Bearer {token.text}"}
    assert client.get(path_of(run), headers=headers).json()["processed"] == 17
    revoke_token(actor=owner, token_id=token.row.pk)
    refused = client.get(path_of(run), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (401, "bad_token")


def test_a_program_that_says_nothing_of_itself_is_asked_to(client: Client, run: TaskRun) -> None:
    answer = client.get(path_of(run), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_programs_learn_nothing_of_anothers_task(client: Client, run: TaskRun) -> None:
    client.force_login(make_user())
    others = client.get(path_of(run), headers=JSON)
    none = client.get(f"/tasks/{uuid.uuid4()}/", headers=JSON)
    assert (others.status_code, others.json()["code"]) == (404, "task_run_not_found")
    assert others.json() == none.json()


# --- For people -------------------------------------------------------------------------------------------------------
def test_people_see_a_bar_with_a_tooltip(ada: Client, run: TaskRun) -> None:
    page = ada.get(path_of(run), headers=BROWSER)
    assert "In progress 21 %" in text_of(page)
    assert "17 of 80 processed Account 17 of 80" in text_of(page)
    bar = re.findall(r"<progress [^>]*>", page.content.decode())[0]
    assert 'value="21"' in bar
    assert 'title="17 of 80 processed: Account 17 of 80"' in bar
    assert 'aria-label="Check the ledger"' in bar


def test_while_the_total_is_not_known_the_bar_is_open(ada: Client, owner: User) -> None:
    run = create_run(name="Read a file", owner=owner)
    start_run(run.pk)
    page = ada.get(path_of(run), headers=BROWSER)
    assert "Not counted yet" in text_of(page)
    assert "value=" not in re.findall(r"<progress [^>]*>", page.content.decode())[0]


def test_a_failed_run_says_what_went_wrong_and_stops(ada: Client, run: TaskRun) -> None:
    fail_run(run.pk, error="Two accounts differ.")
    page = ada.get(path_of(run), headers=BROWSER)
    assert "What went wrong Two accounts differ." in text_of(page)
    assert "hx-get" not in page.content.decode()
    assert "http-equiv" not in page.content.decode()


def poll(client: Client, page: Any) -> Any:
    found = re.search(r'hx-get="([^"]+)"', page.content.decode())
    assert found, "the page asks for nothing"
    return client.get(found[1], headers=HTMX)


def test_a_watching_page_gets_an_answer_only_when_something_changed(ada: Client, run: TaskRun) -> None:
    page = ada.get(path_of(run), headers=BROWSER)
    assert poll(ada, page).status_code == 204
    advance_run(run.pk, 3)
    changed = poll(ada, page)
    assert "20 of 80 processed" in text_of(changed)
    assert "<html" not in changed.content.decode()
    finish_run(run.pk, message="Every balance equals its entries.")
    last = poll(ada, changed)
    assert "Successful 100 %" in text_of(last)
    assert "hx-get" not in last.content.decode()


def test_without_a_script_the_page_loads_itself_again(ada: Client, run: TaskRun) -> None:
    assert '<noscript><meta http-equiv="refresh"' in ada.get(path_of(run), headers=BROWSER).content.decode()


def test_who_may_watch(client: Client, run: TaskRun) -> None:
    assert client.get(path_of(run), headers=BROWSER)["Location"] == f"/sign-in/?next={path_of(run)}"
    client.force_login(make_user())
    assert client.get(path_of(run), headers=BROWSER).status_code == 404
    staff = make_user()
    User.objects.filter(pk=staff.pk).update(is_staff=True)
    client.force_login(User.objects.get(pk=staff.pk))
    assert client.get(path_of(run), headers=BROWSER).status_code == 200
    assert client.get(f"/tasks/{uuid.uuid4()}/", headers=BROWSER).status_code == 404
    assert client.get("/tasks/17/", headers=BROWSER).status_code == 404


def test_a_scheduled_run_belongs_to_staff_only(client: Client, owner: User) -> None:
    run = create_run(name="Check the ledger")
    client.force_login(owner)
    assert client.get(path_of(run), headers=JSON).status_code == 404


def test_watching_costs_three_queries(
    ada: Client, run: TaskRun, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    page = ada.get(path_of(run), headers=BROWSER)
    with django_assert_num_queries(3):  # session, user, run
        poll(ada, page)


def test_times_are_shown(ada: Client, run: TaskRun) -> None:
    assert f"Started {timezone.now():%-d %b %Y}" in text_of(ada.get(path_of(run), headers=BROWSER))
