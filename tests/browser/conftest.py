"""A real browser on real pages: Debian's chromium, driven by Playwright, with a real web server, worker and chain."""

import contextlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connections
from playwright.sync_api import Browser, Page, expect, sync_playwright

from accounts.keys import create_keystore
from accounts.models import Account, User
from tasks.money import follow
from tests.conftest import StartWorker
from tests.desk import ETHER, WALLET_FUNDS, make_account, make_user, make_wallet, write_deposit_seed
from transactions.models import Wallet
from txnsite.stack.anvil import Anvil
from txnsite.stack.apps import Web

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Without these a browser looks up its maker's hosts at every start.
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-quic"]
FLAGS += ["--disable-component-update", "--disable-sync"]
PASSWORD = "a password that nobody guesses"

expect.set_options(timeout=15_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker("browser")


class OpenPage:
    """Open pages as people's devices show them: `open_page(width=375, color_scheme="dark")`.

    Afterwards, no page may have asked another host or logged an error.
    """

    def __init__(self, chromium: str, url: str) -> None:
        self._chromium = chromium
        self._url = url
        self._running = contextlib.ExitStack()
        self._browser: Browser | None = None
        self.faults: list[str] = []

    def __call__(self, *, width: int = 1280, **options: Any) -> Page:
        if self._browser is None:
            playwright = self._running.enter_context(sync_playwright())
            self._browser = playwright.chromium.launch(executable_path=self._chromium, args=FLAGS)
            self._running.callback(self._browser.close)
        context = self._browser.new_context(
            base_url=self._url, viewport={"width": width, "height": 800}, reduced_motion="reduce", **options
        )
        context.on("page", self._watch)
        return context.new_page()

    def close(self) -> None:
        self._running.close()

    def _watch(self, page: Page) -> None:
        host = urlsplit(self._url).netloc
        page.on("request", lambda request: _note_other_host(request.url, host, self.faults))
        page.on("pageerror", lambda error: self.faults.append(f"script error: {error}"))
        page.on("console", lambda message: _note_complaint(message.type, message.text, self.faults))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a browser, or skip the test where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"No browser here: none of {', '.join(NAMES)} is installed (Debian: apt install chromium).")
    return path


@pytest.fixture
def open_page(chromium: str, live_web: Web) -> OpenPage:
    return OpenPage(chromium, live_web.url)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Run each test of this folder in a thread of its own.

    Playwright leaves an event loop running in its thread. There Django would take database connections for those of
    an async task: others than the ones that the fixtures of this and every later test use.
    """
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    def run() -> None:
        try:
            pyfuncitem.obj(**arguments)
        finally:
            # The connections of now; after the event loop's end there would be others.
            connections.close_all()
            if isinstance(pages := arguments.get("open_page"), OpenPage):
                pages.close()
            connections.close_all()

    with pytest.MonkeyPatch.context() as environment, ThreadPoolExecutor(1) as thread:
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        thread.submit(run).result()
    if isinstance(pages := arguments.get("open_page"), OpenPage):
        assert pages.faults == []
    return True


def _note_other_host(url: str, host: str, faults: list[str]) -> None:
    if urlsplit(url).netloc not in ("", host):
        faults.append(f"asked another host: {url}")


def _note_complaint(kind: str, text: str, faults: list[str]) -> None:
    """Note what the browser complains about: a breach of the content security policy, say, but not a 422 of ours."""
    if (
        kind in ("error", "warning")
        and "server responded with a status of 4" not in text
        and "ERR_INTERNET" not in text
    ):
        faults.append(f"console: {text}")


@dataclass
class LiveDesk:
    """A desk whose payments really go out: a person with an account, a wallet, a worker and a chain."""

    chain: Anvil
    user: User
    account: Account
    wallet: Wallet = field(repr=False)

    def sign_in(self, page: Page) -> None:
        """Sign in as the person does, and arrive at the accounts."""
        page.goto("/")
        page.get_by_label("Username").fill(self.user.username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Accounts", exact=True)).to_be_visible()

    def mine(self, blocks: int = 1) -> None:
        """Mine blocks and have the worker look at them, as beat would within a second."""
        self.chain.mine(blocks)
        follow.delay()


@pytest.fixture
def deposit_seed() -> None:
    """Let the web server give out deposit addresses."""
    write_deposit_seed()


@pytest.fixture
def desk(transactional_db: None, anvil: Anvil) -> LiveDesk:
    """A person with 100 ether, and a funded wallet whose key the worker has."""
    user = make_user("ada")
    user.set_password(PASSWORD)
    user.save()
    address = create_keystore(settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE)
    anvil.rpc("anvil_setBalance", address, hex(WALLET_FUNDS))
    wallet = make_wallet(address)
    return LiveDesk(anvil, user, make_account(user, balance_in_wei=100 * ETHER, name="Main"), wallet)


@pytest.fixture
def paying_desk(desk: LiveDesk, celery_worker: StartWorker) -> LiveDesk:
    """The same with a worker that broadcasts and follows."""
    celery_worker("money")
    return desk
