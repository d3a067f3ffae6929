"""The three servers as they are: real programs that are started, killed and started again."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis

from tests.processes import make_folder
from tests.stack.processes import is_alive
from txnsite.stack.anvil import Anvil, AnvilError
from txnsite.stack.errors import StackError, StartError
from txnsite.stack.postgres import UNSAFE_AND_FAST, Postgres
from txnsite.stack.process import wait_for
from txnsite.stack.valkey import Valkey, ValkeyCache, tell_valkey


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, as PostgreSQL's own must when the tests run as root."""
    path = make_folder()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def postgres(folder: Path) -> Iterator[Postgres]:
    server = Postgres(folder / "postgres", log_path=folder / "postgres.log", settings=UNSAFE_AND_FAST)
    server.start()
    yield server
    server.kill()


class TestPostgres:
    def test_data_survives_stops_crashes_and_kills(self, postgres: Postgres) -> None:
        with postgres.connect() as connection:
            connection.execute("CREATE TABLE kept (number int)")
        for end in (postgres.stop, postgres.stop_immediately, postgres.kill):
            with postgres.connect() as connection:
                connection.execute("INSERT INTO kept VALUES (1)")
            pid = postgres.pid
            end()
            assert not is_alive(pid)
            assert not postgres.is_ready()
            postgres.start()
        with postgres.connect() as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (3,)

    def test_a_database_has_an_owner_who_is_no_superuser(self, postgres: Postgres) -> None:
        for _ in range(2):
            postgres.create_database("desk", owner="clerk")
        with psycopg.connect(postgres.url_of("desk", user="clerk")) as connection:
            row = connection.execute(
                "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            assert row == ("clerk", False)
            connection.execute("CREATE TABLE own (number int)")

    def test_text_is_utf8_and_ordered_alike_on_every_machine(self, postgres: Postgres) -> None:
        with postgres.connect() as connection:
            row = connection.execute("SELECT array_agg(x ORDER BY x), upper('é') FROM unnest(ARRAY['b','B','a','é']) x")
            assert row.fetchone() == (["B", "a", "b", "é"], "É")

    def test_its_socket_is_for_us_only(self, postgres: Postgres) -> None:
        assert postgres.socket_dir.stat().st_mode & 0o077 == 0

    def test_a_server_left_by_a_killed_stack_is_taken_over(self, postgres: Postgres, folder: Path) -> None:
        successor = Postgres(postgres.data_dir, log_path=folder / "successor.log", settings=UNSAFE_AND_FAST)
        successor.start()
        try:
            assert not is_alive(postgres.pid)
            assert successor.is_ready()
        finally:
            successor.kill()

    def test_a_lock_file_that_names_another_program_is_ignored(self, postgres: Postgres) -> None:
        postgres.kill()
        lock_file = postgres.data_dir / "postmaster.pid"
        lines = lock_file.read_text().split("\n")
        lock_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
        postgres.start()
        assert is_alive(os.getpid())

    def test_half_an_initialisation_is_no_cluster(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server = Postgres(folder / "postgres", log_path=folder / "postgres.log")
        monkeypatch.setattr("txnsite.stack.postgres._SUPERUSER", "pg_not_allowed")
        with pytest.raises(StartError, match="files can't be created"):
            server.start()
        assert not server.data_dir.exists()

    def test_it_runs_deep_below_a_closed_folder(self, folder: Path) -> None:
        """As in a clone below /root, which no other user may enter, with a path too long for a socket's name."""
        closed = folder / "closed"
        closed.mkdir(mode=0o700)
        deep = closed / ("x" * 60) / ("y" * 60)
        server = Postgres(deep / "postgres", log_path=deep / "postgres.log", settings=UNSAFE_AND_FAST)
        assert len(os.fsencode(server.socket_dir)) <= 80
        server.start()
        try:
            server.restart()
            assert server.is_ready()
            assert closed.stat().st_mode & 0o777 == 0o700
        finally:
            server.kill()
            shutil.rmtree(server.socket_dir)

    def test_a_socket_folder_of_somebody_else_is_refused(self, folder: Path) -> None:
        server = Postgres(folder / ("x" * 90), log_path=folder / "postgres.log")
        server.socket_dir.symlink_to(folder)
        try:
            with pytest.raises(StackError, match="belongs to somebody else"):
                server.start()
        finally:
            server.socket_dir.unlink()


class TestValkey:
    def test_it_remembers_over_a_stop_and_a_crash(self, own_valkey: Valkey) -> None:
        tell_valkey(own_valkey.port, "SET a 1", "SET b 2")
        own_valkey.restart()
        tell_valkey(own_valkey.port, "INCR a", answer=":2")
        wait_for(lambda: appended(own_valkey, b"incr"), what="the file to hold it", timeout_seconds=10)
        own_valkey.kill()
        own_valkey.start()
        tell_valkey(own_valkey.port, "INCR a", answer=":3")
        own_valkey.flush()
        tell_valkey(own_valkey.port, "INCR a", answer=":1")

    def test_it_refuses_rather_than_forgets(self, own_valkey: Valkey) -> None:
        tell_valkey(own_valkey.port, "CONFIG SET maxmemory 1")
        with pytest.raises(StackError, match="OOM"):
            tell_valkey(own_valkey.port, "SET a 1")

    def test_a_stopped_one_is_not_ready(self, own_valkey: Valkey) -> None:
        own_valkey.stop()
        assert not own_valkey.is_ready()
        with pytest.raises(StackError, match="doesn't answer"):
            own_valkey.flush()


class TestValkeyCache:
    @pytest.fixture
    def cache(self, folder: Path) -> Iterator[ValkeyCache]:
        server = ValkeyCache(folder / "cache", log_path=folder / "cache.log")
        server.start()
        yield server
        server.kill()

    def test_it_comes_back_empty_and_leaves_no_file(self, cache: ValkeyCache) -> None:
        for end in (cache.stop, cache.kill):
            tell_valkey(cache.port, "SET a 1")
            end()
            assert list(cache.data_dir.iterdir()) == []
            cache.start()
            tell_valkey(cache.port, "GET a", answer="$-1")

    def test_it_makes_room_for_what_is_new(self, cache: ValkeyCache) -> None:
        client: Any = Redis.from_url(cache.url)
        for number in range(100):
            client.set(str(number), bytes(1_000_000))
        assert client.dbsize() < 70
        assert client.exists("99")
        client.close()


def appended(server: Valkey, text: bytes) -> bool:
    return any(text in path.read_bytes().lower() for path in server.data_dir.glob("appendonlydir/*.aof"))


class TestAnvil:
    def test_it_mines_when_told_to(self, anvil: Anvil) -> None:
        start = anvil.block_number()
        transaction = anvil.transfer(anvil.accounts()[1], 5)
        assert anvil.receipt(transaction) is None
        assert anvil.mine(3) == start + 3
        receipt = anvil.receipt(transaction)
        assert receipt is not None
        assert (receipt["status"], int(receipt["blockNumber"], 16)) == ("0x1", start + 1)

    def test_automine_and_block_time(self, anvil: Anvil) -> None:
        anvil.set_automine(True)
        transaction = anvil.transfer(anvil.accounts()[1], 5)
        wait_for(lambda: anvil.receipt(transaction) is not None, what="a block of its own", timeout_seconds=10)
        anvil.set_automine(False)
        start = anvil.block_number()
        anvil.set_block_time(1)
        wait_for(lambda: anvil.block_number() > start, what="a block", timeout_seconds=10)

    def test_the_fixture_leaves_the_chain_as_it_was(self, anvil: Anvil) -> None:
        # The chain of the tests before this one: each mined at least one block.
        assert anvil.block_number() == 0
        assert anvil.rpc("txpool_status") == {"pending": "0x0", "queued": "0x0"}

    def test_a_reorg_replaces_blocks(self, anvil: Anvil) -> None:
        transaction = anvil.transfer(anvil.accounts()[1], 5)
        anvil.mine(5)
        raw = anvil.rpc("eth_getRawTransactionByHash", transaction)
        before = [anvil.block(number)["hash"] for number in range(6)]
        anvil.reorg(5, [(raw, 2)])
        after = [anvil.block(number)["hash"] for number in range(6)]
        assert before[0] == after[0]
        assert all(old != new for old, new in zip(before[1:], after[1:], strict=True))
        receipt = anvil.receipt(transaction)
        assert receipt is not None
        assert receipt["blockNumber"] == "0x3"

    def test_the_fixture_survives_a_reorg_below_its_snapshot(self, anvil: Anvil) -> None:
        assert anvil.block_number() == 0

    def test_snapshots(self, anvil: Anvil) -> None:
        account = anvil.accounts()[2]
        snapshot = anvil.snapshot()
        anvil.set_balance(account, 7)
        anvil.mine(2)
        assert anvil.balance(account) == 7
        anvil.revert(snapshot)
        assert (anvil.block_number(), anvil.balance(account)) == (0, 10_000 * 10**18)
        with pytest.raises(StackError, match="no snapshot"):
            anvil.revert("0x99")

    def test_errors_are_told_with_their_code(self, anvil: Anvil) -> None:
        with pytest.raises(AnvilError, match="eth_nonsense") as raised:
            anvil.rpc("eth_nonsense")
        assert raised.value.code == -32601
        with pytest.raises(AnvilError, match="no block 99"):
            anvil.block(99)


class TestAnvilState:
    def test_it_goes_on_after_a_stop(self, own_anvil: Anvil) -> None:
        transaction = own_anvil.transfer(own_anvil.accounts()[1], 5)
        own_anvil.mine(4)
        hashes = [own_anvil.block(number)["hash"] for number in range(5)]
        receipt = own_anvil.receipt(transaction)
        own_anvil.restart()
        assert [own_anvil.block(number)["hash"] for number in range(5)] == hashes
        assert own_anvil.receipt(transaction) == receipt
        assert own_anvil.balance(own_anvil.accounts()[1]) == 10_000 * 10**18 + 5

    def test_it_may_write_its_state_when_it_stops_and_not_before(self, tmp_path: Path) -> None:
        server = Anvil(
            state_dir=tmp_path / "anvil", log_path=tmp_path / "anvil.log", mining=False, dump_every_seconds=None
        )
        server.start()
        assert "--state-interval" not in server.process.argv
        server.mine(4)
        server.restart()
        assert server.block_number() == 4
        server.kill()

    def test_one_that_mines_in_time_stops_behind_a_block_and_in_none(self, tmp_path: Path) -> None:
        """Stopped while it mines, it once kept used nonces and moved ether without the block they came from."""
        server = Anvil(state_dir=tmp_path / "anvil", log_path=tmp_path / "anvil.log", block_time_seconds=60)
        server.start()
        transaction = server.transfer(server.accounts()[1], 5)
        server.restart()
        receipt = server.receipt(transaction)
        assert receipt is not None
        assert receipt["blockNumber"] == hex(server.block_number())
        server.kill()

    def test_a_crash_loses_no_more_than_seconds(self, own_anvil: Anvil) -> None:
        own_anvil.mine(4)
        wait_for(lambda: saved_block(own_anvil) == 4, what="the state on disk", timeout_seconds=20)
        own_anvil.kill()
        own_anvil.start()
        assert own_anvil.block_number() == 4

    def test_a_state_cut_short_is_replaced_by_the_last_copy(self, own_anvil: Anvil) -> None:
        own_anvil.mine(4)
        wait_for(lambda: saved_block(own_anvil) == 4, what="the state on disk", timeout_seconds=20)
        own_anvil.keep_copy()
        own_anvil.kill()
        truncate(own_anvil)
        # What is damaged is never copied over what is whole.
        own_anvil.keep_copy()
        own_anvil.start()
        assert own_anvil.block_number() == 4

    def test_a_state_cut_short_without_a_copy_is_said(self, own_anvil: Anvil) -> None:
        own_anvil.stop()
        truncate(own_anvil)
        with pytest.raises(StartError, match="make reset"):
            own_anvil.start()


def state_file(server: Anvil) -> Path:
    assert server.state_dir is not None
    return server.state_dir / "state.json"


def saved_block(server: Anvil) -> int:
    """Return the number of the last block in the state file, -1 when it is being written."""
    try:
        return int(json.loads(state_file(server).read_bytes())["best_block_number"])
    except (OSError, ValueError):
        return -1


def truncate(server: Anvil) -> None:
    path = state_file(server)
    os.truncate(path, path.stat().st_size // 2)
