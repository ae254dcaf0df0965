"""Run one of the clients."""

from __future__ import annotations

import importlib
import sys

from benchmarks.clients.load import run_get
from benchmarks.clients.transfer import run_transfer

GETTERS = {"nhttp": "ours", "bare": "bare", "stdlib": "stdlib"}  # others: libraries

name, *arguments = sys.argv[1:]
peer, _, what = name.rpartition("_")
numbers = [int(argument) for argument in arguments]
if name == "hold":
    from benchmarks.clients.hold import hold

    hold(*numbers)
else:
    module = importlib.import_module(f"benchmarks.clients.{GETTERS.get(peer, 'libraries')}")
    function = getattr(module, name)
    if what == "get":
        run_get(function, *numbers)
    else:
        run_transfer(function, *numbers)
