"""Choose TCP ports on the loopback interface."""

import random
import socket
from contextlib import ExitStack

# Below the range from which the kernel takes source ports (32768 on Linux, 49152 elsewhere), so that an outgoing
# connection can't take a server's port while the server is being restarted.
_LOWEST, _HIGHEST = 20_000, 32_000
LOOPBACK = "127.0.0.1"


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on this port now."""
    with socket.socket() as listener:
        return _bind(listener, port, host)


def free_ports(count: int) -> list[int]:
    """Return different ports on which nothing listens.

    :raises RuntimeError: when hardly any port is free.
    """
    ports: list[int] = []
    with ExitStack() as listeners:
        for candidate in random.sample(range(_LOWEST, _HIGHEST), 2_000):
            listener = listeners.enter_context(socket.socket())
            # Held until all are chosen, so that none is chosen twice.
            if _bind(listener, candidate, LOOPBACK):
                ports.append(candidate)
            if len(ports) == count:
                return ports
    raise RuntimeError("No free TCP port was found on the loopback interface.")


def free_port() -> int:
    """Return a port on which nothing listens."""
    return free_ports(1)[0]


def _bind(listener: socket.socket, port: int, host: str) -> bool:
    # As servers do: connections of a server that has just stopped don't count.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1)
    except OSError:
        return False
    return True
