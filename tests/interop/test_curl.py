"""curl against our server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from interop_support import HELLO, Origin, digest, has_ipv6, pattern, program, run

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    import nhttp


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin().listen() as origin:
        yield origin


def curl(
    *arguments: str | Path, data: bytes = b"", ok: bool = True
) -> subprocess.CompletedProcess[bytes]:
    # No ~/.curlrc, no proxies, and a bound on everything.
    always = ("-q", "-sS", "--noproxy", "*", "--max-time", "15")
    return run([program("curl"), *always, *arguments], data, ok=ok)


def head_and_body(output: bytes) -> tuple[list[str], bytes]:
    head, _, body = output.partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), body


def report(*arguments: str | Path, data: bytes = b"") -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(curl(*arguments, data=data).stdout)
    return seen


def test_get(origin: Origin) -> None:
    head, body = head_and_body(curl("-i", origin.url()).stdout)
    assert head[0] == "HTTP/1.1 200 OK"
    assert "Content-Length: 11" in head
    assert "Connection: keep-alive" in head
    assert body == HELLO


def test_head_tells_the_length_and_the_connection_lives_on(origin: Origin) -> None:
    output = curl("-I", origin.url(), origin.url("/drip"), "-w", "%{num_connects}\n").stdout
    first, second, _ = output.decode().split("\r\n\r\n")
    assert "Content-Length: 11" in first
    assert second.startswith("1\nHTTP/1.1 200 OK")
    assert output.endswith(b"\r\n\r\n0\n")
    assert origin.connections == 1


def test_post_of_a_form(origin: Origin) -> None:
    seen = report("-d", "a=1", "-d", "b=2", origin.url("/report?q=%C3%A9"))
    assert (seen["method"], seen["url"]) == ("POST", "/report?q=%C3%A9")
    assert seen["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert seen["sha256"] == digest(b"a=1&b=2")


def test_multipart_form(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(pattern(5000))
    seen = report("-F", f"file=@{tmp_path / 'file'}", origin.url("/report"))
    assert seen["headers"]["content-type"].startswith("multipart/form-data; boundary=")
    assert seen["size"] > 5000


def test_upload_of_a_file(origin: Origin, tmp_path: Path) -> None:
    data = pattern(3_000_000)
    (tmp_path / "file").write_bytes(data)
    seen = report("-T", tmp_path / "file", origin.url("/report"))
    assert (seen["method"], seen["headers"]["content-length"]) == ("PUT", "3000000")
    assert seen["sha256"] == digest(data)


def test_upload_from_a_pipe_is_chunked(origin: Origin) -> None:
    data = pattern(700_001)
    seen = report("-T", "-", origin.url("/report"), data=data)
    assert seen["headers"]["transfer-encoding"] == "chunked"
    assert seen["sha256"] == digest(data)


def test_echo_streams_back_while_the_upload_goes_on(origin: Origin) -> None:
    data = pattern(8_000_000)
    assert digest(curl("-T", "-", origin.url("/echo"), data=data).stdout) == digest(data)


def test_an_expected_continue_comes_before_a_big_upload(origin: Origin) -> None:
    data = pattern(4_000_000)
    done = curl("-v", "-T", "-", "-H", "Expect: 100-continue", origin.url("/report"), data=data)
    assert b"< HTTP/1.1 100 Continue" in done.stderr
    assert json.loads(done.stdout)["sha256"] == digest(data)


def test_a_refused_expectation_keeps_the_body_at_home(origin: Origin) -> None:
    def refuse(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
        response.write_head(413)
        response.end("no")

    origin.server.on("checkContinue", refuse)
    done = curl(
        *("-v", "-T", "-", "-H", "Expect: 100-continue", "--expect100-timeout", "10"),
        *("-w", "%{size_upload} %{http_code}", origin.url("/report")),
        data=pattern(4_000_000),
    )
    assert b"100 Continue" not in done.stderr
    assert done.stdout == b"no0 413"


def test_an_early_answer_beats_the_rest_of_the_upload(origin: Origin) -> None:
    done = curl(
        "-T",
        "-",
        "-H",
        "Expect:",
        "-w",
        " %{http_code}",
        origin.url("/early"),
        data=pattern(1_000_000),
    )
    assert done.stdout == b"too much 413"


def test_http_1_0_gets_no_chunks_and_a_closed_connection(origin: Origin) -> None:
    output = curl("-i", "--http1.0", origin.url("/drip?n=2")).stdout
    head, body = head_and_body(output)
    assert not [line for line in head if line.lower().startswith("transfer-encoding")]
    assert "Connection: close" in head
    assert body == b"x" * 10


def test_http_1_0_with_keep_alive(origin: Origin) -> None:
    arguments = ("--http1.0", "-H", "Connection: keep-alive", "-w", " %{num_connects}\n")
    output = curl(*arguments, origin.url(), origin.url()).stdout
    assert output == HELLO + b" 1\n" + HELLO + b" 0\n"


def test_urls_share_a_connection(origin: Origin) -> None:
    urls = [origin.url(path) for path in ("/", "/drip?n=4", "/report", "/nowhere", "/")]
    output = curl(*urls, "-w", "\n%{http_code} %{num_connects}\n").stdout.decode()
    told = [line for line in output.split("\n") if line[:3].isdigit()]
    assert told == ["200 1", "200 0", "200 0", "404 0", "200 0"]
    assert origin.connections == 1


def test_connection_close_is_heeded(origin: Origin) -> None:
    output = curl("-i", "-H", "Connection: close", origin.url(), origin.url()).stdout
    assert output.count(b"Connection: close\r\n") == 2
    assert origin.connections == 2


def test_parallel_requests(origin: Origin) -> None:
    urls = [origin.url(f"/drip?n={n}&size=1000") for n in range(1, 21)]
    told = curl(
        "-Z", "--no-progress-meter", "-w", "%{stderr}%{http_code} %{size_download}\n", *urls
    )
    assert sorted(told.stderr.decode().split()[1::2], key=int) == [f"{n}000" for n in range(1, 21)]
    assert len(told.stdout) == sum(range(1, 21)) * 1000


@pytest.mark.parametrize(
    ("wanted", "first", "stop"), [("0-9", 0, 10), ("100000-", 100_000, 200_000), ("7-7", 7, 8)]
)
def test_ranges_of_a_file(
    origin: Origin, tmp_path: Path, wanted: str, first: int, stop: int
) -> None:
    data = pattern(200_000)
    origin.file = tmp_path / "file"
    origin.file.write_bytes(data)
    head, body = head_and_body(curl("-i", "-r", wanted, origin.url("/file")).stdout)
    assert head[0] == "HTTP/1.1 206 Partial Content"
    assert f"Content-Range: bytes {first}-{stop - 1}/200000" in head
    assert body == data[first:stop]


def test_a_large_file_arrives_whole(origin: Origin, tmp_path: Path) -> None:
    data = pattern(20_000_000)
    origin.file = tmp_path / "file"
    origin.file.write_bytes(data)
    curl("-o", tmp_path / "copy", origin.url("/file"))
    assert digest((tmp_path / "copy").read_bytes()) == digest(data)


def test_resume_of_a_download(origin: Origin, tmp_path: Path) -> None:
    data = pattern(100_000)
    origin.file = tmp_path / "file"
    origin.file.write_bytes(data)
    (tmp_path / "copy").write_bytes(data[:40_000])
    curl("-C", "-", "-o", tmp_path / "copy", origin.url("/file"))
    assert (tmp_path / "copy").read_bytes() == data


def test_trailers(origin: Origin, tmp_path: Path) -> None:
    output = curl("-D", tmp_path / "head", origin.url("/trailers"), origin.url()).stdout
    assert output == b"body" + HELLO
    assert "X-Sum: c0ffee" in (tmp_path / "head").read_text(encoding="latin-1")
    assert origin.connections == 1


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Origin().listen(path=path):
        assert curl("--unix-socket", path, "http://localhost/").stdout == HELLO
    assert not path.exists()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_ipv6() -> None:
    with Origin().listen("::1") as origin:
        assert "[::1]" in origin.url()
        seen = report("-g", origin.url("/report"))
        assert seen["headers"]["host"] == f"[::1]:{origin.port}"


def test_an_offer_of_http_2_is_ignored(origin: Origin) -> None:
    origin.server.remove_all_listeners("upgrade")
    head, body = head_and_body(curl("-i", "--http2", origin.url()).stdout)
    assert head[0] == "HTTP/1.1 200 OK"
    assert body == HELLO


def test_another_upgrade(origin: Origin) -> None:
    def over(request: nhttp.IncomingMessage, sock: Any, _head: bytes) -> None:
        sock.end(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {request.headers['upgrade']}\r\n"
            "Connection: Upgrade\r\n\r\nraw octets"
        )

    origin.server.remove_all_listeners("upgrade")
    origin.server.on("upgrade", over)
    arguments = ("-H", "Connection: Upgrade", "-H", "Upgrade: shout")
    head, body = head_and_body(curl("-i", *arguments, origin.url()).stdout)
    assert head[0] == "HTTP/1.1 101 Switching Protocols"
    assert body == b"raw octets"


def test_a_tunnel_through_connect(origin: Origin) -> None:
    with Origin().listen() as other:
        output = curl(
            "-i", "--proxytunnel", "--noproxy", "", "-x", origin.url(), other.url()
        ).stdout
        established, _, rest = output.partition(b"\r\n\r\n")
        assert established == b"HTTP/1.1 200 Connection Established"
        assert rest.endswith(b"\r\n\r\n" + HELLO)
        assert (origin.connections, other.connections) == (1, 1)


def test_as_a_plain_proxy_it_sees_absolute_targets(origin: Origin) -> None:
    seen = curl("--noproxy", "", "-x", origin.url(), "http://example.invalid/report", ok=False)
    assert json.loads(seen.stdout)["url"] == "http://example.invalid/report"


def test_a_client_that_gives_up_is_noticed(origin: Origin) -> None:
    done = curl("--max-time", "0.3", origin.url("/hang"), ok=False)
    assert done.returncode == 28  # the time was over
    assert [origin.awaited() for _ in range(3)] == ["hanging", "aborted", "close"]
    assert curl(origin.url()).stdout == HELLO
