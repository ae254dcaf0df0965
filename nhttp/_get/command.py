"""The command: its options, one request by nhttp's blocking calls, and the exit status."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nhttp
from nhttp._get.failures import Exit, Failure, of_exchange, of_request
from nhttp._get.limit import Expired, time_limit
from nhttp._get.output import Output, have, is_whole, resumes
from nhttp._get.progress import progress
from nhttp._get.upload import Upload
from nhttp.errors import Error, InvalidArgument
from nhttp.headers import check_name, check_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["add_get"]

_FORM = "application/x-www-form-urlencoded"


def add_get(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the parser of ``get`` to those of the other commands."""
    parser = add_parser(
        "get",
        help="make a request and print the answer",
        description="Make one HTTP request and write the answer's body to the standard output, or "
        "to a file. Redirects are not followed; -i shows where they lead.",
        epilog="The exit status is curl's: 0 for any answer, 6 unknown host, 7 not connected, "
        "18 cut short, 22 see -f, 23 cannot write, 26 cannot read, 28 timeout, 33 cannot resume, "
        "35 no TLS handshake, 52 no answer, 55 cannot send, 56 cannot receive, 60 not trusted, "
        "77 cannot use --cacert.",
    )
    parser.add_argument("url", metavar="URL", help="http://HOST[:PORT]/PATH, or https:")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write to FILE; - is the standard output, also for "
        "binary data on a terminal"
    )  # fmt: skip
    parser.add_argument(
        "-X", "--method", type=_method, help="default: GET, or POST with -d"
    )  # fmt: skip
    parser.add_argument(
        "-H", "--header", metavar="'NAME: VALUE'", type=_header, action="append", default=[],
        help="send this header; may be repeated, and without a VALUE it is not sent at all",
    )  # fmt: skip
    parser.add_argument(
        "-d", "--data", metavar="DATA|@FILE", help="send this body; @FILE sends a file, and @- the "
        f"standard input. Its Content-Type is {_FORM} unless -H says another",
    )  # fmt: skip
    parser.add_argument(
        "-i", "--include", action="store_true", help="write the status line and headers first"
    )
    parser.add_argument(
        "-f", "--fail", action="store_true", help="fail (22), and write nothing, on 400 and above"
    )
    parser.add_argument(
        "-C", "--continue", dest="resume", action="store_true", help="go on with what is in the -o "
        "FILE already"
    )  # fmt: skip
    parser.add_argument(
        "--cacert", metavar="FILE", type=Path, help="trust the authorities in this file (PEM) with "
        "https:, instead of the system's"
    )  # fmt: skip
    parser.add_argument(
        "-k", "--insecure", action="store_true", help="trust whatever server answers to https:"
    )
    parser.add_argument(
        "--max-time", metavar="SECONDS", type=_seconds, help="give up (28) after so long"
    )
    parser.set_defaults(run=_run, refuse=parser.error)


def _method(text: str) -> str:
    if text.upper() not in nhttp.METHODS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a known method")
    return text.upper()


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    value = value.strip(" \t")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not 'NAME: VALUE'")
    try:
        check_value(check_name(name), value)
    except InvalidArgument as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    digits = value.isascii() and value.isdigit()
    if name.lower() == "content-length" and value and not digits:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of octets")
    return name, value


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _run(options: argparse.Namespace) -> int:
    _check(options)
    try:
        with time_limit(options.max_time):
            _get(options)
    except Failure as failure:
        return _failed(failure)
    except Expired:
        return _failed(Failure(Exit.TIMEOUT, f"not done after {options.max_time:g} seconds"))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return 0


def _failed(failure: Failure) -> int:
    if str(failure):
        print(f"nhttp get: ({failure.exit:d}) {failure}", file=sys.stderr)
    return failure.exit


def _check(options: argparse.Namespace) -> None:
    """Refuse what does not go together."""
    if not options.resume:
        return
    if options.output in (None, "-"):
        options.refuse("-C needs a FILE to go on with: -o FILE")
    if options.include:
        options.refuse("-C and -i do not go together: the headers would be amid the file")
    if any(name.lower() == "range" for name, _ in options.header):
        options.refuse("-C says the Range itself")


def _get(options: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        upload = None
        if options.data is not None:
            upload = stack.enter_context(Upload.of(options.data))
        offset = have(Path(options.output)) if options.resume else 0
        request = _request(options, upload, offset)
        stack.callback(request.destroy)  # wherever this ends, also by Ctrl-C
        _deliver(options, _answer(request, upload), offset)


def _request(
    options: argparse.Namespace, upload: Upload | None, offset: int
) -> nhttp.ClientRequest:
    """Make the request; nothing is sent yet."""
    given: list[tuple[str, str]] = options.header
    names = {name.lower() for name, _ in given}
    headers = [pair for pair in _defaults(upload, offset) if pair[0].lower() not in names]
    if upload is not None and not names & {"content-length", "transfer-encoding"}:
        headers.append(upload.framing)
    headers += [(name, value) for name, value in given if value]
    method = options.method or ("GET" if upload is None else "POST")
    set_host = "host" not in names
    try:
        if not options.url.lower().startswith("https:"):
            return nhttp.request(options.url, method=method, headers=headers, set_host=set_host)
        from nhttp._get.secure import secure_request  # see there

        return secure_request(
            options.url,
            method=method,
            headers=headers,
            set_host=set_host,
            ca=options.cacert,
            insecure=options.insecure,
        )
    except InvalidArgument as error:
        raise of_request(error) from error


def _defaults(upload: Upload | None, offset: int) -> Iterator[tuple[str, str]]:
    """Give the headers that -H may replace."""
    from importlib.metadata import version  # it loads slowly

    yield "User-Agent", f"nhttp/{version('nhttp')}"
    yield "Accept", "*/*"
    if offset:
        yield "Range", f"bytes={offset}-"
    if upload is not None:
        yield "Content-Type", _FORM


def _answer(request: nhttp.ClientRequest, upload: Upload | None) -> nhttp.IncomingMessage:
    """Send the request and wait for the answer's head."""
    try:
        if upload is not None:
            return upload.send(request)
        request.end()
        return request.get_response()
    except (OSError, Error) as error:
        raise of_exchange(error, request, body=False) from error


def _deliver(options: argparse.Namespace, response: nhttp.IncomingMessage, offset: int) -> None:
    """Write the answer where it belongs."""
    if offset and is_whole(response, offset):
        return
    if options.fail and response.status_code >= 400:
        raise Failure(Exit.HTTP_STATUS, f"the server answered {_status(response)}")
    if offset and not resumes(response, offset):
        offset = 0
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(_output(options, append=offset > 0))
        if options.include:
            output.write(_head(response))
        advance = stack.enter_context(_progress(options, response, offset))
        for block in _body(response):
            output.write(block)
            advance(len(block))


def _output(options: argparse.Namespace, *, append: bool) -> Output:
    if options.output in (None, "-"):
        return Output.to_stdout(binary=options.output == "-")
    return Output.to_file(Path(options.output), append=append)


def _progress(
    options: argparse.Namespace, response: nhttp.IncomingMessage, offset: int
) -> contextlib.AbstractContextManager[Callable[[int], object]]:
    """Show the progress to whoever sees nothing else."""
    if options.output in (None, "-") or not sys.stderr.isatty():
        return contextlib.nullcontext(lambda _count: None)
    length = str(response.headers.get("content-length", ""))
    total = offset + int(length) if length.isdigit() else None
    return progress(Path(options.output).name, offset, total)


def _body(response: nhttp.IncomingMessage) -> Iterator[bytes]:
    """Give the blocks of the body as they come."""
    request = response.request
    assert request is not None
    try:
        yield from response
    except (OSError, Error) as error:
        raise of_exchange(error, request, body=True) from error


def _status(response: nhttp.IncomingMessage) -> str:
    return f"{response.status_code} {response.status_message}".rstrip()


def _head(response: nhttp.IncomingMessage) -> bytes:
    """Give the head as it came."""
    raw = response.raw_headers
    lines = [f"HTTP/{response.http_version} {_status(response)}"]
    lines += [f"{name}: {value}" for name, value in zip(raw[::2], raw[1::2], strict=True)]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
