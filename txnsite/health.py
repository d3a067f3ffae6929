"""Is this process alive, and can the desk do its work? For load balancers, supervisors and people.

`/healthz` says that the process answers. `/readyz` asks database, cache, broker and chain, and how far the follower has
come, all at once and none for longer than `LIMIT_SECONDS`:

- 200 `ready`: all four answer, and the follower keeps up.
- 200 `degraded`: the database answers, something else doesn't or stands still. Payments are accepted all the same and
  paid once it is back, so a load balancer that took the site away for this would only make it worse.
- 503 `down`: the database doesn't answer or lets nobody write, and nothing can be accepted.

`/readyz?strict=1` is for monitors: it answers 503 to `degraded` too. Of the chain, the state of each node is told as
well, by its place in `CHAIN_RPC_URLS`: of one that keeps the chain's answer back, `timeout`. No answer tells addresses,
names or versions.

The follower, which takes in the chain's blocks, runs in the workers. Of it, the age of the newest block that it has
walked is told; older than `STANDSTILL_AFTER_SECONDS` it is `behind`. Dead workers, a dead beat and a node that answers
and gets no new block all show in this one number, and nobody but a web process can tell of the first two. A desk that
has never walked a block is not behind: it has no wallet yet, since adding one walks the first blocks.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.core.cache import caches
from django.db import connections
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from django_redis import get_redis_connection

from transactions.chain import NodeState, get_chain
from transactions.exceptions import ChainMismatchError
from transactions.services.match import require_our_chain
from transactions.services.standstill import is_standstill
from txnsite.celery import app as celery_app

LIMIT_SECONDS = 2.0
REMEMBERED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class State:
    """What one part answered: `up`, or what is wrong with it; how long that took; and what else it told."""

    state: str
    latency_in_ms: float
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_up(self) -> bool:
        return self.state == "up"


Reply = tuple[str, dict[str, Any]]


class Probe:
    """Ask one part whether it works, one question at a time: a stuck one isn't asked again until it lets go.

    :param ask: returns the part's state and what else there is to tell of it; None says that it is up.
    """

    def __init__(self, name: str, ask: Callable[[], Reply | None]) -> None:
        self.name = name
        self._ask = ask
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"readyz-{name}")
        self._running: Future[State] | None = None

    def start(self) -> Future[State]:
        """Ask, or return the question that is still open."""
        if self._running is None or self._running.done():
            self._running = self._executor.submit(self._time)
        return self._running

    def _time(self) -> State:
        started = time.perf_counter()
        details: dict[str, Any] = {}
        try:
            state, details = self._ask() or ("up", details)
        except ChainMismatchError:
            state = "wrong chain"
        # Whatever is wrong with a part, the answer is that it is down.
        except Exception as error:  # noqa: BLE001
            state = "timeout" if isinstance(error, TimeoutError) else "down"
        return State(state, round((time.perf_counter() - started) * 1000, 1), details)


def _connect() -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection of our own: the pooled ones may be open to a server that takes no new ones."""
    parameters = connections["default"].get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    return psycopg.connect(**parameters | {"connect_timeout": int(LIMIT_SECONDS)})


def _ask_database() -> None:
    with _connect() as session:
        # A standby answers, and takes nothing.
        if session.execute("SHOW transaction_read_only").fetchone() != ("off",):
            raise psycopg.errors.ReadOnlySqlTransaction


def _ask_cache() -> None:
    get_redis_connection("default").get(f"{caches['default'].key_prefix}:readyz")


def _ask_broker() -> None:
    with celery_app.connection_for_write() as broker:
        # One try: `broker.connect()` would wait two seconds and try again.
        broker.transport.close_connection(broker.transport.establish_connection())


def _ask_chain() -> None:
    require_our_chain(get_chain())


def _ask_follower() -> Reply:
    with _connect() as session:
        newest = session.execute("SELECT timestamp FROM transactions_block ORDER BY number DESC LIMIT 1").fetchone()
    if newest is None:
        return "up", {"block_age_in_seconds": None}
    # A chain's clock may be ahead of ours.
    age = max(0, int(time.time()) - newest[0])
    return "behind" if is_standstill(age) else "up", {"block_age_in_seconds": age}


@dataclass(frozen=True, slots=True)
class Answers:
    """The state of each part by name, and of each node in the order of `CHAIN_RPC_URLS`: all of the same moment."""

    parts: dict[str, State]
    nodes: list[str]


class Readiness:
    """The newest answers of all parts, asked anew at most once a second however many want to know."""

    def __init__(self, probes: list[Probe]) -> None:
        self._probes = probes
        self._lock = threading.Lock()
        self._known = Answers({}, [])
        self._known_until = 0.0

    def answers(self) -> Answers:
        """Return what each part and each node has answered."""
        with self._lock:
            if time.monotonic() >= self._known_until:
                self._known = self._ask_all()
                self._known_until = time.monotonic() + REMEMBERED_SECONDS
            return self._known

    def forget(self) -> None:
        """Ask anew next time."""
        with self._lock:
            self._known_until = 0.0

    def _ask_all(self) -> Answers:
        open_questions = {probe.name: probe.start() for probe in self._probes}
        wait_for(open_questions.values(), timeout=LIMIT_SECONDS)
        too_late = State("timeout", LIMIT_SECONDS * 1000)
        parts = {name: future.result() if future.done() else too_late for name, future in open_questions.items()}
        is_late = parts["chain"] is too_late
        return Answers(parts, [_tell_node(node, chain_is_late=is_late) for node in get_chain().node_states()])


def _tell_node(node: NodeState, *, chain_is_late: bool) -> str:
    """Return a node's state; what is known of one from before says nothing while it keeps everybody waiting."""
    if chain_is_late and node.is_awaited:
        return "timeout"
    return "up" if node.trouble is None else node.trouble.value


readiness = Readiness(
    [
        Probe("database", _ask_database),
        Probe("cache", _ask_cache),
        Probe("broker", _ask_broker),
        Probe("chain", _ask_chain),
        Probe("follower", _ask_follower),
    ]
)


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer: this process is alive."""
    return JsonResponse({"status": "alive"}, headers={"Cache-Control": "no-store"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer with the state of each part, 503 if the site can't do its work."""
    answers = readiness.answers()
    if all(state.is_up for state in answers.parts.values()):
        status, code = "ready", 200
    elif answers.parts["database"].is_up:
        status, code = "degraded", 503 if request.GET.get("strict") == "1" else 200
    else:
        status, code = "down", 503
    checks: dict[str, Any] = {
        name: {"state": state.state, "latency_in_ms": state.latency_in_ms, **state.details}
        for name, state in answers.parts.items()
    }
    checks["chain"]["nodes"] = [{"node": number, "state": state} for number, state in enumerate(answers.nodes, start=1)]
    return JsonResponse({"status": status, "checks": checks}, status=code, headers={"Cache-Control": "no-store"})
