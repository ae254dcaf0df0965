"""Files and directories over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import socket
import threading
from email import message_from_bytes
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support import open_files

import nhttp
from nhttp._static import StaticFiles, handler, logged
from nhttp.net import Address

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

SECONDS = 20.0  # a wait that takes this long has failed
DIGITS = b"0123456789" * 1000


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def header(self, name: str) -> str | None:
        value: str | None = self.headers[name]
        return value


class Site:
    """A server for a folder, and one kept-alive connection to it."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.port = port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)

    def ask(self, url: str, method: str = "GET", **fields: str) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        self.connection.request(method, url, headers=headers)
        response = self.connection.getresponse()
        return Answer(response.status, response.headers, response.read())


@contextlib.contextmanager
def serving(root: Path, **options: bool) -> Generator[Site]:
    with nhttp.create_server(logged(StaticFiles(root, **options))) as server:
        server.grace = SECONDS
        server.listen(0, "127.0.0.1")
        address = server.address()
        assert isinstance(address, Address)
        site = Site(root, address.port)
        with contextlib.closing(site.connection):
            yield site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "root"
    (root / "sub dir").mkdir(parents=True)
    (root / "indexed").mkdir()
    (root / "indexed" / "index.html").write_text("<p>index")
    (root / "a.txt").write_bytes(b"hello")
    (root / "digits.bin").write_bytes(DIGITS)
    (root / "empty").write_bytes(b"")
    (tmp_path / "secret").write_text("secret")
    with serving(root) as made:
        yield made


def test_a_file(site: Site) -> None:
    answer = site.ask("/a.txt")
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    assert answer.header("content-length") == "5"
    assert answer.header("accept-ranges") == "bytes"
    assert answer.header("cache-control") == "no-cache"
    assert answer.header("last-modified")
    etag = answer.header("etag")
    assert etag is not None
    assert etag.startswith('"')


def test_what_a_file_is_called_in_a_url(site: Site) -> None:
    (site.root / "sub dir" / "grün & 文.txt").write_text("green")
    assert site.ask("/sub%20dir/gr%C3%BCn%20&%20%E6%96%87.txt?v=1").body == b"green"
    assert site.ask("http://anything/a.txt").body == b"hello"
    assert site.ask("//a.txt").body == b"hello"


def test_an_empty_file(site: Site) -> None:
    answer = site.ask("/empty")
    assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "0")
    assert site.ask("/empty", Range="bytes=-5").status == 200
    unsatisfiable = site.ask("/empty", Range="bytes=0-")
    assert (unsatisfiable.status, unsatisfiable.header("content-range")) == (416, "bytes */0")


def test_a_large_file_arrives_whole(site: Site) -> None:
    block = bytes(range(256)) * 4096
    with (site.root / "large").open("wb") as file:
        for _ in range(20):
            file.write(block)
    answer = site.ask("/large")
    assert answer.header("content-type") == "application/octet-stream"
    assert answer.body == block * 20


def test_files_without_a_telling_name(site: Site) -> None:
    (site.root / "LICENSE").write_text("Permission is hereby granted")
    (site.root / "binary").write_bytes(b"\x7fELF\0")
    assert site.ask("/LICENSE").header("content-type") == "text/plain; charset=utf-8"
    assert site.ask("/binary").header("content-type") == "application/octet-stream"


@pytest.mark.parametrize("url", ["/a.txt", "/", "/indexed/", "/nothing", "/digits.bin"])
def test_head_is_get_without_a_body(site: Site, url: str) -> None:
    get, head = site.ask(url), site.ask(url, "HEAD")
    assert head.status == get.status
    assert head.body == b""
    for answer in (get, head):
        del answer.headers["date"]  # the clock may have ticked
    assert sorted(head.headers.items()) == sorted(get.headers.items())


def test_conditional_requests(site: Site) -> None:
    known = site.ask("/a.txt")
    etag, date = known.header("etag") or "", known.header("last-modified") or ""
    for fields in ({"If_None_Match": etag}, {"If_Modified_Since": date}):
        for method in ("GET", "HEAD"):
            answer = site.ask("/a.txt", method, **fields)
            assert (answer.status, answer.body) == (304, b"")
            assert answer.header("etag") == etag
            assert answer.header("cache-control") == "no-cache"
            assert answer.header("content-length") is None
    for fields in ({"If_Match": '"x"'}, {"If_Unmodified_Since": "Thu, 01 Jan 1970 00:00:00 GMT"}):
        assert site.ask("/a.txt", **fields).status == 412
    assert site.ask("/a.txt", If_Match=etag).status == 200
    assert site.ask("/a.txt", If_Unmodified_Since=date).status == 200
    os.utime(site.root / "a.txt", ns=(0, 10**18))
    assert site.ask("/a.txt", If_None_Match=etag).status == 200


def test_preconditions_go_before_ranges(site: Site) -> None:
    etag = site.ask("/digits.bin").header("etag") or ""
    assert site.ask("/digits.bin", Range="bytes=0-1", If_None_Match=etag).status == 304
    assert site.ask("/digits.bin", Range="bytes=99999-", If_Match='"x"').status == 412


def test_one_range(site: Site) -> None:
    answer = site.ask("/digits.bin", Range="bytes=5-14")
    assert (answer.status, answer.body) == (206, b"5678901234")
    assert answer.header("content-range") == "bytes 5-14/10000"
    assert answer.header("content-length") == "10"
    assert answer.header("content-type") == "application/octet-stream"
    assert answer.header("etag")
    assert site.ask("/digits.bin", Range="bytes=-3").body == b"789"
    assert site.ask("/digits.bin", Range="bytes=9998-").body == b"89"


def test_several_ranges(site: Site) -> None:
    answer = site.ask("/digits.bin", Range="bytes=9000-9004,1-3,-1,20000-")
    assert answer.status == 206
    assert answer.header("content-range") is None
    kind = answer.header("content-type") or ""
    assert kind.startswith("multipart/byteranges; boundary=")
    assert answer.header("content-length") == str(len(answer.body))
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + answer.body)
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert [(part["Content-Range"], part.get_payload(decode=True)) for part in parts] == [
        ("bytes 9000-9004/10000", b"01234"),
        ("bytes 1-3/10000", b"123"),
        ("bytes 9999-9999/10000", b"9"),
    ]
    joined = site.ask("/digits.bin", Range="bytes=0-9,10-19")
    assert (joined.status, joined.header("content-range")) == (206, "bytes 0-19/10000")


def test_unsatisfiable_ranges(site: Site) -> None:
    answer = site.ask("/digits.bin", Range="bytes=10000-")
    assert answer.status == 416
    assert answer.header("content-range") == "bytes */10000"
    assert b"10,000 bytes" in answer.body


@pytest.mark.parametrize("field", ["bytes=5-2", "bytes=x", "lines=1-2"])
def test_a_range_that_means_nothing_is_ignored(site: Site, field: str) -> None:
    answer = site.ask("/digits.bin", Range=field)
    assert (answer.status, answer.body) == (200, DIGITS)


def test_range_is_for_get(site: Site) -> None:
    answer = site.ask("/digits.bin", "HEAD", Range="bytes=0-1")
    assert (answer.status, answer.header("content-length")) == (200, "10000")


def test_if_range(site: Site) -> None:
    known = site.ask("/digits.bin")
    for current in (known.header("etag") or "", known.header("last-modified") or ""):
        assert site.ask("/digits.bin", Range="bytes=0-1", If_Range=current).status == 206
    for other in ('"other"', f"W/{known.header('etag')}", "Thu, 01 Jan 1970 00:00:00 GMT"):
        answer = site.ask("/digits.bin", Range="bytes=0-1", If_Range=other)
        assert (answer.status, len(answer.body)) == (200, 10000)
    assert site.ask("/digits.bin", Range="bytes=99999-", If_Range='"other"').status == 200


def test_a_directory_is_listed(site: Site) -> None:
    answer = site.ask("/")
    assert answer.status == 200
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert "default-src 'none'" in (answer.header("content-security-policy") or "")
    for href in (b'"./a.txt"', b'"./sub%20dir/"', b'"./indexed/"'):
        assert href in answer.body


@pytest.mark.parametrize("name", ["index.html", "index.htm"])
def test_a_directory_with_an_index(site: Site, name: str) -> None:
    (site.root / "sub dir" / name).write_text("<p>mine")
    answer = site.ask("/sub%20dir/")
    assert (answer.status, answer.body) == (200, b"<p>mine")
    assert answer.header("etag")


def test_an_index_that_is_a_directory_is_none(site: Site) -> None:
    (site.root / "sub dir" / "index.html").mkdir()
    assert b'"./index.html/"' in site.ask("/sub%20dir/").body


def test_an_index_that_leads_out_is_refused(site: Site) -> None:
    (site.root / "sub dir" / "index.html").symlink_to("../../secret")
    assert site.ask("/sub%20dir/").status == 403


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("/sub%20dir", "./sub%20dir/"),
        ("/sub%20dir?a=/b", "./sub%20dir/?a=/b"),
        ("/indexed", "./indexed/"),
        ("//indexed", "../indexed/"),
        ("//", "../"),
        ("/indexed//", "../../indexed/"),
    ],
)
def test_a_directory_without_its_slash(site: Site, url: str, location: str) -> None:
    answer = site.ask(url)
    assert (answer.status, answer.header("location")) == (301, location)


def test_a_file_with_a_slash(site: Site) -> None:
    assert site.ask("/a.txt/").status == 404
    assert site.ask("/a.txt/b").status == 404


def test_a_host_in_the_path_is_a_name(site: Site) -> None:
    (site.root / "evil.example").mkdir()
    location = site.ask("//evil.example").header("location") or ""
    assert location == "../evil.example/"


@pytest.mark.parametrize(
    "url",
    [
        "/../secret",
        "/sub%20dir/../../secret",
        "/%2e%2e/secret",
        "/%2e%2e%2fsecret",
        "/..%5csecret",
        "/..\\secret",
        "//../secret",
        "/.%00./secret",
        "/a.txt%00",
        "/%2fetc%2fpasswd",
        "//etc/passwd",
        "/~root/",
        "http://host/../secret",
    ],
)
def test_there_is_no_way_out(site: Site, url: str) -> None:
    with socket.create_connection(("127.0.0.1", site.port), SECONDS) as raw:
        raw.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
    assert b"secret" not in answer


def test_links(site: Site) -> None:
    (site.root / "in").symlink_to("a.txt")
    (site.root / "out").symlink_to("../secret")
    assert site.ask("/in").body == b"hello"
    assert site.ask("/out").status == 403
    listing = site.ask("/").body
    assert b'"./in"' in listing
    assert b'"./out"' not in listing
    with serving(site.root, follow_links=True) as following:
        assert following.ask("/out").body == b"secret"
        assert b'"./out"' in following.ask("/").body


def test_special_files_are_refused(site: Site) -> None:
    os.mkfifo(site.root / "fifo")
    answer = site.ask("/fifo")
    assert answer.status == 403
    assert b"neither a file nor a directory" in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND"])
def test_other_methods(site: Site, method: str) -> None:
    answer = site.ask("/a.txt", method)
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, OPTIONS")
    assert (site.root / "a.txt").read_bytes() == b"hello"


@pytest.mark.parametrize("url", ["*", "/a.txt", "/nothing"])
def test_options(site: Site, url: str) -> None:
    answer = site.ask(url, "OPTIONS")
    assert (answer.status, answer.header("allow")) == (204, "GET, HEAD, OPTIONS")


def test_a_file_that_shrinks_meanwhile_is_no_success(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.root / "large").write_bytes(bytes(10**6))

    def shrink(*_arguments: object) -> None:
        for name in ("digits.bin", "large"):
            (site.root / name).write_bytes(b"0")

    monkeypatch.setattr(handler, "precondition", shrink)
    assert site.ask("/large").status == 500
    (site.root / "digits.bin").write_bytes(DIGITS)
    with pytest.raises(http.client.IncompleteRead):
        site.ask("/digits.bin")


def test_no_descriptor_is_left_open(site: Site) -> None:
    def count() -> int:
        # An answer arrives before its handler is done; but not before those in front of it are.
        site.ask("*", "OPTIONS")
        return open_files(site.root)

    before = count()
    for url in ("/a.txt", "/", "/indexed/", "/indexed", "/nothing", "/a.txt/", "/sub%20dir/"):
        for method in ("GET", "HEAD", "POST"):
            site.ask(url, method)
    site.ask("/a.txt", If_None_Match="*")
    site.ask("/a.txt", Range="bytes=9-")
    assert count() == before


class Lines(logging.Handler):
    """What was logged, line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.more = threading.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.more.release()

    def next(self) -> str:
        assert self.more.acquire(timeout=SECONDS)
        return self.lines.pop(0)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    lines = Lines()
    logger = logging.getLogger("nhttp.access")
    logger.addHandler(lines)
    with caplog.at_level(logging.INFO, "nhttp.access"):
        yield lines
    logger.removeHandler(lines)


@pytest.mark.parametrize(
    ("method", "url", "fields", "line"),
    [
        ("GET", "/a.txt", {}, '"GET /a.txt HTTP/1.1" 200 5 '),
        ("HEAD", "/a.txt", {}, '"HEAD /a.txt HTTP/1.1" 200 - '),
        ("GET", "/a.txt", {"If_None_Match": "*"}, '"GET /a.txt HTTP/1.1" 304 - '),
        ("GET", "/a.txt", {"Range": "bytes=1-"}, '"GET /a.txt HTTP/1.1" 206 4 '),
        ("GET", '/"\\', {}, r'"GET /\"\\ HTTP/1.1" 404 '),
    ],
)
def test_the_access_log(
    site: Site, log: Lines, method: str, url: str, fields: dict[str, str], line: str
) -> None:
    site.ask(url, method, **fields)
    logged_line = log.next()
    assert logged_line.startswith("127.0.0.1 - - [")
    assert line in logged_line
    assert logged_line.endswith("ms")


def test_a_client_that_leaves_is_logged_so(site: Site, log: Lines) -> None:
    with (site.root / "huge").open("wb") as file:
        file.truncate(1 << 30)
    with socket.create_connection(("127.0.0.1", site.port), SECONDS) as raw:
        raw.sendall(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 200 ")
    assert '"GET /huge HTTP/1.1" 200 aborted ' in log.next()
