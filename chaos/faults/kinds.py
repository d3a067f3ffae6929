"""Which faults there are, and how often each comes."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from random import Random

from chaos.faults.base import MakeFault
from chaos.faults.chain import BaseFeeJumps, BlocksStop, DeepReorg, MempoolLost, Reorg
from chaos.faults.node import (
    NodeHttpErrors,
    NodeLags,
    NodePartialAnswers,
    NodeRestarted,
    NodeRpcErrors,
    NodeTimesOut,
    NodeTimesOutAfterAccepting,
)
from chaos.faults.programs import (
    AllProgramsKilled,
    AllWorkersKilled,
    BeatFrozen,
    BeatKilled,
    KilledAtPoint,
    WebKilled,
    WebProcessKilled,
    WorkerChildKilled,
    WorkerFrozen,
    WorkerKilled,
    WorkerParentKilled,
)
from chaos.faults.servers import (
    AnswersLost,
    BlackHole,
    ConnectionsCut,
    PostgresBackendKilled,
    PostgresReadOnly,
    PostgresRestarted,
    PostgresStoppedImmediately,
    Slow,
    ValkeyFlushed,
    ValkeyFull,
    ValkeyKilled,
    ValkeyRestarted,
)
from txnsite.stack.layout import REPOSITORY

_POINT = re.compile(r'fault_point\("([a-z_.]+)"\)')
_VALKEYS = ("broker", "cache")
_COMMITS = ("web.before_commit", "web.after_commit", "worker.before_commit", "worker.after_commit")

_OFTEN: tuple[MakeFault, ...] = (WorkerKilled, WorkerChildKilled, WebProcessKilled, Reorg, NodeLags)
_ALWAYS: tuple[MakeFault, ...] = (
    *_OFTEN,
    *_OFTEN,
    WorkerParentKilled,
    WorkerFrozen,
    AllWorkersKilled,
    AllProgramsKilled,
    BeatKilled,
    BeatFrozen,
    WebKilled,
    PostgresRestarted,
    PostgresStoppedImmediately,
    PostgresBackendKilled,
    PostgresReadOnly,
    NodeRestarted,
    NodeHttpErrors,
    NodeRpcErrors,
    NodePartialAnswers,
    NodeTimesOut,
    NodeTimesOutAfterAccepting,
    NodeTimesOutAfterAccepting,
    MempoolLost,
    BlocksStop,
    BaseFeeJumps,
    *(partial(make, part) for part in _VALKEYS for make in (ValkeyRestarted, ValkeyKilled, ValkeyFlushed, ValkeyFull)),
    *(partial(make, part) for part in ("PostgreSQL", *_VALKEYS, "site") for make in (ConnectionsCut, AnswersLost)),
    *(partial(make, part) for part in ("PostgreSQL", *_VALKEYS) for make in (BlackHole, Slow)),
)


def fault_points() -> list[str]:
    """Return the names of all fault points: those in the sources of the money path, and those at every commit."""
    sources = sorted(
        path for room in ("accounts", "transactions", "tasks") for path in (REPOSITORY / room).rglob("*.py")
    )
    named = {name for path in sources for name in _POINT.findall(path.read_text())}
    return [*sorted(named), *_COMMITS]


def all_kinds(*, deep_reorgs: bool) -> list[MakeFault]:
    """Return each kind as often as it comes in one round."""
    points = (partial(KilledAtPoint, point) for point in fault_points())
    return [*_ALWAYS, *points, *([DeepReorg] if deep_reorgs else [])]


def choose(kinds: Iterable[MakeFault], *, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[MakeFault]:
    """Return the kinds whose names hold one of the words `only`, if there are any, and none of those `without`."""
    return [kind for kind in kinds if (not only or _has_one(kind, only)) and not _has_one(kind, without)]


def _has_one(kind: MakeFault, words: Sequence[str]) -> bool:
    name = kind(Random(0)).name
    return any(word in name for word in words)
