"""A page as Markdown: what a reader sees, with its links, at a cost that grows with the page and no faster."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_graph.tools.markdown import MAX_DEPTH, MAX_INDENTS, MAX_TAGS, markdown

URL = "https://example.org/docs/page?x=1"
MANY = MAX_TAGS // 10
TAGS = (
    "a",
    "b",
    "blockquote",
    "br",
    "code",
    "dd",
    "div",
    "h1",
    "li",
    "ol",
    "p",
    "pre",
    "soup",
    "table",
    "td",
    "tr",
    "ul",
)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>one<p>two", "one\n\ntwo"),
        ("<h2>A <i>b</i></h2>text", "## A *b*\n\ntext"),
        ("a_b * c\n\n d\xa0e", "a_b * c d e"),
        ("<ul><li>one<li>two<ul><li>inner</ul></ul>", "- one\n- two\n  - inner"),
        ("<ol start=3><li>one<li>two</ol>", "3. one\n4. two"),
        ("<ol start=²><li>one</ol>", "1. one"),
        ("<blockquote>one<p>two</blockquote>", "> one\n>\n> two"),
        ("<pre>\n  a\n    b  </pre>", "```\n  a\n    b\n```"),
        ("<table><tr><th>a<th>b<tr><td>1<td>2<p>3</table>", "| a | b |\n| --- | --- |\n| 1 | 2 3 |"),
        ("<table><tr><td>out<table><tr><td>in</table></table>", "out\n\n| in |\n| --- |"),
        ("<header>one</header><nav>two</nav><main>three</main>", "one\n\ntwo\n\nthree"),
        ("a<script>x()</script><style>p {}</style><svg>s</svg><noscript>n</noscript>b<!-- c -->", "ab"),
        ("<soup>a</soup><h99>b</h99>", "ab"),
        ("a\0b", "a\ufffdb"),
        ("", ""),
    ],
)
def test_a_page_is_what_a_reader_sees(source: str, text: str) -> None:
    assert markdown(source, URL) == text


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("/a", "[it](https://example.org/a)"),
        ("b?c#d", "[it](https://example.org/docs/b?c#d)"),
        ("//other.org", "[it](https://other.org)"),
        ("mailto:a@b.org", "[it](mailto:a@b.org)"),
        ("JavaScript:alert(1)", "it"),
        ("data:text/html,x", "it"),
        ("http://[", "it"),
    ],
)
def test_links_are_kept_and_lead_where_the_page_leads(link: str, text: str) -> None:
    assert markdown(f"<a href='{link}'>it</a>", URL) == text


def test_an_image_is_shown_by_its_address_or_by_its_words_where_the_address_is_data() -> None:
    assert markdown("<img src=a.png alt=pic>", URL) == "![pic](https://example.org/docs/a.png)"
    assert markdown("<img src='data:image/png;base64,AAAA' alt=pic>", URL) == "pic"


@pytest.mark.parametrize(
    "tag", ["div", "blockquote", "ul><li", "ol><li", "b", "table><tr><td", "a href=x", "dl><dd", "pre"]
)
def test_what_is_nested_too_deep_is_plain_text(tag: str) -> None:
    text = markdown(f"<{tag}>" * MANY + "bottom", URL)

    assert "bottom" in text
    assert len(text) < 100 * MAX_DEPTH


def test_no_line_is_indented_more_than_so_often() -> None:
    text = markdown("<blockquote>" * MAX_DEPTH + "bottom", URL)

    assert text.count(">") < MAX_INDENTS


@pytest.mark.parametrize(
    "source",
    [
        "<ol>" + "<li>x" * MANY,
        "<table><thead>" + "<tr><th>x" * (MANY // 2),
        "<table>" + "<tr><td colspan=1000>x" * (MANY // 2),
        "<ul></ul>" + "<!-- -->" * MANY,
        "a" + " " * 1_000_000 + "b",
        "<pre>" + " " * 1_000_000 + "b",
        "<pre>" + "\n" * 1_000_000 + "b",
        "<!--" * MANY,
        "<a " + "x=1 " * 100_000 + ">",
    ],
    ids=["items", "rows", "spans", "comments", "spaces", "spaces-in-pre", "lines", "open-comments", "attributes"],
)
def test_a_page_that_repeats_itself_takes_no_time_out_of_proportion(source: str) -> None:
    """The test's own ceiling on time would end it: what is quadratic takes hours here."""
    assert len(markdown(source, URL)) < 2 * len(source) + 1_000


def test_a_page_with_too_many_tags_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 100,000 tags"):
        markdown("<br>" * (MAX_TAGS + 1), URL)


@settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.sampled_from(
            [*(f"<{tag}>" for tag in TAGS), *(f"</{tag}>" for tag in TAGS), "text", " \n", "&lt;", "<", "|"]
        )
    )
)
def test_no_page_breaks_the_conversion(pieces: list[str]) -> None:
    text = markdown("".join(pieces), URL)

    assert text.count("text") == pieces.count("text")


def test_a_thread_with_a_small_stack_of_its_own_is_enough() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(markdown("<div>" * MAX_TAGS + "bottom", URL)))
    thread.start()
    thread.join()

    assert found == ["bottom"]
