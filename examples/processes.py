"""One process for each core, all on one port: the kernel shares the connections out.

python examples/processes.py 8000

Threads of one process take turns. Processes do not, and a server whose threads stay on one core
does not get in the way of the next one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys

import nhttp


def handler(_request: nhttp.IncomingMessage, response: nhttp.ServerResponse) -> None:
    response.end(f"served by process {os.getpid()}\n")


def serve(port: int) -> None:
    server = nhttp.create_server(handler, pin_threads=True)
    server.on("listening", lambda: print(f"process {os.getpid()} listens", flush=True))
    with contextlib.suppress(KeyboardInterrupt), server:
        server.listen(port, "127.0.0.1", reuse_port=True).serve_forever()


def main(port: int) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=serve, args=(port,)) for _ in range(os.cpu_count() or 1)]
    for process in processes:
        process.start()
    with contextlib.suppress(KeyboardInterrupt):  # which the others get as well
        for process in processes:
            process.join()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
