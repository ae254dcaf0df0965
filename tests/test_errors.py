"""nhttp/errors.py: the classes, Node's codes, and what the system said made into them."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import socket

import pytest

from nhttp import errors
from nhttp.errors import (
    BrokenPipe,
    ConnectionAborted,
    ConnectionRefused,
    ConnectionReset,
    Error,
    InvalidArgument,
    LookupFailed,
    MaxListenersExceededWarning,
    ParseError,
    SocketError,
    SocketTimeout,
    StateError,
    TunnelRefused,
    socket_error,
)

EXAMPLES = [
    Error("something", "ERR_SOMETHING"),
    InvalidArgument("a header name must be a token", "ERR_INVALID_HTTP_TOKEN"),
    StateError("write after end", "ERR_STREAM_WRITE_AFTER_END"),
    ParseError(
        "header overflow", "HPE_HEADER_OVERFLOW", status=431, bytes_parsed=8192, raw_packet=b"GET /"
    ),
    SocketError("open EMFILE", "EMFILE", syscall="open"),
    ConnectionReset("read ECONNRESET", "ECONNRESET", syscall="read"),
    ConnectionRefused("connect ECONNREFUSED ::1:80", "ECONNREFUSED", syscall="connect"),
    ConnectionAborted("read ECONNABORTED", "ECONNABORTED", syscall="read"),
    BrokenPipe("write EPIPE", "EPIPE", syscall="write"),
    SocketTimeout("socket timed out", "ESOCKETTIMEDOUT"),
    LookupFailed("getaddrinfo ENOTFOUND nowhere", "ENOTFOUND", syscall="getaddrinfo"),
    TunnelRefused("no tunnel: the server answered 407", 407),
]


def name_of(error: Error) -> str:
    return type(error).__name__


@pytest.mark.parametrize(
    ("kind", "builtins"),
    [
        (Error, (Exception,)),
        (InvalidArgument, (TypeError, ValueError)),
        (StateError, (RuntimeError,)),
        (ParseError, (ValueError,)),
        (SocketError, (OSError,)),
        (ConnectionReset, (ConnectionResetError, ConnectionError, OSError)),
        (ConnectionRefused, (ConnectionRefusedError, ConnectionError, OSError)),
        (ConnectionAborted, (ConnectionAbortedError, ConnectionError, OSError)),
        (BrokenPipe, (BrokenPipeError, ConnectionError, OSError)),
        (SocketTimeout, (TimeoutError, OSError)),
        (LookupFailed, (socket.gaierror, OSError)),
        (TunnelRefused, (OSError,)),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_each_class_is_an_error_and_its_builtin(
    kind: type[Error], builtins: tuple[type[Exception], ...]
) -> None:
    assert issubclass(kind, Error)
    for builtin in builtins:
        assert issubclass(kind, builtin)


def test_every_exported_class_has_an_example_here() -> None:
    exported = {getattr(errors, name) for name in errors.__all__ if name[0].isupper()}
    assert exported - {MaxListenersExceededWarning} == {type(error) for error in EXAMPLES}


def test_the_leak_warning_is_a_warning() -> None:
    assert issubclass(MaxListenersExceededWarning, RuntimeWarning)
    assert not issubclass(MaxListenersExceededWarning, Error)


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
class TestEach:
    def test_str_is_the_message(self, error: Error) -> None:
        assert str(error) == error.args[0]

    def test_repr_names_class_and_message(self, error: Error) -> None:
        assert repr(error) == f"{type(error).__name__}({str(error)!r})"

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickling_keeps_everything(self, error: Error, protocol: int) -> None:
        self.compare(error, pickle.loads(pickle.dumps(error, protocol)))

    def test_copying_keeps_everything(self, error: Error) -> None:
        self.compare(error, copy.copy(error))

    def compare(self, error: Error, again: Error) -> None:
        assert type(again) is type(error)
        assert again.args == error.args
        assert str(again) == str(error)
        assert repr(again) == repr(error)
        assert vars(again) == vars(error)
        assert again.code == error.code
        if isinstance(error, SocketError):
            assert isinstance(again, SocketError)
            assert (again.errno, again.strerror) == (error.errno, error.strerror)


def test_parse_error_answers_400_unless_told_otherwise() -> None:
    error = ParseError("bad method", "HPE_INVALID_METHOD")
    assert (error.status, error.bytes_parsed, error.raw_packet) == (400, 0, b"")


def test_errno_is_the_number_behind_the_code() -> None:
    assert ConnectionReset("read ECONNRESET", "ECONNRESET").errno == errno.ECONNRESET


def test_errno_is_none_for_codes_of_node_alone() -> None:
    assert SocketTimeout("socket timed out", "ESOCKETTIMEDOUT").errno is None


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ECONNRESET, ConnectionReset, "ECONNRESET"),
        (errno.ECONNREFUSED, ConnectionRefused, "ECONNREFUSED"),
        (errno.ECONNABORTED, ConnectionAborted, "ECONNABORTED"),
        (errno.EPIPE, BrokenPipe, "EPIPE"),
        (errno.ESHUTDOWN, BrokenPipe, "ESHUTDOWN"),
        (errno.ETIMEDOUT, SocketTimeout, "ETIMEDOUT"),
        (errno.EADDRINUSE, SocketError, "EADDRINUSE"),
        (errno.ENOENT, SocketError, "ENOENT"),
    ],
)
def test_socket_error_goes_by_the_number(number: int, kind: type[SocketError], code: str) -> None:
    error = socket_error(OSError(number, os.strerror(number)), "connect", "127.0.0.1:80")
    assert type(error) is kind
    assert (error.code, error.errno, error.syscall) == (code, number, "connect")
    assert str(error) == f"connect {code} 127.0.0.1:80: {os.strerror(number)}"
    assert error.strerror == str(error)


@pytest.mark.parametrize(
    ("given", "kind", "code"),
    [
        (TimeoutError("timed out"), SocketTimeout, "ETIMEDOUT"),
        (ConnectionResetError(), ConnectionReset, "ECONNRESET"),
        (ConnectionRefusedError(), ConnectionRefused, "ECONNREFUSED"),
        (ConnectionAbortedError(), ConnectionAborted, "ECONNABORTED"),
        (BrokenPipeError(), BrokenPipe, "EPIPE"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, OSError) else "",
)
def test_socket_error_without_a_number_goes_by_the_class(
    given: OSError, kind: type[SocketError], code: str
) -> None:
    error = socket_error(given, "read")
    assert type(error) is kind
    assert error.code == code
    assert str(error) == f"read {code}"


def test_socket_error_with_a_number_that_has_no_name() -> None:
    error = socket_error(OSError(99999, "odd"), "read")
    assert type(error) is SocketError
    assert str(error) == "read EIO: odd"


def test_socket_error_without_anything_but_words() -> None:
    error = socket_error(OSError("AF_UNIX path too long"), "listen")
    assert type(error) is SocketError
    assert str(error) == "listen EIO: AF_UNIX path too long"


def test_socket_error_leaves_out_what_it_does_not_know() -> None:
    assert str(socket_error(OSError(errno.EPIPE, ""), "write")) == "write EPIPE"


@pytest.mark.parametrize(
    ("number", "code"),
    [(socket.EAI_NONAME, "ENOTFOUND"), (socket.EAI_AGAIN, "EAI_AGAIN")],
)
def test_socket_error_of_a_failed_lookup(number: int, code: str) -> None:
    error = socket_error(socket.gaierror(number, "no such name"), "getaddrinfo", "nowhere.invalid")
    assert type(error) is LookupFailed
    assert (error.code, error.errno) == (code, number)
    assert str(error) == f"getaddrinfo {code} nowhere.invalid"


def test_socket_error_returns_its_own_kind_as_it_is() -> None:
    error = ConnectionReset("read ECONNRESET", "ECONNRESET", syscall="read")
    assert socket_error(error, "write", "elsewhere") is error


def test_socket_error_of_a_real_refusal() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, never listening: the port refuses
        with socket.socket() as client, pytest.raises(ConnectionRefusedError) as caught:
            client.connect(holder.getsockname())
    error = socket_error(caught.value, "connect", "127.0.0.1:1")
    assert type(error) is ConnectionRefused
    assert str(error).startswith("connect ECONNREFUSED 127.0.0.1:1")
