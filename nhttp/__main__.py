"""The command line: ``python -m nhttp``, installed as ``nhttp``.

A command has a function that adds its parser to the others and sets `run`, which is given the
parsed options and returns the exit status.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nhttp
from nhttp._get import add_get as _add_get
from nhttp._static import StaticFiles, logged
from nhttp.errors import InvalidArgument, SocketError
from nhttp.net import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from nhttp.net import Socket

__all__ = ["main"]

_log = logging.getLogger("nhttp.access")

# Seconds that running downloads get when the server is told to stop: Ctrl-C is to be prompt.
_GRACE = 0.3

# What listens on every address, and the address by which a person can reach it from here.
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - to recognise it


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments. Default: those of the process.

    Returns:
        The exit status: 0, or what the command says of its failure: 1 of ``serve``, curl's of
        ``get``. Usage errors exit with 2.
    """
    parser = argparse.ArgumentParser(prog="nhttp", description="HTTP from the command line.")
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_serve(commands.add_parser)
    _add_get(commands.add_parser)
    options = parser.parse_args(argv)
    if options.version:
        from importlib.metadata import version  # it loads slowly

        print(f"nhttp {version('nhttp')}")
        return 0
    if "run" not in options:
        parser.print_help()
        return 0
    status: int = options.run(options)
    return status


def _add_serve(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = add_parser(
        "serve",
        help="serve the files of a directory",
        description="Serve the files of a directory over HTTP, or over HTTPS with --cert; hidden "
        "files included.",
    )
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", type=_directory, default=".", help="default: ."
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on; 0.0.0.0 is all, :: is all with IPv6 (default: 127.0.0.1, "
        "which other machines cannot reach)",
    )
    parser.add_argument(
        "--port", "-p", type=_port, default=8000, help="0 takes a free one (default: 8000)"
    )
    parser.add_argument(
        "--follow-links", action="store_true", help="let symbolic links lead out of DIR"
    )
    parser.add_argument(
        "--cert", metavar="FILE", type=Path, help="serve HTTPS with this certificate (PEM), behind "
        "which stand those between it and its authority"
    )  # fmt: skip
    parser.add_argument(
        "--key", metavar="FILE", type=Path, help="the key of --cert (default: it is in that file)"
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="log no requests")
    parser.set_defaults(run=_serve, refuse=parser.error)


def _serve(options: argparse.Namespace) -> int:
    if options.key is not None and options.cert is None:
        options.refuse("--key needs the --cert that it belongs to")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _make_server(options) as server:
            server.grace = _GRACE
            server.listen(options.port, options.host)
            address = server.address()
            assert isinstance(address, Address)
            scheme = "http" if options.cert is None else "https"
            where = f"{scheme}://{_place(options.host, address.port)}"
            print(f"Serving {options.directory.resolve()} on {where}  (Ctrl-C stops)", flush=True)
            server.serve_forever()
    except (InvalidArgument, SocketError) as error:
        hint = "; --port 0 takes a free port" if error.code == "EADDRINUSE" else ""
        print(f"nhttp: {error}{hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _make_server(options: argparse.Namespace) -> nhttp.Server:
    handler = StaticFiles(options.directory, follow_links=options.follow_links)
    listener = handler if options.quiet else logged(handler)
    if options.cert is None:
        return nhttp.create_server(listener)
    from nhttp import https  # it loads `ssl`, which takes a while

    server = https.create_server(listener, cert=options.cert, key=options.key)
    if not options.quiet:
        server.on("tlsClientError", _log_handshake)
    return server


def _log_handshake(error: Exception, socket: Socket) -> None:
    """Say why a client did not get as far as a request."""
    _log.info("%s - %s", socket.remote_address, error)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Stop as Ctrl-C does."""
    raise KeyboardInterrupt


def _place(host: str, port: int) -> str:
    """Give what stands behind the scheme."""
    shown = _WILDCARDS.get(host, f"[{host}]" if ":" in host else host)
    everywhere = " and every other address of this machine" if host in _WILDCARDS else ""
    return f"{shown}:{port}/{everywhere}"


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a directory")
    return path


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
