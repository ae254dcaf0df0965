"""The documentation is held to the code.

Every fenced ``python`` block of README.md and docs/ is a program. It is compiled, mypy reads it
with the project's strict settings (in typing/test_typing.py), and it is run: on port 0 where it
says ``listen(8000, ...)``, and with a few requests in the place of `serve_forever`. Comments before
a block say otherwise:

    <!-- try: POST /upload -> 201 -->    the request to make instead of "GET / -> 200"; repeatable
    <!-- fragment -->                    no program: compiled only
    <!-- peer -->                        a server: programs that talk to port 8000, and do not
                                         listen there, are run beside it

What is printed must be what comments say: `print(x)  # 1` prints a line "1" at some time, and
`print(x)  # 1  # 2`, where it runs twice, two.

Besides: the table of names is complete and true, every function and file that the prose names
exists, docs/errors.md has every code that the source has and no other, and links lead somewhere.
"""

from __future__ import annotations

import ast
import contextlib
import http.client
import importlib
import importlib.util
import inspect
import io
import re
import signal
import sys
import threading
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from docs_support import EXAMPLES, PAGES, ROOT, Example
from https_support import write_files

import nhttp
from nhttp import net

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

PACKAGE = ROOT / "nhttp"
SECONDS = 10.0  # a request that takes this long has failed
BODY = b"hello"  # what a request with a body carries


# --- the pages ---------------------------------------------------------------------------------


(PEER,) = (example for example in EXAMPLES if example.is_peer)


def prose(page: Path) -> str:
    """Give a page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def by_name(example: Example) -> str:
    return example.name


# --- examples ----------------------------------------------------------------------------------


def test_there_are_examples() -> None:
    pages = {example.page.name for example in EXAMPLES}
    assert {"README.md", "server.md", "client.md", "agent.md"} <= pages


@pytest.mark.parametrize("example", EXAMPLES, ids=by_name)
def test_example_compiles(example: Example) -> None:
    compile(example.source, f"{example.page}:{example.line}", "exec")


class Visitor:
    """Stands in for the world: what `serve_forever` waits for."""

    def __init__(self, example: Example) -> None:
        self.example = example
        self.visited: list[net.Server] = []

    def visit(self, server: net.Server) -> None:
        """Make the example's requests of a server, once."""
        if server in self.visited or not isinstance(server, nhttp.Server):
            return
        self.visited.append(server)
        address = server.address()
        assert isinstance(address, net.Address), "examples listen on port 8000"
        for method, url, status in self.example.tries:
            connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=SECONDS)
            with contextlib.closing(connection):
                body = BODY if method in {"POST", "PUT", "PATCH"} else None
                connection.request(method, url, body)
                response = connection.getresponse()
                response.read()
            assert response.status == status, f"{method} {url}"


class Output(io.StringIO):
    """What an example prints, on whichever thread; stands in for `sys.stdout`."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def write(self, text: str) -> int:
        with self._changed:
            self._changed.notify_all()
            return super().write(text)

    def missing(self, expected: list[str]) -> Counter[str]:
        """Tell which lines do not come, after waiting for them."""

        def missing() -> Counter[str]:
            return Counter(expected) - Counter(self.getvalue().splitlines())

        with self._changed:
            self._changed.wait_for(lambda: not missing(), SECONDS)
            return missing()


@pytest.mark.parametrize(
    "example", [example for example in EXAMPLES if example.is_program], ids=by_name
)
def test_example_runs(
    example: Example,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    visitor = Visitor(example)
    output = Output()
    listened: list[net.Server] = []
    listen = net.Server.listen

    def note(self: net.Server, *args: Any, **options: Any) -> net.Server:
        listened.append(self)
        return listen(self, *args, **options)

    def run(program: Example, port: int) -> None:
        source = re.sub(r"\b8000\b", str(port), program.file)
        # A name that pytest does not know: dataclasses and pickle are not expected in examples.
        exec(compile(source, str(program.page), "exec"), {"__name__": program.name})

    def instead(self: net.Server) -> None:
        if not example.needs_peer:
            visitor.visit(self)
            return
        address = self.address()
        assert isinstance(address, net.Address)
        run(example, address.port)
        assert not output.missing(example.prints)

    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(net.Server, "listen", note)
    monkeypatch.setattr(net.Server, "serve_forever", instead)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    write_files(tmp_path)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        run(PEER if example.needs_peer else example, 0)
        for server in listened:
            if server.listening and not example.needs_peer:
                visitor.visit(server)
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
        for server in listened:
            server.close()
            assert server.wait_closed(SECONDS)
    assert not output.missing(example.prints)
    assert bool(visitor.visited) == ("listen(8000" in example.source)


# --- the table of names ------------------------------------------------------------------------

# The headings of the two manuals' HTTP chapters, and names that only their text mentions.
_MANUAL = """
http.METHODS http.STATUS_CODES http.createServer http.createClient http.request http.get
http.globalAgent http.maxHeaderSize http.Server http.ServerResponse http.IncomingMessage
http.ClientRequest http.Agent
server'request' server'connection' server'close' server'checkContinue' server'checkExpectation'
server'connect' server'upgrade' server'clientError' server'timeout' server'listening'
server.listen server.close server.listening server.maxHeadersCount server.setTimeout
server.timeout server.headersTimeout server.keepAliveTimeout server.address
response'close' response'finish' response'timeout' response.addTrailers response.end
response.finished response.getHeader response.headersSent response.removeHeader response.sendDate
response.setHeader response.setTimeout response.statusCode response.statusMessage response.write
response.writeContinue response.writeHead
message'aborted' message'close' message'data' message'end' message'readable' message'timeout'
message.destroy message.headers message.httpVersion message.httpVersionMajor
message.httpVersionMinor message.method message.rawHeaders message.rawTrailers message.setTimeout
message.statusCode message.statusMessage message.socket message.connection message.trailers
message.url response.read response.resume response.setEncoding
request'abort' request'connect' request'continue' request'response' request'socket'
request'upgrade' request'error' request'timeout' request'drain' request.abort request.aborted
request.end request.flushHeaders request.setHeader request.getHeader request.removeHeader
request.setNoDelay request.setSocketKeepAlive request.setTimeout request.write
options.protocol options.host options.hostname options.family options.port options.localAddress
options.socketPath options.method options.path options.headers options.auth options.agent
options.createConnection options.timeout options.keepAlive options.keepAliveMsecs
newAgent agent.createConnection agent.keepSocketAlive agent.reuseSocket agent.destroy
agent.freeSockets agent.getName agent.maxFreeSockets agent.maxSockets agent.requests agent.sockets
agent.request agent.get socket'agentRemove'
net.Server net.Socket net.connect net.createConnection socket.write socket.end socket.setTimeout
socket.setNoDelay socket.setKeepAlive socket.ref socket.unref socket.getPeerCertificate
EventEmitter Buffer TypeError url.parse querystring.parse querystring.stringify process.exit
--max-http-header-size
"""


class Row(NamedTuple):
    """A line of the table of names."""

    node: str
    here: str
    status: str


def rows() -> list[Row]:
    text = (ROOT / "docs" / "names.md").read_text(encoding="utf-8")
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    assert cells[0] == ["Node", "nhttp", "Remarks", "Status"]
    return [Row(node, here.strip("`"), status) for node, here, _, status in cells[2:]]


@cache
def syntax(cls: type) -> str:
    """Give the source of a class and of those that it inherits from, as far as they are nhttp's."""
    ours = [each for each in cls.__mro__ if each.__module__.partition(".")[0] == "nhttp"]
    return "\n".join(inspect.getsource(each) for each in ours)


def has(owner: Any, name: str) -> bool:
    """Tell whether an object has an attribute, or its instances have."""
    if hasattr(owner, name):
        return True
    return isinstance(owner, type) and f" self.{name}" in syntax(owner)


def lookup(path: str) -> tuple[bool, Any]:
    """Tell whether a dotted path names something, and what, as far as a class can know."""
    parts = path.split(".")
    found: Any = None
    with contextlib.suppress(ImportError):
        found = importlib.import_module(parts[0])
    if found is None:
        found = importlib.import_module("builtins")
        parts.insert(0, "builtins")
    for index, part in enumerate(parts[1:], start=1):
        dotted = ".".join(parts[: index + 1])
        if has(found, part):
            found = getattr(found, part, None)
        elif inspect.ismodule(found) and _is_module(dotted):
            found = importlib.import_module(dotted)
        else:
            return False, None
    return True, found


def _is_module(dotted: str) -> bool:
    try:
        return importlib.util.find_spec(dotted) is not None
    except ModuleNotFoundError:
        return False


def exists(text: str) -> bool:
    """Tell whether there is a name, an event (``name "event"``) or an argument (``name(arg=)``)."""
    match = re.fullmatch(r'([\w.]+)(?: "(\w+)"|\((\w+)=\))?', text)
    assert match is not None, text
    there, found = lookup(match[1])
    if not there:
        return False
    if match[2]:
        literals = " ".join(re.findall(r"Literal\[(.*?)\]", syntax(found), re.DOTALL))
        return f'"{match[2]}"' in literals
    if match[3]:
        parameters = inspect.signature(found).parameters
        if match[3] in parameters:
            return True
        # Keywords that a function takes as `**options: Unpack[SomeKeywords]`.
        unpacked = re.findall(r"Unpack\[(\w+)\]", " ".join(map(str, parameters.values())))
        keywords = [each for name in unpacked for each in definitions()[name]]
        return any(match[3] in inspect.get_annotations(each) for each in keywords)
    return True


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.node} {row.here}")
def test_name(row: Row) -> None:
    match row.status:
        case "here" | "Python":
            assert exists(row.here), f"{row.here} does not exist"
        case "planned":
            assert not exists(row.here), f"{row.here} exists by now: docs/names.md is to say so"
        case other:
            pytest.fail(f"no such status: {other}")


def test_names_are_complete() -> None:
    keys = {re.sub(r"[\[(].*|[` ]", "", row.node) for row in rows()}
    assert not set(_MANUAL.split()) - keys


# --- what the prose names ----------------------------------------------------------------------


def modules() -> Iterator[ModuleType]:
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.name != "__main__.py":
            dotted = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            yield importlib.import_module(dotted.removesuffix(".__init__"))


@cache
def definitions() -> dict[str, list[Any]]:
    """Give the classes and functions of nhttp by name."""
    found: dict[str, list[Any]] = {}
    for module in modules():
        for name, value in vars(module).items():
            if getattr(value, "__module__", "").startswith("nhttp"):
                found.setdefault(name, []).append(value)
    return found


@cache
def sources() -> str:
    return "\n".join(file.read_text("utf-8") for file in sorted(PACKAGE.rglob("*.py")))


def broken_reference(code: str) -> bool:
    """Tell whether a piece of inline code names something of nhttp that is not there."""
    if re.fullmatch(r"nhttp(\.\w+)+(\(\))?", code):
        if re.search(r"\.(server|client|net|access)$", code):  # loggers and modules share names
            return code not in sources()
        return not lookup(code.removesuffix("()"))[0] and code not in planned()
    if re.fullmatch(r"nhttp-[a-z]+", code):  # the name of a thread
        return f'"{code}"' not in sources()
    if re.fullmatch(r"[\w/]+\.py", code):
        return not (ROOT / code).exists() and not any(PACKAGE.rglob(code))
    if match := re.fullmatch(r"([A-Z]\w*)\.(\w+)(\(.*\))?", code):
        classes = [each for each in definitions().get(match[1], []) if isinstance(each, type)]
        return bool(classes) and not any(has(each, match[2]) for each in classes)
    if match := re.fullmatch(r"(_\w+)(\(.*\))?", code):  # a private name, wherever it is
        return not re.search(rf"\b{match[1]}\b", sources())
    return False


@cache
def planned() -> set[str]:
    return {re.split(r'[ "(]', row.here)[0] for row in rows() if row.status == "planned"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_prose_names_exists(page: Path) -> None:
    text = prose(page)
    if page.name == "names.md":
        text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    broken = [code for code in re.findall(r"`([^`\n]+)`", text) if broken_reference(code)]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    for target in targets:
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = page.parent / path if path else page
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
            assert anchor in slugs, target


# --- errors ------------------------------------------------------------------------------------

_CODE = r"(?:ERR|HPE)_[A-Z0-9_]+"


def test_errors_has_every_class() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    errors = importlib.import_module("nhttp.errors")
    classes = [name for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    assert [name for name in classes if f"`{name}`" not in text] == []


def test_errors_has_every_code() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    literals = {
        node.value
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    raised = {literal for literal in literals if re.fullmatch(_CODE, literal)}
    assert set(re.findall(rf"`({_CODE})`", text)) == raised
