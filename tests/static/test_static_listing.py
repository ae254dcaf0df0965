"""The page of a directory, content types, and the lines of the access log."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from urllib.parse import unquote_to_bytes

import pytest

from nhttp._static.content_type import content_type, is_text
from nhttp._static.listing import format_size, listing_page
from nhttp._static.page import error_page
from nhttp._static.paths import Entry


class Page(HTMLParser):
    """What a reader sees of a page: its links, its cells, and its title."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[tuple[str, str]] = []  # target and text
        self.text: dict[str, list[str]] = {}  # by the innermost tag of these
        self._in_link = False
        self._inside: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag in {"title", "h1", "td", "footer", "p", "time", "style"}:
            self._inside.append(tag)
            self.text.setdefault(tag, []).append("")
        if tag == "a":
            self.links.append((dict(attrs)["href"] or "", ""))
            self._in_link = True

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()
        if tag == "a":
            self._in_link = False

    def handle_data(self, data: str) -> None:
        for tag in self._inside:
            self.text[tag][-1] += data
        if self._in_link:
            href, text = self.links[-1]
            self.links[-1] = (href, text + data)


def file(name: str, size: int = 0, modified: float = 0) -> Entry:
    return Entry(name, is_directory=False, size=size, modified=modified)


def folder(name: str) -> Entry:
    return Entry(name, is_directory=True, size=4096, modified=0)


def test_folders_come_first_and_names_as_a_person_sorts_them() -> None:
    names = ["b", "A", "a10", "a9", "a2b", "a2", ".x", "10", "9"]
    entries = [*map(file, names), folder("z"), folder("Y")]
    links = Page(listing_page([], entries)).links
    order = ["Y/", "z/", ".x", "9", "10", "A", "a2", "a2b", "a9", "a10", "b"]
    assert [text for _, text in links] == order


def test_the_way_back_is_relative() -> None:
    page = Page(listing_page(["one", "t<w>o", "three"], []))
    assert page.links == [
        ("../../../", "Home"),
        ("../../", "one"),
        ("../", "t<w>o"),
        ("../", "Parent folder"),
    ]
    assert page.text["h1"] == ["Home/one/t<w>o/three"]
    assert page.text["title"] == ["/one/t<w>o/three/"]
    assert page.text["footer"] == ["This folder is empty."]


def test_the_root_has_no_parent() -> None:
    page = Page(listing_page([], []))
    assert page.links == []
    assert page.text["title"] == ["/"]


HOSTILE = [
    '"><script>alert(1)</script>',
    "' onclick='alert(1)",
    "</bdi></a><img src=x>",
    "&amp;",
    "a:b",
    "javascript:alert(1)",
    "//evil.example",
    "?query#fragment",
    "100%",
    "%2e%2e",
    r"back\slash",
    " space ",
    "line\nbreak",
    "\x1b[31mred",
    "\u202egpj.exe",
    os.fsdecode(b"\xff\xfe"),
    "文件",
]


@pytest.mark.parametrize("name", [each for each in HOSTILE if "/" not in each])
@pytest.mark.parametrize("kind", [file, folder])
def test_any_name_is_text_and_its_link_leads_to_it(name: str, kind: type) -> None:
    plain = Page(listing_page([], [kind("x")]))
    page = Page(listing_page([], [kind(name)]))
    assert page.tags == plain.tags
    ((href, shown),) = page.links
    assert href.startswith("./")
    assert not set(href) & set("\"'<>&?#:\\ \n")
    assert unquote_to_bytes(href.removeprefix("./").removesuffix("/")) == os.fsencode(name)
    assert shown.isprintable()


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_is_text_in_the_way_back(name: str) -> None:
    page = Page(listing_page([name, name], []))
    assert page.tags == Page(listing_page(["x", "x"], [])).tags
    assert "\n" not in page.text["title"][0]


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = Page(listing_page(["a"], [file("b"), folder("c")]))
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert [value for name, value in page.attributes if name == "src"] == []
    hrefs = [value or "" for name, value in page.attributes if name == "href"]
    assert all(each.startswith(("./", "../", "#", "data:,")) for each in hrefs)
    assert "url(" not in page.text["style"][0]
    assert "@import" not in page.text["style"][0]


def test_sizes_and_dates() -> None:
    page = Page(listing_page([], [file("a", 1536, 86400 * 365.0), folder("b")]))
    assert page.text["td"][:3][1] == ""  # of folders no size
    assert page.text["td"][4] == "1.5 kB"
    assert page.text["time"][1][:7] == "1971-01"
    assert ("title", "1,536 bytes") in page.attributes
    assert page.text["footer"] == ["1 folder, 1 file, 1.5 kB"]
    assert Page(listing_page([], [folder("a"), folder("b")])).text["footer"] == ["2 folders"]


def test_a_date_that_no_calendar_has_is_left_out() -> None:
    assert "time" not in Page(listing_page([], [file("a", modified=1e18)])).tags


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1449, "1.4 kB"),
        (9949, "9.9 kB"),
        (9999, "10 kB"),
        (999499, "999 kB"),
        (999999, "1.0 MB"),
        (25 * 10**6, "25 MB"),
        (10**9, "1.0 GB"),
        (2**63, "9.2 EB"),
        (5 * 10**21, "5000 EB"),
    ],
)
def test_format_size(size: int, text: str) -> None:
    assert format_size(size) == text


def test_an_error_page_is_text() -> None:
    page = Page(error_page(404, "Not Found", "<b>"))
    assert page.text["h1"] == page.text["title"] == ["404 Not Found"]
    assert page.text["p"] == ["<b>"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("INDEX.HTM", "text/html; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.json", "application/json; charset=utf-8"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.md", "text/markdown; charset=utf-8"),
        ("a.py", "text/x-python; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.webp", "image/webp"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.pdf", "application/pdf"),
        ("a.mp4", "video/mp4"),
        ("a.wav", "audio/wav"),
        ("a.tar.gz", "application/gzip"),
        ("a.html.gz", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.js.br", "application/octet-stream"),
        ("a.xz", "application/x-xz"),
        ("a.zst", "application/zstd"),
        ("data:text", None),
        ("LICENSE", None),
        (".gitignore", None),
        ("a.unheard-of", None),
    ],
)
def test_content_types(name: str, kind: str | None) -> None:
    assert content_type(name) == kind


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (b"", True),
        (b"MIT License\r\n\tfoo\n", True),
        ("grün 文件".encode(), True),
        ("文".encode()[:2], True),  # cut through
        (b"\x89PNG\r\n\x1a\n", False),
        (b"a\0b", False),
        (b"a\x01b", False),
        ("grün".encode("latin-1"), False),
        (b"\xff\xfea\0", False),
    ],
)
def test_text_is_told_from_other_files(start: bytes, text: bool) -> None:
    assert is_text(start) is text
