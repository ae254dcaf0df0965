"""The command line: ``python -m nhttp``, installed as ``nhttp``.

A command has a function that adds its parser to the others and sets `run`, which is given the
parsed options and returns the exit status.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import nhttp
from nhttp._get import add_get as _add_get
from nhttp._static import StaticFiles, logged
from nhttp.errors import SocketError
from nhttp.net import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

__all__ = ["main"]

# Seconds that running downloads get when the server is told to stop: Ctrl-C is to be prompt.
_GRACE = 0.3

# What listens on every address, and the address by which a person can reach it from here.
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - to recognise it


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments. Default: those of the process.

    Returns:
        The exit status: 0, or 1 when the command failed. Usage errors exit with 2.
    """
    parser = argparse.ArgumentParser(prog="nhttp", description="HTTP from the command line.")
    parser.add_argument("--version", action="version", version=f"nhttp {version('nhttp')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_serve(commands.add_parser)
    _add_get(commands.add_parser)
    options = parser.parse_args(argv)
    if "run" not in options:
        parser.print_help()
        return 0
    status: int = options.run(options)
    return status


def _add_serve(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    parser = add_parser(
        "serve",
        help="serve the files of a directory",
        description="Serve the files of a directory over HTTP, hidden files included.",
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
    parser.add_argument("--quiet", "-q", action="store_true", help="log no requests")
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    handler = StaticFiles(options.directory, follow_links=options.follow_links)
    server = nhttp.create_server(handler if options.quiet else logged(handler))
    server.grace = _GRACE
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with server:
            server.listen(options.port, options.host)
            address = server.address()
            assert isinstance(address, Address)
            where = _url(options.host, address.port)
            print(f"Serving {options.directory.resolve()} on {where}  (Ctrl-C stops)", flush=True)
            server.serve_forever()
    except SocketError as error:
        hint = "; --port 0 takes a free port" if error.code == "EADDRINUSE" else ""
        print(f"nhttp: {error}{hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Stop as Ctrl-C does."""
    raise KeyboardInterrupt


def _url(host: str, port: int) -> str:
    shown = _WILDCARDS.get(host, f"[{host}]" if ":" in host else host)
    everywhere = " and every other address of this machine" if host in _WILDCARDS else ""
    return f"http://{shown}:{port}/{everywhere}"


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
