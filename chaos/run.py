"""One run: start the desk, let it rain, let it settle, judge."""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil

from bench.report import describe_machine
from chaos.cast import CODE, Cast
from chaos.checks import judge
from chaos.clients import Client, make_clients
from chaos.drill import Drill
from chaos.evidence import Evidence
from chaos.faults.base import MakeFault
from chaos.onchain import read_chain
from chaos.payer_in import PayerIn
from chaos.plan import waves
from chaos.report import Result
from chaos.rows import read_rows
from chaos.settling import Settling
from chaos.stack import BLOCK_SECONDS, DATABASE, Stack, remove_files
from chaos.told import Told
from txnsite.stack.supervisor import Supervisor

_PREFIX = "run-"
# As service managers do; what dies here is killed, and not broken in itself.
_PAUSE_SECONDS_MAX = 1.0


Actor = Client | PayerIn


@dataclass(frozen=True)
class Terms:
    """What is to be done.

    :param faults: when so many have struck, the rain is over; None for no limit.
    :param minutes: after so long the rain is over; None for no limit.
    :param settle_seconds: how long the desk has afterwards to bring every payment to its end.
    """

    seed: int
    kinds: Sequence[MakeFault]
    faults: int | None = None
    minutes: float | None = None
    settle_seconds: float = 300.0
    deep_reorgs: bool = False


class HarnessError(Exception):
    """The harness itself failed: nothing can be said about the desk."""


def make_folder(parent: Path) -> Path:
    """Make a folder for one run; those of earlier runs that were killed are removed."""
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_PREFIX}*-*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            remove_files(left)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{psutil.Process().pid}-", dir=parent))


class Run:
    """One run in one folder. Use `carry_out` once.

    :param say: told, line by line, what goes on.
    """

    def __init__(self, folder: Path, terms: Terms, say: Callable[[str], None]) -> None:
        # PostgreSQL runs as another user when we are root, and must get through to its folder.
        folder.chmod(0o711)
        self.terms = terms
        self.stack = Stack(folder)
        self._say = say
        self._told = Told()
        self._ended: list[str] = []

    def carry_out(self) -> Result:
        """Do everything and return what came out.

        :raises StackError: when the desk can't be started.
        :raises StopRequested: when somebody stopped it.
        :raises HarnessError: when the harness failed.
        """
        with (
            Supervisor(self._hear, pause_seconds_max=_PAUSE_SECONDS_MAX) as supervisor,
            self.stack.running(supervisor) as cast,
        ):
            clients, probe = make_clients(cast, self.stack.site_port, self._told, self.terms.seed)
            payer_in = PayerIn(
                cast, self.stack.anvil, Random(f"{self.terms.seed}-payer-in"), pays_last=self.terms.deep_reorgs
            )
            actors: list[Actor] = [*clients, payer_in]
            plan = waves(self.terms.seed, self.terms.kinds)
            drill = Drill(self.stack, plan, probe, self._say, self.terms.faults)
            rain_seconds = self._rain(supervisor, actors, drill)
            settle_seconds = self._settle(supervisor, actors)
            evidence = self._gather(supervisor, cast)
        return Result(
            seed=self.terms.seed,
            rain_seconds=rain_seconds,
            settle_seconds=settle_seconds,
            outcomes=drill.outcomes,
            accepted=len({answer.subject for answer in self._told.acceptances()}),
            payments=Counter(payment.status for payment in evidence.rows.payments),
            deposits=Counter(deposit.status for deposit in evidence.rows.deposits),
            sweeps=Counter(sweep.status for sweep in evidence.rows.sweeps),
            answers=Counter(answer.status for answer in self._told.answers),
            violations=judge(evidence),
            ended_by_themselves=self._ended,
            machine=describe_machine(),
        )

    def write_told(self, path: Path) -> None:
        """Write what clients asked and were told to a file, for whoever looks into a violation."""
        path.write_text(json.dumps(self._told.as_json(), indent=1) + "\n")

    def _rain(self, supervisor: Supervisor, actors: Sequence[Actor], drill: Drill) -> float:
        """Let clients pay and faults strike; return how many seconds that took."""
        begun = time.monotonic()
        ends_at = float("inf") if self.terms.minutes is None else begun + 60 * self.terms.minutes
        for actor in actors:
            actor.start()
        drill.start()
        try:
            supervisor.watch(until=lambda: not drill.is_running or time.monotonic() > ends_at)
        finally:
            drill.stop()
            for actor in actors:
                actor.finish()
        if drill.error is not None:
            raise HarnessError("The drill broke down.") from drill.error
        return time.monotonic() - begun

    def _settle(self, supervisor: Supervisor, actors: Sequence[Actor]) -> float:
        """Wait until all payments are final and all deposits credited, or until it is clear that they won't be.

        Return the seconds.
        """
        self._say("The rain is over; waiting until every payment is final and every deposit credited.")
        begun = time.monotonic()
        supervisor.watch(until=lambda: not any(actor.is_alive() for actor in actors))
        settling = Settling(self.stack)
        asked_at = 0.0

        def is_final() -> bool:
            nonlocal asked_at
            if time.monotonic() - begun > self.terms.settle_seconds:
                return True
            if time.monotonic() - asked_at < BLOCK_SECONDS:
                return False
            asked_at = time.monotonic()
            return settling.is_over()

        supervisor.watch(until=is_final)
        return time.monotonic() - begun

    def _gather(self, supervisor: Supervisor, cast: Cast) -> Evidence:
        code, said = self.stack.run_module(supervisor, "chaos.books")
        rows = read_rows(self.stack.postgres.url_of(DATABASE))
        recipients = {payment.to_public_address for payment in rows.payments} | set(CODE)
        recipients |= {order.to_address for order in self._told.orders.values()}
        chain = read_chain(self.stack.anvil.port, wallets=cast.addresses, recipients=recipients)
        return Evidence(cast, rows, chain, self._told, self.terms.deep_reorgs, said.splitlines() if code else ())

    def _hear(self, sentence: str) -> None:
        """Take in what the supervisor says: whatever ended and was not killed by us is news."""
        if "SIGKILL" in sentence or " ended (" not in sentence:
            return
        last_words = [unit.process.log_tail(1) for unit in self.stack.programs if sentence.startswith(f"{unit.name} ")]
        told = " ".join([sentence, *last_words])
        self._ended.append(told)
        self._say(told)
