"""No reply of any shape raises, and what is taken from one keeps its promises."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from rlm_graph.parsing import Reply, parse
from rlm_graph.parsing.finals import claim
from rlm_graph.parsing.lookahead import Lookahead

FENCES = [
    "```repl\n", "```python\n", "```py\n", "```\n", "````repl\n", "````\n", "~~~repl\n", "~~~\n", "```js\n",
    "```json\n", "```output\n", "```bash\n", "  ```repl\n", "> ```repl\n", "- ```repl\n", "```repl print(1)```",
    "```{.python}\n",
]  # fmt: skip
CODE = [
    "print(1)\n", "x = 1\n", "    y = 2\n", 'FINAL("a")\n', "FINAL_VAR('x')\n", 'answer["ready"] = True\n', "def f(:\n",
    'doc = """\n', '"""\n', "'''", "# don't\n", ">>> x\n", "s = '</think>'\n", "t = '```'\n", "\\", "\t\n", "if x:\n",
]  # fmt: skip
PROSE = [
    "Text. ", "\n", "\n\n", "- item\n", "1. item\n", "> quoted\n", "# Title\n", "Output:\n", "**Output:** 3\n",
    "`code` ", "FINAL(a (b) c)\n", 'FINAL("a\nb")\n', "FINAL(", ")\n", "FINAL_VAR(x)\n", "**FINAL**(x)\n",
    "FINAL: 42\n", "FINAL:\n", "I will call FINAL(x) later. ", "FINAL（x）\n", '{"code": "print(1)"}',
    '{"final_answer": [1]}', "| a | b |\n",
]  # fmt: skip
TAGS = [
    "<think>", "<think>\n", "</think>", "</think>\n", "<thinking>", "</thinking>\n", "<scratchpad>\n", "</scratchpad>",
    "<helpers>\n", "</helpers>\n", "<python>\n", "</python>\n", "<execute>", "</execute>", "<code>\n", "</code>\n",
    "<answer>", "</answer>\n", "<tool_response>\n", "</tool_response>\n", "<output>\n", "[THINK]", "[/THINK]", "</s>",
    "<|python_tag|>", "<|eom_id|>", "<|im_end|>", "<|channel|>analysis<|message|>", "<|end|>", "<|call|>",
    "<|channel|>commentary to=python code<|message|>", "◁think▷", "◁/think▷",
]  # fmt: skip
CALLS = [
    "<function_calls>", "</function_calls>", '<invoke name="python">', "</invoke>", '<parameter name="code">',
    "</parameter>", "<tool_call>", "</tool_call>", "<function=python>", "</function>", "<parameter=code>",
    "<tool_name>python</tool_name>", '{"name": "python", "arguments": {"code": "print(1)"}}',
    '{"name": "f", "arguments": {"a": [1, "\\ud800"]}}', "[TOOL_CALLS]", "python[ARGS]", '{"code": "x"}', '{"code": ',
    "python\n<arg_key>code</arg_key><arg_value>x</arg_value>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>", "<|tool_call_begin|>functions.python:0", "<|tool_call_argument_begin|>", "<|tool_call_end|>",
    '<|tool_call>call:python{code:<|"|>x<|"|>}<tool_call|>', "python.call(code='x')", "[python(code='x')]",
    "<![CDATA[", "]]>",
]  # fmt: skip
ODD = [
    "\ud800", "\udc00", "\U0001f600", "\0", "\r", "\r\n", "\u200b", "\ufeff", "\u00a0", "\u2028", "（", "）", "“", "”",
    "(" * 50, "[" * 50, "`" * 40, "~" * 40, "<" * 40, "> " * 20, "- " * 30, '"' * 7, "\\" * 9, " " * 50, "&lt;",
]  # fmt: skip

FRAGMENTS = st.one_of(
    *map(st.sampled_from, (FENCES, CODE, PROSE, TAGS, CALLS, ODD)),
    st.text(st.characters(), max_size=8),
)
REPLIES = st.lists(FRAGMENTS, max_size=25).map("".join)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5) | REPLIES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["code", "input", "answer", "name", "x", "not a name"]), JSON, max_size=2)
NAMES = st.sampled_from(["python", "repl", "bash", "final_answer", "FINAL_VAR", "llm_query", "", "a b", "\ud800"])
IDS = st.none() | st.text(st.characters(), max_size=4)
TOOL_CALLS = st.fixed_dictionaries({"name": NAMES, "args": ARGUMENTS, "id": IDS})
INVALID_CALLS = st.fixed_dictionaries({"name": st.none() | NAMES, "args": st.none() | REPLIES, "id": IDS})
BLOCKS = st.one_of(
    REPLIES,
    REPLIES.map(lambda text: {"type": "text", "text": text}),
    REPLIES.map(lambda text: {"type": "thinking", "thinking": text}),
    st.dictionaries(st.sampled_from(["type", "text", "x"]), JSON, max_size=3),
)

thousand = settings(
    max_examples=1000, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
hundreds = settings(thousand, max_examples=200)


def check(reply: Reply) -> None:
    """What holds for every reply: it is exactly one of code, an answer and a correction, and it can be stored."""
    assert bool(reply.cells) + (reply.final is not None) + (reply.problem is not None) == 1
    assert all(cell.code.strip() for cell in reply.cells)
    assert all(call.cell is None or 0 <= call.cell < len(reply.cells) for call in reply.tool_calls)
    assert Reply.model_validate_json(reply.model_dump_json()).cells == reply.cells


@thousand
@given(REPLIES)
def test_any_text_is_read_and_read_the_same_again(text: str) -> None:
    reply = parse(AIMessage(content=text))

    check(reply)
    assert parse(AIMessage(content=text)) == reply


@hundreds
@given(st.lists(BLOCKS, max_size=4), st.lists(TOOL_CALLS, max_size=2), st.lists(INVALID_CALLS, max_size=2))
def test_any_message_is_read(content: list[Any], calls: list[Any], invalid: list[Any]) -> None:
    message = AIMessage.model_construct(content=content, tool_calls=calls, invalid_tool_calls=invalid)

    reply = parse(message, variables=["x", "hits"])

    check(reply)
    assert len(reply.tool_calls) == len(calls) + len(invalid)


@thousand
@given(st.lists(st.sampled_from([*FENCES, *CODE, *PROSE[:8]]), max_size=25).map("".join))
def test_every_line_of_a_cell_stands_in_the_reply(text: str) -> None:
    reply = parse(AIMessage(content=text))

    for cell in reply.cells:
        claimed = cell.code.startswith("FINAL_VAR(")
        assert claimed or all(line.strip() in text for line in cell.code.splitlines())


@hundreds
@given(REPLIES)
def test_nothing_within_a_draft_is_taken(text: str) -> None:
    reply = parse(AIMessage(content=f"<think>\n{text.replace('think', 'th')}\n</think>\nFINAL(answer)"))

    assert reply.cells == ()
    assert reply.final is not None
    assert reply.final.value == "answer"


@hundreds
@given(REPLIES)
def test_nothing_within_a_block_quote_is_taken(text: str) -> None:
    quoted = "\n".join(f"> {line}" for line in text.replace("\r", "\n").split("\n"))

    reply = parse(AIMessage(content=quoted))

    assert reply.cells == ()
    assert reply.final is None


@hundreds
@given(st.text("ab ()#\\\"'`~\n=:", max_size=60))
def test_a_fence_longer_than_any_in_the_code_brings_the_code_back_as_it_was(rest: str) -> None:
    code = f"x = 1\n{rest}".rstrip()

    reply = parse(AIMessage(content=f"{'`' * 70}repl\n{code}\n{'`' * 70}"))

    assert [cell.code for cell in reply.cells] == [code]


UNITS = [
    "`", "```\n", "```repl\n", "```repl\nx = '''\n```\n", "<", "<think>", "x <think>\n", "</think>",
    "<think>a</think>", "(", "[", "FINAL(", "FINAL(\n", 'FINAL("\n', 'FINAL("a") b\n', "FINAL:\n", "> ", "- ",
    "- a\n", "  - a\n", '"""', "'", "<tool_call>", "x <tool_call>", '<invoke name="python">',
    '<parameter name="code">', "<code>a", "[TOOL_CALLS]", "\\", " ", '{"a":', "&lt;", "<helpers>\n",
    "<arg_key>a</arg_key><arg_value>", "\u200b", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_work_grows_in_proportion_to_the_length(unit: str) -> None:
    small, large = _work(unit, 5_000), _work(unit, 20_000)

    assert large < 6 * small + 2_000


@pytest.mark.parametrize("unit", ["`", "<", "(", "FINAL(", "<think>", '"""', "[", "> ", "x <tool_call>", 'FINAL("\n'])
def test_a_reply_of_a_megabyte_is_read(unit: str) -> None:
    check(parse(AIMessage(content=unit * (1_000_000 // len(unit)))))


def test_searches_that_find_nothing_are_given_up_after_some_times_the_length() -> None:
    closed = "FINAL(x)"
    text = "FINAL(\n" * 1_000 + closed
    lookahead = Lookahead(text)

    for start in range(0, len(text) - len(closed), len("FINAL(\n")):
        claim(text, start, lookahead, ())

    assert lookahead.left == 0
    assert isinstance(claim(text, len(text) - len(closed), Lookahead(text), ()), tuple)
    assert claim(text, len(text) - len(closed), lookahead, ()) is None


def _work(unit: str, length: int) -> int:
    """Count the calls, of Python and of C, that reading `length` characters of `unit` takes."""
    message = AIMessage(content=unit * (length // len(unit)))
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        parse(message)
    finally:
        sys.setprofile(previous)
    return calls
