"""Proxies that pass bytes between clients and one server, and can do so badly."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from txnsite.stack.ports import LOOPBACK

T = TypeVar("T")
Address = int | Path
"""A port on the loopback interface, or the path of a Unix socket."""

_CHUNK = 65_536
_COMMAND_SECONDS = 10.0


class Proxy:
    """A proxy in front of one server. All but `serve` may be called from any thread.

    :param delay_seconds: how long each piece of data waits before it is passed on.
    :param lost_answers: the share of the server's pieces that never arrive: the connection is closed instead, after
        the server has done what it was asked.
    """

    def __init__(self, name: str, *, listen: Address, server: Address) -> None:
        self.name = name
        self.listen = listen
        self.server = server
        self.delay_seconds = 0.0
        self.lost_answers = 0.0
        self._random = Random(0)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    # --- What a fault does to it ------------------------------------------------------------------------------------
    def refuse(self) -> None:
        """Stop listening and close all connections, as a server that is down does."""
        self._run(self._refuse())

    def admit(self) -> None:
        """Listen again."""
        self._run(self._listen())

    def hold(self) -> None:
        """Pass nothing more on, without a word: a black hole."""
        self._run(self._set_passing(False))

    def release(self) -> None:
        """Pass on what was held, and what comes."""
        self._run(self._set_passing(True))

    def cut(self) -> None:
        """Close all connections; new ones are welcome."""
        self._run(self._cut())

    # --- How it works -----------------------------------------------------------------------------------------------
    async def serve(self) -> None:
        """Begin to listen; call it in the loop that is to do the work."""
        self._loop = asyncio.get_running_loop()
        self._passing.set()
        await self._listen()

    async def close(self) -> None:
        """End everything; called in the loop."""
        await self._refuse()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None, "the proxy was never served"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_COMMAND_SECONDS)

    async def _listen(self) -> None:
        if self._listener is not None:
            return
        if isinstance(self.listen, Path):
            self.listen.unlink(missing_ok=True)
            self._listener = await asyncio.start_unix_server(self._accept, self.listen)
        else:
            self._listener = await asyncio.start_server(self._accept, LOOPBACK, self.listen)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if isinstance(self.listen, Path):
            self.listen.unlink(missing_ok=True)
        await self._cut()

    async def _set_passing(self, passing: bool) -> None:
        if passing:
            self._passing.set()
        else:
            self._passing.clear()

    async def _cut(self) -> None:
        for connection in tuple(self._connections):
            connection.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._connect(reader, writer)
            # What was written still arrives.
            writer.close()
        except (OSError, asyncio.CancelledError):
            # Cut, or one of the two has gone.
            writer.transport.abort()
        finally:
            self._connections.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self.server, Path):
            from_server, to_server = await asyncio.open_unix_connection(self.server)
        else:
            from_server, to_server = await asyncio.open_connection(LOOPBACK, self.server)
        pumps = [
            asyncio.ensure_future(self._pump(reader, to_server)),
            asyncio.ensure_future(self._pump(from_server, writer, loses=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            # Told to end, they are waited for: a task that is thrown away while it ends is complained about.
            await asyncio.gather(*pumps, return_exceptions=True)
            to_server.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, loses: bool = False) -> None:
        while data := await reader.read(_CHUNK):
            await self._passing.wait()
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if loses and self.lost_answers and self._random.random() < self.lost_answers:
                return
            writer.write(data)
            await writer.drain()


@contextlib.contextmanager
def served(*proxies: Proxy) -> Iterator[None]:
    """Run proxies in a thread of their own while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxies", daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(_COMMAND_SECONDS)

    try:
        for proxy in proxies:
            run(proxy.serve())
        yield
    finally:
        for proxy in proxies:
            run(proxy.close())
        run(_last_turn())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_COMMAND_SECONDS)
        loop.close()


async def _last_turn() -> None:
    """Let connections that were cut come to their ends."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task
