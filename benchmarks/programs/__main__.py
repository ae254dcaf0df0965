"""Run one of the servers."""

from __future__ import annotations

import importlib
import sys

MODULES = {
    "nhttp": "ours",
    "stdlib": "stdlib",
    "bare": "bare",
    "waitress": "wsgi",
    "cheroot": "wsgi",
    "gunicorn": "wsgi",
    "granian": "wsgi",
    "uvicorn": "asgi",
    "tls": "tls",
}

name = sys.argv[1]
module = importlib.import_module(f"benchmarks.programs.{MODULES[name.partition('_')[0]]}")
getattr(module, name)(*sys.argv[2:])
