"""What v0.11.12 offers and v6.17.1 has dropped or deprecates: still there."""

from __future__ import annotations

import pytest

import nhttp


def test_it_constructs_a_client_for_one_server() -> None:
    server = nhttp.create_server(lambda request, response: response.end(request.url))
    with server.listen(0, "127.0.0.1"):
        address = server.address()
        assert isinstance(address, nhttp.net.Address)
        with pytest.warns(DeprecationWarning, match="use nhttp.request"):
            client = nhttp.create_client(address.port, "127.0.0.1")  # pyright: ignore[reportDeprecated]
        request = client.request("GET", "/a?b", {"X-A": "1"})
        request.end()
        with request as response:
            assert response.read() == b"/a?b"


def test_port_and_host_refer_to_the_server_and_have_defaults() -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        client = nhttp.create_client()  # pyright: ignore[reportDeprecated]
    assert (client.port, client.host) == (80, "localhost")


def test_keep_alive_of_a_request_keeps_the_socket_of_its_own_agent() -> None:
    server = nhttp.create_server(lambda request, response: response.end("ok"))
    with server.listen(0, "127.0.0.1"):
        address = server.address()
        assert isinstance(address, nhttp.net.Address)
        url = f"http://127.0.0.1:{address.port}/"
        first = nhttp.get(url, agent=False, keep_alive=True, keep_alive_initial_delay=2.0)
        with first as response:
            assert response.read() == b"ok"
        with first.agent as agent:
            assert agent.keep_alive_initial_delay == 2.0
            second = agent.get(url)
            assert second.get_response().read() == b"ok"
            assert second.reused_socket
        plain = nhttp.get(url, agent=False)
        assert plain.get_response().read() == b"ok"
        assert plain.agent.free_sockets == {}
