"""`RequestOptions`: one checked object from URLs, keywords, mappings and each other."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from nhttp._agent.options import RequestOptions
from nhttp.errors import InvalidArgument


def gather(source: Any = None, **keywords: Any) -> RequestOptions:
    return RequestOptions.gather(source, keywords)


def test_nothing_said_is_a_get_of_the_root_of_this_machine() -> None:
    options = gather()
    assert (options.method, options.path) == ("GET", "/")
    assert (options.target_host, options.target_port) == ("localhost", 80)


def test_a_url_says_host_port_path_and_query() -> None:
    options = gather("http://example.test:8080/a/b?c=d")
    assert options.target_host == "example.test"
    assert options.target_port == 8080
    assert options.path == "/a/b?c=d"
    assert options.protocol == "http:"


def test_a_url_without_a_path_asks_for_the_root() -> None:
    assert gather("http://h").path == "/"
    assert gather("http://h?x").path == "/?x"


def test_an_empty_query_is_sent() -> None:
    assert gather("http://h/a?").path == "/a?"
    assert gather("http://h?#b?").path == "/?"
    assert gather("http://h/a#b?").path == "/a"


def test_what_is_empty_is_as_by_default() -> None:
    options = gather(path="", method="", host="", port="", auth="", timeout=None)
    assert (options.method, options.path) == ("GET", "/")
    assert (options.target_host, options.target_port) == ("localhost", 80)
    assert options.authorization() is None
    options = gather(path=None, method=None, host=None, port=None)
    assert (options.method, options.path, options.target_host) == ("GET", "/", "localhost")


def test_a_fragment_is_not_sent() -> None:
    assert gather("http://h/a#b").path == "/a"


def test_percent_encoding_is_left_as_it_is() -> None:
    assert gather("http://h/a%20b%2Fc%zz?%41").path == "/a%20b%2Fc%zz?%41"


def test_an_ipv6_host_loses_its_brackets_for_connecting_and_keeps_them_in_the_field() -> None:
    options = gather("http://[::1]:8080/")
    assert options.target_host == "::1"
    assert options.host_field(80).value == "[::1]:8080"
    assert gather("http://[::1]/").host_field(80).value == "[::1]"


@pytest.mark.parametrize("host", ["fe80::1%eth0", "[fe80::1%eth0]", "fe80::1"])
def test_the_zone_of_an_address_stays_here(host: str) -> None:
    assert gather(host=host, port=8080).host_field(80).value == "[fe80::1]:8080"


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("fe80::1%25eth0", "fe80::1%eth0"),
        ("FE80::1%25Eth0", "fe80::1%Eth0"),
        ("fe80::1%eth0", "fe80::1%eth0"),  # as browsers once had it (RFC 6874, 3)
        ("fe80::1%25", "fe80::1%25"),  # which is what is left of the same: interface 25
        ("::1", "::1"),
    ],
)
def test_the_zone_in_a_url_is_decoded_for_connecting(written: str, host: str) -> None:
    options = gather(f"http://[{written}]:8080/%25")
    assert options.target_host == host
    assert options.host_field(80).value == f"[{host.partition('%')[0]}]:8080"
    assert options.path == "/%25"


def test_who_looks_for_the_body_among_the_options_is_told_where_it_goes() -> None:
    with pytest.raises(InvalidArgument, match="unknown request option: data; the body is given to"):
        gather("http://h/", data=b"x")
    with pytest.raises(InvalidArgument, match=r"unknown request option: params$"):
        gather("http://h/", params={})


def test_an_enum_of_str_is_the_text_that_it_is() -> None:
    class Known(str, enum.Enum):  # noqa: UP042 - whose `__str__` is another text
        PATH = "/path"
        HOST = "known.test"

    options = gather(path=Known.PATH, host=Known.HOST, port=8080)
    assert f"{options.path}" == "/path"
    assert f"{options.host_field(80).value}" == "known.test:8080"
    assert f"{gather(host=Known.HOST).host_field(80).value}" == "known.test"


def test_the_host_field_says_a_port_that_is_not_the_default_one() -> None:
    assert gather("http://h/").host_field(80).value == "h"
    assert gather("http://h:80/").host_field(80).value == "h"
    assert gather("http://h:81/").host_field(80).value == "h:81"
    assert gather("http://h/", default_port=443).host_field(443).value == "h"


def test_a_host_beyond_ascii_is_looked_up_as_it_is_and_encoded_in_the_field() -> None:
    for options in (
        gather(host="b\u00fccher.test", port=81),
        gather("http://b\u00fccher.test:81/"),
    ):
        assert options.target_host == "b\u00fccher.test"
        assert options.host_field(80).value == "xn--bcher-kva.test:81"
    with pytest.raises(InvalidArgument) as raised:
        gather(host="b\u00fccher..test").host_field(80)
    assert "b\u00fccher..test" in str(raised.value)


def test_the_port_that_goes_without_saying_is_connected_to() -> None:
    assert gather(default_port=8080).target_port == 8080
    assert gather("http://h/", default_port=8080).target_port == 8080
    assert gather(port=65535, default_port=8080).target_port == 65535
    assert gather(port=0, default_port=8080).target_port == 0


def test_user_information_becomes_basic_authentication() -> None:
    assert gather("http://u:p%40@h/").authorization() == "Basic dTpwQA=="
    assert gather("http://h/", auth="u:p@").authorization() == "Basic dTpwQA=="
    assert gather("http://h/").authorization() is None
    assert gather("http://@h/").authorization() is None
    assert gather("http://u@h/").auth == "u:"
    assert gather("http://:p@h/").auth == ":p"


def test_keywords_win_over_the_url() -> None:
    options = gather("http://h/a", path="/b", method="post", hostname="other")
    assert (options.path, options.method, options.target_host) == ("/b", "POST", "other")


def test_hostname_is_preferred_over_host() -> None:
    assert gather(host="a", hostname="b").target_host == "b"


def test_a_mapping_has_the_names_of_the_options() -> None:
    options = gather({"host": "h", "port": "8080", "headers": {"X-A": "1"}})
    assert options.target_port == 8080
    assert options.headers == {"X-A": "1"}


def test_options_can_be_used_again_with_changes() -> None:
    first = gather("http://h/a", headers=[("X-A", "1")])
    second = gather(first, path="/b")
    assert (first.path, second.path) == ("/a", "/b")
    assert second.headers == [("X-A", "1")]


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [
        ({"path": "/a b"}, "ERR_UNESCAPED_CHARACTERS", "' '"),
        ({"path": "/a\r\nX: y"}, "ERR_UNESCAPED_CHARACTERS", "'\\r'"),
        ({"path": "/caf\u00e9"}, "ERR_UNESCAPED_CHARACTERS", "\u00e9"),
        ({"method": "FETCH"}, "ERR_INVALID_HTTP_TOKEN", "FETCH"),
        ({"method": "GE T"}, "ERR_INVALID_HTTP_TOKEN", "GE T"),
        ({"host": "a b"}, "ERR_INVALID_ARG_VALUE", "a b"),
        ({"host": "h/x"}, "ERR_INVALID_ARG_VALUE", "h/x"),
        ({"port": 65536}, "ERR_SOCKET_BAD_PORT", "65536"),
        ({"port": "http"}, "ERR_SOCKET_BAD_PORT", "http"),
        ({"port": "1" * 5000}, "ERR_SOCKET_BAD_PORT", "1111"),
        ({"port": "8\u00b2"}, "ERR_SOCKET_BAD_PORT", "8\u00b2"),
        ({"timeout": -1}, "ERR_INVALID_ARG_VALUE", "-1"),
        ({"timeout": "1"}, "ERR_INVALID_ARG_TYPE", "'1'"),
        ({"family": 5}, "ERR_INVALID_ARG_VALUE", "5"),
        ({"path": 1}, "ERR_INVALID_ARG_TYPE", "path is a str, not 1"),
        ({"host": b"h"}, "ERR_INVALID_ARG_TYPE", "host is a str, not b'h'"),
        ({"auth": ("u", "p")}, "ERR_INVALID_ARG_TYPE", "auth is a str"),
        ({"hots": "h"}, "ERR_INVALID_ARG_VALUE", "hots"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_shown(
    arguments: dict[str, Any], code: str, shown: str
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        gather(**arguments)
    assert raised.value.code == code
    assert shown in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/path",
        "//h/path",
        "http://",
        "http:///p",
        "http://h:x/",
        "http://h/a\tb",
        "/p",
        "http://u:%ff@h/",
        "http://a.test\\@h/",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        gather(url)
    assert raised.value.code == "ERR_INVALID_URL"
    assert repr(url) in str(raised.value)


def test_a_method_in_the_place_of_the_url_is_recognised() -> None:
    with pytest.raises(InvalidArgument, match=r"'GET': .*request\(url, method='GET'\)"):
        gather("GET")


@pytest.mark.parametrize("keywords", [{}, {"agent": None}, {"timeout": 1}])
def test_the_path_of_a_url_is_refused_as_one_by_itself_is(keywords: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as raised:
        gather("http://h/caf\u00e9", **keywords)
    assert raised.value.code == "ERR_UNESCAPED_CHARACTERS"


def test_a_source_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        gather(42)
