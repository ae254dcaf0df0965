"""https.Agent: names, reuse, and sessions that are resumed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from https_support import CLIENT, OTHER_CA, identity, serving, url_of
from support import SECONDS, Recorder, accept_into, in_thread, port_of
from tls_support import CA, client_context

import nhttp
from nhttp import https, net, tls
from nhttp.errors import ConnectionAborted, InvalidArgument
from nhttp.https._recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nhttp.net import Socket


def hello(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    response.end("hello")


def last(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    response.write_head(200, {"Connection": "close"}).end("hello")


@pytest.fixture
def agent() -> Iterator[https.Agent]:
    with https.Agent(keep_alive=True, ca=CA) as agent:
        yield agent


class Asked:
    """A request that was answered."""

    def __init__(self, agent: nhttp.Agent, url: str, **options: Any) -> None:
        request = agent.get(url, **options)
        self.body = request.get_response(SECONDS).read()
        assert self.body == b"hello"
        self.reused = request.reused_socket
        assert isinstance(request.socket, tls.TLSSocket)
        self.socket = request.socket
        self.resumed = request.socket.is_session_reused()


# --- names -------------------------------------------------------------------------------------


def name(agent: https.Agent, **options: Any) -> str:
    return agent.get_name(https.RequestOptions(host="a", **options))


def test_a_name_begins_as_http_s_does(agent: https.Agent) -> None:
    assert name(agent).startswith("a:443:")
    assert name(agent, port=1, local_address="127.0.0.1", family=4).startswith("a:1:127.0.0.1:4:")


@pytest.mark.parametrize(
    "options",
    [
        {"ca": OTHER_CA},
        {"cert": CLIENT.cert, "key": CLIENT.key},
        {"ciphers": "ECDHE+AESGCM"},
        {"min_version": "TLSv1.3"},
        {"max_version": "TLSv1.2"},
        {"alpn_protocols": ["http/1.1"]},
        {"reject_unauthorized": False},
        {"servername": "b"},
        {"headers": {"Host": "b"}},
        {"headers": [("Accept", "*/*"), ("host", "[::1]:8443")]},
    ],
)
def test_what_decides_reuse_is_in_the_name(agent: https.Agent, options: dict[str, Any]) -> None:
    assert name(agent, **options) != name(agent)
    assert name(agent, **options) == name(agent, **options)


def test_what_does_not_decide_reuse_is_not_in_the_name(agent: https.Agent) -> None:
    assert name(agent, handshake_timeout=5, path="/x", headers={"Host": "a:5"}) == name(agent)
    assert name(agent, headers={"Accept": "*/*"}) == name(agent)


def test_a_name_shows_nothing_of_keys() -> None:
    with https.Agent(cert=CLIENT.cert, key=CLIENT.key, passphrase="open sesame") as agent:
        shown = name(agent)
    secret = CLIENT.key.decode().splitlines()[1]
    assert secret[:16] not in shown
    assert "sesame" not in shown
    assert len(shown) < 200


def test_what_the_request_says_goes_before_what_the_agent_says(agent: https.Agent) -> None:
    with https.Agent(ca=OTHER_CA) as other, serving(hello) as server:
        assert name(other, ca=CA) == name(agent)
        assert Asked(other, url_of(server), ca=CA).socket.authorized


def test_a_certificate_replaces_the_agents_together_with_its_key() -> None:
    with (
        https.Agent(ca=CA, cert=CLIENT.cert, key=CLIENT.key) as agent,
        https.Agent(ca=CA) as other,
    ):
        both = CLIENT.cert + CLIENT.key
        assert name(agent, cert=both) == name(other, cert=both)


def test_a_ready_context_replaces_the_agents_options(agent: https.Agent) -> None:
    context = client_context()
    with (
        https.Agent(ca=OTHER_CA, ciphers="ECDHE+AESGCM") as other,
        serving(hello) as server,
    ):
        assert Asked(other, url_of(server), ssl_context=context).socket.authorized
        with pytest.raises(InvalidArgument, match="ssl_context"):
            other.get(url_of(server), ssl_context=context, ca=CA)


def test_a_name_can_be_asked_for_with_keywords(agent: https.Agent) -> None:
    assert agent.get_name(host="a", min_version="TLSv1.3") == name(agent, min_version="TLSv1.3")
    assert agent.get_name({"host": "a"}) == name(agent)
    assert agent.get_name(nhttp.RequestOptions(host="a")) == name(agent)


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="max_cached_sessions"):
        https.Agent(max_cached_sessions=-1)
    with pytest.raises(InvalidArgument, match="ca"):
        https.Agent(ca="nonsense")
    with pytest.raises(InvalidArgument, match="max_sockets"):
        https.Agent(max_sockets=-1)
    with https.Agent() as agent, pytest.raises(InvalidArgument, match="ca"):
        name(agent, ca=[{}])


# --- reuse -------------------------------------------------------------------------------------


def test_a_connection_is_kept_and_used_again(agent: https.Agent) -> None:
    with serving(hello) as server:
        first, second, third = (Asked(agent, url_of(server)) for _ in range(3))
        assert [first.reused, second.reused, third.reused] == [False, True, True]
        assert first.socket is second.socket is third.socket
        assert list(agent.free_sockets.values()) == [[first.socket]]
        agent.destroy()


def test_other_options_of_tls_get_another_connection(agent: https.Agent) -> None:
    with serving(hello) as server:
        Asked(agent, url_of(server))
        assert not Asked(agent, url_of(server), min_version="TLSv1.3").reused
        assert Asked(agent, url_of(server)).reused
        agent.destroy()


def test_a_kept_connection_that_the_server_closes_is_not_used_again(agent: https.Agent) -> None:
    with serving(hello) as server:
        seen = Recorder(server, "secureConnection")
        Asked(agent, url_of(server))
        seen.wait("secureConnection")[0].destroy()
        assert not Asked(agent, url_of(server)).reused
        agent.destroy()


def test_a_subclass_may_make_the_connection() -> None:
    made: list[Socket] = []

    class Mine(https.Agent):
        def create_connection(self, options: Any, callback: Any = None) -> Socket | None:
            sock = super().create_connection(options, callback)
            assert sock is not None
            made.append(sock)
            return sock

    with serving(hello) as server, Mine(ca=CA) as agent:
        assert Asked(agent, url_of(server)).socket is made[0]


def test_tls_goes_over_a_socket_that_is_given(agent: https.Agent) -> None:
    with serving(hello) as server:
        inner = net.connect(port_of(server), "127.0.0.1")
        request = https.get(url_of(server), socket=inner, ca=CA)
        assert request.agent is not https.global_agent
        assert request.get_response(SECONDS).read() == b"hello"


def test_requests_side_by_side() -> None:
    over = threading.Semaphore(0)

    def answered(response: nhttp.IncomingMessage) -> None:
        response.on("end", over.release).resume()

    with serving(hello) as server, https.Agent(max_sockets=2, ca=CA) as agent:
        for _ in range(20):
            agent.get(url_of(server), answered)
        for _ in range(20):
            assert over.acquire(timeout=SECONDS)
        assert server.get_connections() <= 2


def test_threads_share_connections() -> None:
    def ask_often(agent: https.Agent, url: str) -> list[bytes]:
        return [agent.get(url).get_response(SECONDS).read() for _ in range(20)]

    with (
        serving(hello) as server,
        https.Agent(keep_alive=True, max_sockets=3, ca=CA) as agent,
    ):
        asking = [in_thread(ask_often, agent, url_of(server)) for _ in range(8)]
        assert [each.result() for each in asking] == [[b"hello"] * 20] * 8
        assert server.get_connections() <= 3


def test_destroying_an_agent_ends_a_handshake() -> None:
    with accept_into() as (address, accept), https.Agent() as agent:
        asking = in_thread(Asked, agent, f"https://127.0.0.1:{address[1]}/")
        assert accept().recv(1) == b"\x16"
        agent.destroy()
        with pytest.raises(ConnectionAborted):
            asking.result()


# --- sessions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_the_next_connection_resumes_the_session(agent: https.Agent, version: Any) -> None:
    with serving(last, max_version=version) as server:
        first, second, third = (Asked(agent, url_of(server)) for _ in range(3))
    assert [first.resumed, second.resumed, third.resumed] == [False, True, True]
    assert second.socket.get_protocol() == version
    assert second.socket.authorized


def test_a_callback_request_leaves_its_session_too(agent: https.Agent) -> None:
    over = threading.Event()
    with serving(last) as server:
        agent.get(url_of(server), lambda response: response.on("end", over.set).resume())
        assert over.wait(SECONDS)
        assert Asked(agent, url_of(server)).resumed


def test_a_session_is_of_its_origin_and_options_alone(agent: https.Agent) -> None:
    with serving(last) as server, serving(last) as other:
        Asked(agent, url_of(server))
        assert not Asked(agent, url_of(other)).resumed
        assert not Asked(agent, url_of(server), min_version="TLSv1.3").resumed
        assert Asked(agent, url_of(server)).resumed


def test_no_sessions_are_kept_where_none_are_wanted() -> None:
    with serving(last) as server, https.Agent(ca=CA, max_cached_sessions=0) as agent:
        Asked(agent, url_of(server))
        assert not Asked(agent, url_of(server)).resumed


def test_a_session_that_the_server_does_not_know_costs_a_full_handshake(
    agent: https.Agent,
) -> None:
    with serving(last) as server:
        Asked(agent, url_of(server))
        fresh = identity("localhost")
        server.set_secure_context(cert=fresh.cert, key=fresh.key)
        assert not Asked(agent, url_of(server)).resumed


def test_a_session_is_dropped_when_its_connection_fails() -> None:
    made: list[Recorder] = []

    class Watched(https.Agent):
        def _make_socket(self, options: nhttp.RequestOptions) -> tls.TLSSocket:
            sock = super()._make_socket(options)
            made.append(Recorder(sock, "close"))
            return sock

    with Watched(ca=CA) as agent:
        with serving(last) as server:
            port = port_of(server)
            Asked(agent, url_of(server))
            origin = agent.get_name(https.RequestOptions(host="localhost", port=port))
            assert agent._sessions.get(origin) is not None
        with nhttp.create_server(last).listen(port, "127.0.0.1"), pytest.raises(tls.TLSError):
            Asked(agent, f"https://localhost:{port}/")
        made[-1].wait("close")
        assert agent._sessions.get(origin) is None


def test_fewer_sessions_may_be_kept_later(agent: https.Agent) -> None:
    assert agent.max_cached_sessions == 100
    with serving(last) as server:
        Asked(agent, url_of(server))
        assert Asked(agent, url_of(server)).resumed
        agent.max_cached_sessions = 0
        assert not Asked(agent, url_of(server)).resumed
        assert not Asked(agent, url_of(server)).resumed
    with pytest.raises(InvalidArgument, match="max_cached_sessions"):
        agent.max_cached_sessions = -1


def test_what_was_used_longest_ago_makes_room() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]
    recent.drop("a")
    recent.drop("nothing")
    assert recent.get("a") is None
