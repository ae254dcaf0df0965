"""From a URL to an open file, and no way out."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from support import open_files

from nhttp._static import paths
from nhttp._static.paths import Refused, Target, Tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "b.txt").write_text("b")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root-too").mkdir()  # begins as the root does
    (tmp_path / "root-too" / "secret").write_text("secret")
    return root


def read(tree: Tree, *names: str) -> bytes:
    with tree.open(names) as opened:
        return os.read(opened.fd, 100)


def refused(tree: Tree, *names: str) -> int:
    with pytest.raises(Refused) as caught:
        tree.open(names)
    return caught.value.status


@pytest.mark.parametrize(
    ("url", "names", "is_directory", "query"),
    [
        ("/", (), True, ""),
        ("/a", ("a",), False, ""),
        ("/a/", ("a",), True, ""),
        ("/a/b.txt?c=/../d", ("a", "b.txt"), False, "?c=/../d"),
        ("/a?", ("a",), False, "?"),
        ("/a%20b%3f", ("a b?",), False, ""),
        ("/%E6%96%87", ("文",), False, ""),
        ("/%ff", (os.fsdecode(b"\xff"),), False, ""),
        ("/100%", ("100%",), False, ""),
        ("/%zz", ("%zz",), False, ""),
        ("//a//b", ("a", "b"), False, ""),
        ("/...", ("...",), False, ""),
        ("/..a", ("..a",), False, ""),
        (r"/..\a", (r"..\a",), False, ""),
        ("/%252e%252e/a", ("%2e%2e", "a"), False, ""),  # decoded once
        ("http://host:80/a/b?c", ("a", "b"), False, "?c"),
        ("http://host", (), True, ""),
        ("http://host?x", (), True, "?x"),
    ],
)
def test_targets(url: str, names: tuple[str, ...], is_directory: bool, query: str) -> None:
    target = Target.parse(url)
    assert (target.names, target.is_directory, target.query) == (names, is_directory, query)


@pytest.mark.parametrize(
    "url",
    [
        "/..",
        "/../secret",
        "/sub/../../secret",
        "/sub/../a.txt",
        "/./a.txt",
        "/%2e%2e/secret",
        "/.%2E/secret",
        "/..%2fsecret",
        "/%2fetc%2fpasswd",
        "/a.txt%00",
        "/a.txt%00.png",
        "//../secret",
        "http://host/../secret",
    ],
)
def test_targets_that_name_nothing(url: str) -> None:
    with pytest.raises(Refused) as caught:
        Target.parse(url)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("/sub", "/sub/"),
        ("/sub?x=1", "/sub/?x=1"),
        ("/sub/deep", "/sub/deep/"),
        ("//sub", "/sub/"),
        ("//sub/", "/sub/"),
        ("//", "/"),
        ("/sub//", "/sub/"),
        ("///sub///deep/?x", "/sub/deep/?x"),
        ("//evil.example", "/evil.example/"),
        ("//evil.example/..%5c", "/evil.example/..%5C/"),
        ("/a:b", "/a:b/"),
        ("/javascript:alert(1)", "/javascript:alert(1)/"),
        ("/%2561", "/%2561/"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/behind/a/proxy"])
def test_a_redirect_leads_to_the_canonical_url_of_the_same_host(
    url: str, canonical: str, prefix: str
) -> None:
    target = Target.parse(url)
    assert not target.is_canonical
    location = target.canonical
    assert location.startswith(("./", "../"))
    # As RFC 3986 resolves it, which `urljoin` does not for two slashes at the front.
    segments = f"{prefix}{url.partition('?')[0]}".split("/")[1:-1]
    rest = location
    while rest.startswith("../"):
        segments.pop()
        rest = rest.removeprefix("../")
    resolved = "/" + "".join(f"{each}/" for each in segments) + rest.removeprefix("./")
    assert unquote(resolved) == prefix + unquote(canonical)
    assert urlsplit(urljoin("http://host/x", location)).netloc == "host"


def test_canonical_targets() -> None:
    assert all(Target.parse(each).is_canonical for each in ("/", "/a/", "/a/b/?c", "http://host"))


def test_files_are_opened(root: Path) -> None:
    tree = Tree(root)
    assert read(tree, "a.txt") == b"a"
    assert read(tree, "sub", "b.txt") == b"b"
    with tree.open(("sub",)) as opened:
        assert opened.is_directory
        assert {each.name: each.is_directory for each in tree.list(opened)} == {
            "b.txt": False,
            "deep": True,
        }


def test_any_octets_are_a_name(root: Path) -> None:
    name = os.fsdecode(b"\xff\n:\\")
    (root / name).write_text("odd")
    assert read(Tree(root), *Target.parse("/" + paths.quote_name(name)).names) == b"odd"


@pytest.mark.parametrize(
    "names",
    [
        ("nothing",),
        ("nothing", "a.txt"),
        ("a.txt", "b"),
        ("x" * 300,),
        ("x" * 200,) * 30,
        (r"..\secret",),
        (r"..\..\secret",),
    ],
)
def test_what_is_not_there(root: Path, names: tuple[str, ...]) -> None:
    assert refused(Tree(root), *names) == 404
    assert refused(Tree(root, follow_links=True), *names) == 404


def test_links_within_the_directory_are_followed(root: Path) -> None:
    (root / "link").symlink_to("sub/b.txt")
    (root / "absolute").symlink_to(root / "a.txt")
    (root / "folder").symlink_to("sub")
    (root / "sub" / "up").symlink_to("../a.txt")
    tree = Tree(root)
    assert read(tree, "link") == b"b"
    assert read(tree, "absolute") == b"a"
    assert read(tree, "folder", "b.txt") == b"b"
    assert read(tree, "folder", "up") == b"a"


def test_links_out_of_the_directory(root: Path) -> None:
    (root / "file").symlink_to("../secret")
    (root / "folder").symlink_to("../root-too")
    (root / "slash").symlink_to("/")
    (root / "indirect").symlink_to("file")
    tree = Tree(root)
    assert refused(tree, "file") == 403
    assert refused(tree, "indirect") == 403
    assert refused(tree, "folder") == 403
    assert refused(tree, "folder", "secret") == 403
    assert refused(tree, "slash", "etc") == 403
    # Whether there is something behind such a link is not told.
    (root / "dangling").symlink_to("../nothing")
    assert refused(tree, "dangling") == 403
    following = Tree(root, follow_links=True)
    assert read(following, "indirect") == b"secret"
    assert read(following, "folder", "secret") == b"secret"
    assert refused(following, "dangling") == 404


def test_links_to_themselves(root: Path) -> None:
    (root / "loop").symlink_to("loop")
    assert refused(Tree(root), "loop") == 404
    assert refused(Tree(root, follow_links=True), "loop") == 404


def test_the_root_may_be_a_link(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to("root")
    assert read(Tree(link), "a.txt") == b"a"


def test_everything_may_be_served(root: Path) -> None:
    assert read(Tree("/"), *(root / "a.txt").parts[1:]) == b"a"


@pytest.mark.parametrize("swapped", [("sub", "b.txt"), ("sub", "deep"), ("sub",), ()])
def test_a_link_put_in_the_way_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch, swapped: tuple[str, ...]
) -> None:
    names = swapped if len(swapped) == 2 else ("sub", "b.txt")
    (root / "here").symlink_to(".")  # a path without links is never resolved
    resolve = Tree._resolve

    def resolve_and_swap(tree: Tree, path: Path) -> tuple[str, ...]:
        resolved = resolve(tree, path)
        place = root.joinpath(*swapped)
        place.rename(root.parent / "old")
        place.symlink_to(root.parent / "old")
        return resolved

    monkeypatch.setattr(Tree, "_resolve", resolve_and_swap)
    assert refused(Tree(root), "here", *names) == 404


def test_what_is_neither_file_nor_directory(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        # A path may be too long for a Unix socket's address: bind it by its name alone.
        before = Path.cwd()
        os.chdir(root)
        try:
            listener.bind("socket")
        finally:
            os.chdir(before)
        (root / "device").symlink_to("/dev/null")
        tree = Tree(root)
        assert refused(tree, "fifo") == 403
        assert refused(tree, "socket") == 403
        assert refused(Tree(root, follow_links=True), "device") == 403
        with tree.open(()) as opened:
            assert {each.name for each in tree.list(opened)} == {"a.txt", "sub"}


def test_a_fifo_put_in_the_way_does_not_block(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_served = paths._is_served

    def swap(status: os.stat_result) -> bool:
        if not (root / "old").exists():
            (root / "a.txt").rename(root / "old")
            os.mkfifo(root / "a.txt")
        return is_served(status)

    monkeypatch.setattr(paths, "_is_served", swap)
    assert refused(Tree(root), "a.txt") == 404


@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.EACCES, 403), (errno.EPERM, 403), (errno.EMFILE, 500), (errno.EIO, 500)],
)
def test_what_the_system_refuses(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    def fail(*_arguments: object, **_options: object) -> int:
        raise OSError(number, os.strerror(number))

    tree = Tree(root)
    with tree.open(("sub",)) as opened:
        monkeypatch.setattr(os, "open", fail)
        assert refused(tree, "a.txt") == status
        monkeypatch.setattr(os, "scandir", fail)
        with pytest.raises(Refused) as caught:
            tree.list(opened)
    assert caught.value.status == status


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(root: Path) -> None:
    (root / "a.txt").chmod(0)
    assert refused(Tree(root), "a.txt") == 403


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="needs O_PATH")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_may_only_be_entered_is_passed_through(root: Path) -> None:
    (root / "sub").chmod(0o100)
    assert read(Tree(root), "sub", "b.txt") == b"b"
    assert refused(Tree(root), "sub") == 403


def test_a_listing_leaves_out_what_would_be_refused(root: Path) -> None:
    (root / "out").symlink_to("../secret")
    (root / "in").symlink_to("a.txt")
    (root / "folder").symlink_to("sub")
    (root / "dangling").symlink_to("nothing")
    (root / ".hidden").write_text("hidden")
    (root / "sub" / "deep" / "linked").symlink_to("../b.txt")
    tree = Tree(root)
    with tree.open(()) as opened:
        entries = {each.name: each for each in tree.list(opened)}
    assert entries.keys() == {"a.txt", "in", "folder", "sub", ".hidden"}
    assert entries["folder"].is_directory
    assert entries["in"].size == 1
    with tree.open(("folder", "deep")) as opened:
        assert [each.name for each in tree.list(opened)] == ["linked"]
    following = Tree(root, follow_links=True)
    with following.open(()) as opened:
        assert "out" in {each.name for each in following.list(opened)}


def test_no_descriptor_is_left_open(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "out").symlink_to("../secret")
    tree = Tree(root)
    before = open_files(root)
    for names in [("a.txt",), ("sub", "b.txt"), ("sub",), ()]:
        tree.open(names).close()
    for names in [("nothing",), ("a.txt", "b"), ("sub", "nothing"), ("fifo",), ("out",)]:
        refused(tree, *names)
    assert open_files(root) == before
