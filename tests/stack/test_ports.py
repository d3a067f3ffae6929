import socket

from txnsite.stack.ports import LOOPBACK, free_ports, port_is_free


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(port_is_free(port) for port in ports)
    # The kernel's own choices for outgoing connections begin above.
    assert all(20_000 <= port < 32_000 for port in ports)


def test_a_port_somebody_listens_on_is_taken() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        assert not port_is_free(port)
    assert port_is_free(port)


def test_a_port_taken_on_all_addresses_is_taken_on_ours() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        assert not port_is_free(listener.getsockname()[1])
