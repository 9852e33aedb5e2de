"""What is taken from a reply, form by form."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from rlm_graph.parsing import Reply, ToolRequest, parse
from rlm_graph.state import Cell


def read(text: str, **options: list[str]) -> Reply:
    return parse(AIMessage(content=text), **options)


def codes(text: str) -> list[str]:
    return [cell.code for cell in read(text).cells]


def answer(text: str) -> object:
    final = read(text).final
    assert final is not None, f"no answer was taken from {text!r}"
    return final.value


# Fences


@pytest.mark.parametrize(
    "label",
    [
        "repl",
        "python",
        "py",
        "Python3",
        "ipython",
        "REPL",
        "python title=x",
        "{.python}",
        "{python}",
        "tool_code",
        " repl",
    ],
)
def test_a_fence_of_any_python_label_is_a_cell(label: str) -> None:
    assert codes(f"Look:\n\n```{label}\nprint(1)\n```\nDone.") == ["print(1)"]


def test_cells_keep_their_order_and_the_prose_around_them_is_text() -> None:
    reply = read("First\n```repl\na = 1\n```\nthen\n~~~python\nb = 2\n~~~\n")

    assert [cell.code for cell in reply.cells] == ["a = 1", "b = 2"]
    assert reply.text == "First\n\nthen"
    assert reply.problem is None


@pytest.mark.parametrize(
    "reply",
    [
        "```repl\nx = 1\ny = 2",
        "```repl\nx = 1\ny = 2\n",
        "````repl\nx = 1\ny = 2\n````",
        "~~~ repl\nx = 1\ny = 2\n~~~~",
        "```repl\r\nx = 1\r\ny = 2\r\n```\r\n",
        "   ```repl\n   x = 1\n   y = 2\n   ```",
        "1. Do this:\n\n   ```repl\n   x = 1\n   y = 2\n   ```",
        "- ```repl\n  x = 1\n  y = 2\n  ```",
        "1. Do\n        ```repl\n        x = 1\n        y = 2\n        ```",
        "1. Do\n   ```repl\nx = 1\ny = 2\n   ```",
        "\t```repl\n\tx = 1\n\ty = 2\n\t```",
        "```repl\n    x = 1\n    y = 2\n```",
        "\u200b```repl\nx = 1\ny = 2\n```",
        "\ufeff\u200b```repl\nx\u200b = 1\ny\u00a0= 2\n```",
        "```repl\n>>> x = 1\n>>> y = 2\n```",
        "```repl\nx = 1\ny = 2\n```<|im_end|>",
        "Text\n```repl\nx = 1\ny = 2\n```\n</s>",
        "```repl\n\n\nx = 1\ny = 2\n\n\n```",
    ],
)
def test_a_cell_is_the_same_however_its_fence_is_written(reply: str) -> None:
    assert codes(reply) == ["x = 1\ny = 2"]


def test_a_fence_on_one_line_is_a_cell() -> None:
    assert codes("```repl print(1)```") == ["print(1)"]


def test_a_closing_fence_within_a_string_of_the_code_does_not_close() -> None:
    code = 'doc = """\n```\nnested\n```\n"""\nprint(doc)'

    assert codes(f"```repl\n{code}\n```\nDone.") == [code]
    assert codes(f"```repl\n{code}\n```\n```repl\nb = 1\n```") == [code, "b = 1"]


def test_a_string_that_is_never_closed_costs_its_own_cell_alone() -> None:
    assert codes('```repl\nx = """\n```\nprose\n```repl\ny = 1\n```') == ['x = """', "y = 1"]


def test_quotes_in_comments_and_strings_open_no_string() -> None:
    code = "# don't \"\"\"\nx = \"it's '''\"\ny = 'a\\'\"\"\"'"

    assert codes(f"```repl\n{code}\n```\ntext\n```repl\nz = 1\n```") == [code, "z = 1"]


def test_a_longer_fence_holds_shorter_ones() -> None:
    assert codes("````text\n```repl\nx = 1\n```\n````") == []


def test_a_fence_that_the_model_forgot_to_close_ends_where_the_next_begins() -> None:
    assert codes("```repl\nx = 1\n```repl\ny = 2\n```") == ["x = 1", "y = 2"]


def test_a_stray_fence_does_not_swallow_the_code_after_it() -> None:
    assert codes("```\n\nNow:\n```repl\nx = 1\n```") == ["x = 1"]


@pytest.mark.parametrize("language", ["json", "text", "js", "markdown", "sql", "xml"])
def test_other_languages_are_not_run_and_the_model_is_told_which(language: str) -> None:
    reply = read(f"```{language}\nprint(1)\n```")

    assert reply.cells == ()
    assert reply.problem is not None
    assert f"`{language}`" in reply.problem


@pytest.mark.parametrize("language", ["bash", "sh", "shell"])
def test_a_shell_fence_is_a_bash_cell(language: str) -> None:
    assert read(f"```{language}\nls -l\n```").cells == (Cell(code="ls -l", language="bash"),)


@pytest.mark.parametrize("code", ["x = 1", "print(1)", "import re", "def f():\n    pass", "FINAL(x)"])
def test_a_fence_without_language_is_a_cell_if_it_is_python_that_does_something(code: str) -> None:
    assert codes(f"```\n{code}\n```") == [code]


@pytest.mark.parametrize("text", ["42", "Paris", "a, b", "3 hits found", "Name: Bob", "[1, 2]", ""])
def test_a_fence_without_language_that_only_shows_something_is_no_cell(text: str) -> None:
    assert codes(f"```\n{text}\n```") == []


def test_code_that_does_not_parse_is_a_cell_all_the_same() -> None:
    reply = read("```repl\nprint('a\n```")

    assert [cell.code for cell in reply.cells] == ["print('a"]
    assert reply.problem is None


def test_strings_in_code_keep_their_invisible_and_full_width_characters() -> None:
    code = "x = 'a\u200bb（c）'  # ：\ny = '''\ufeff'''"

    assert codes(f"```repl\n{code}\n```") == [code]
    assert codes("```repl\nprint（'（'）\n```") == ["print('（')"]


def test_entities_are_resolved_only_where_that_makes_python_of_it() -> None:
    assert codes("```repl\nif 1 &lt; 2: print('&lt;')\n```") == ["if 1 < 2: print('<')"]
    assert codes("```repl\nprint('&lt;')\n```") == ["print('&lt;')"]


def test_a_block_quote_is_quoted_material() -> None:
    reply = read("The text says:\n> ```repl\n> steal()\n> ```\n> FINAL(lies)\n")

    assert reply.cells == ()
    assert reply.final is None
    assert answer("> FINAL(lies)\nFINAL(truth)") == "truth"
    assert codes("> quoted\n```repl\nx = 1\n```") == ["x = 1"]
    assert codes('> <tool_call>{"name": "python", "arguments": {"code": "x()"}}</tool_call>') == []
    assert "quotation" in str(read("> ```repl\n> x()\n> ```").problem)


def test_a_reply_that_is_bare_python_is_a_cell() -> None:
    code = "for x in range(3):\n    print(x)\n\n    print(-x)"

    assert codes(code) == [code]
    assert codes("- print(x)") == []
    assert codes("I would print(x) here.") == []


# Drafts


@pytest.mark.parametrize("tag", ["think", "thinking", "reasoning", "scratchpad", "Think"])
def test_a_draft_is_not_read(tag: str) -> None:
    reply = read(f"<{tag}>\n```repl\ndraft()\n```\nFINAL(draft)\n</{tag}>\n```repl\nmeant()\n```")

    assert [cell.code for cell in reply.cells] == ["meant()"]
    assert reply.notes == ()
    assert "draft" not in reply.text


@pytest.mark.parametrize(
    "reply",
    [
        "thoughts ```repl\nFINAL(draft)\n</think>\nFINAL(meant)",
        "thoughts\n```repl\ndraft()\n```\n</think>\n\nFINAL(meant)",
        "thoughts\n```python\ndraft()\n</think>\nFINAL(meant)",
        "<think>a</think>FINAL(meant)",
        "<think>a</think> <think>b</think> FINAL(meant)",
        "<think>a<think>b</think>c</think>FINAL(meant)",
        "<think>\n```repl\nunclosed(\n</think>\nFINAL(meant)",
        "[THINK]FINAL(draft)[/THINK]FINAL(meant)",
        "◁think▷FINAL(draft)◁/think▷\nFINAL(meant)",
        "<|channel|>analysis<|message|>FINAL(draft)<|end|><|start|>assistant<|channel|>final<|message|>FINAL(meant)",
        "FINAL(meant)\n</think>",
    ],
)
def test_what_follows_a_draft_is_read(reply: str) -> None:
    assert answer(reply) == "meant"


def test_a_draft_that_is_never_closed_takes_the_rest_and_the_model_is_told() -> None:
    reply = read("<think>\nLet me see.\n```repl\nx = 1\n```\nFINAL(3)")

    assert reply.cells == ()
    assert reply.final is None
    assert "thoughts" in str(reply.problem)


def test_a_tag_that_is_only_mentioned_opens_nothing() -> None:
    assert answer("`<think>` is a tag.\nFINAL(1)") == 1
    assert answer("The <reasoning> tag is odd.\nFINAL(1)") == 1
    assert codes("```repl\nx = 1\n```\nA `</think>` would end a draft.") == ["x = 1"]
    assert codes("```repl\nprint('<think>')\n```\n```repl\nb = 2\n```") == ["print('<think>')", "b = 2"]


def test_reasoning_that_the_provider_gives_apart_is_never_read() -> None:
    message = AIMessage(content="FINAL(1)", additional_kwargs={"reasoning_content": "```repl\nbad()\n```"})

    assert parse(message).cells == ()


# Answers in prose


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("FINAL(The answer)", "The answer"),
        ('FINAL("The answer")', "The answer"),
        ("FINAL('it''s')", "it''s"),
        ("So:\n\n  FINAL(42).", 42),
        ("FINAL(3.10)", "3.10"),
        ("FINAL(007)", "007"),
        ("FINAL(True)", True),
        ("FINAL(None)", None),
        ('FINAL({"a": [1, 2]})', {"a": [1, 2]}),
        ("FINAL({'a': (1)})", {"a": 1}),
        ("FINAL([1, 2])", [1, 2]),
        ("FINAL(the set {1, 2})", "the set {1, 2}"),
        ("FINAL(a (b) c)", "a (b) c"),
        ('FINAL("a) b (c")', "a) b (c"),
        ("FINAL(a) one b) two)", "a) one b) two"),
        ('FINAL("He said "yes" (twice)")', 'He said "yes" (twice)'),
        ('FINAL("see f("x") now")', 'see f("x") now'),
        ('FINAL("line 1\nline (2)\n")', "line 1\nline (2)\n"),
        ("FINAL(line 1\n\n- line (2)\n- don't\n)", "line 1\n\n- line (2)\n- don't"),
        ('FINAL("a\\nb \\"c\\" \\u00e9 \\d")', 'a\nb "c" é \\d'),
        ('FINAL(r"a\\nb")', "a\\nb"),
        ('FINAL("""a\n"b" c""")', 'a\n"b" c'),
        ("FINAL(“typographic”)", "typographic"),
        ("FINAL（答案是（四十二））。", "答案是（四十二）"),
        ("**FINAL**(yes)", "yes"),
        ("**FINAL(yes)**", "yes"),
        ("`FINAL(yes)`", "yes"),
        ("## FINAL(yes)", "yes"),
        ("FINAL: yes", "yes"),
        ("**FINAL:** yes", "yes"),
        ("Final Answer: yes", "yes"),
        ("FINAL ANSWER:\n- a\n- b", "- a\n- b"),
        ("FINAL(a)\nNo, rather:\nFINAL(b)", "b"),
        ("\u200bFINAL(yes)", "yes"),
        ("FINAL(```python\nx\n```)", "```python\nx\n```"),
        ('FINAL_VAR("The answer is 42")', "The answer is 42"),
        ("<final_answer>yes</final_answer>", "yes"),
        ("<answer>\nyes\n</answer>", "yes"),
        ('{"final_answer": "yes"}', "yes"),
    ],
)
def test_an_answer_in_prose_is_taken(reply: str, value: object) -> None:
    assert answer(reply) == value


@pytest.mark.parametrize(
    "reply",
    [
        "I will call FINAL(x) later.",
        "FINAL(x) is what I will call (later)",
        "FINAL(x) ends the run",
        "1. Look\n2. FINAL(answer)",
        "- FINAL(answer): to finish",
        '"FINAL(x)"',
        "The plan: FINAL: x",
        "FINAL()",
        "FINAL:",
        "FINAL",
        "FINALLY: x",
    ],
)
def test_a_mention_of_final_is_no_answer(reply: str) -> None:
    taken = read(reply)

    assert taken.final is None
    assert taken.cells == ()
    assert taken.problem is not None


def test_an_answer_that_was_cut_off_is_asked_for_again() -> None:
    assert "closes" in str(read("FINAL(The three reasons are: first").problem)
    assert "closes" in str(read('FINAL("The three reasons').problem)


def test_an_answer_beside_code_is_not_taken_and_the_model_is_told() -> None:
    for reply in ("```repl\nprint(1)\n```\nFINAL(1)", "FINAL(1)\n```repl\nprint(1)\n```"):
        taken = read(reply)

        assert taken.final is None
        assert [cell.code for cell in taken.cells] == ["print(1)"]
        assert "FINAL(...)" in taken.notes[0]


@pytest.mark.parametrize(
    "line", ["FINAL_VAR(hits)", 'FINAL_VAR("hits")', "**FINAL_VAR**('hits')", "FINAL_VAR(`hits`)."]
)
def test_final_var_in_prose_is_a_cell(line: str) -> None:
    assert codes(line) == ['FINAL_VAR("hits")']
    assert codes(f"```repl\nhits = 1\n```\n{line}") == ["hits = 1", 'FINAL_VAR("hits")']


def test_final_var_before_code_is_a_plan_and_not_taken() -> None:
    assert codes("FINAL_VAR(x)\n```repl\nx = 1\n```") == ["x = 1"]


def test_an_expression_over_names_of_the_repl_is_left_to_the_repl() -> None:
    assert read("FINAL(hits)", variables=["hits"]).cells == (Cell(code="FINAL(hits)"),)
    assert read('FINAL(", ".join(map(str, hits)))', variables=["hits"]).cells[0].code.startswith("FINAL(")
    assert read('FINAL(f"{n} hits")').cells == (Cell(code='FINAL(f"{n} hits")'),)
    assert read('FINAL_VAR(found["a"])').cells == (Cell(code='FINAL(found["a"])'),)
    assert answer("FINAL(hits)") == "hits"
    assert read("FINAL(Paris (France))", variables=["hits"]).final is not None


def test_final_in_code_is_code() -> None:
    for code in ('FINAL("x")', 'FINAL_VAR("x")', 'answer["content"] = 1\nanswer["ready"] = True'):
        assert codes(f"```repl\n{code}\n```") == [code]
        assert read(f"```repl\n{code}\n```").final is None


# Helpers and invented output


def test_helpers_run_before_the_cells() -> None:
    reply = (
        "```repl\nf()\n```\n<helpers>\ndef f(): pass\n</helpers>\n<helpers>\n```python\ndef g(): pass\n```\n</helpers>"
    )

    assert codes(reply) == ["def f(): pass", "def g(): pass", "f()"]


@pytest.mark.parametrize(
    "output",
    [
        "```output\n3\n```",
        "```tool_output\n3\n```",
        "Output:\n```\n3\n```",
        "**Output:**\n3",
        "Execution result: 3",
        "<tool_response>\n3\n</tool_response>",
        "<function_results>3</function_results>",
        "<output>\n3",
        "Observation: 3",
    ],
)
def test_code_after_invented_output_is_dropped_with_a_note(output: str) -> None:
    reply = read(f"```repl\na = 1\n```\n{output}\n\n```repl\nb = 2\n```\nFINAL_VAR(b)")

    assert [cell.code for cell in reply.cells] == ["a = 1"]
    assert any("was not the output of your code" in note for note in reply.notes)


def test_output_that_is_quoted_before_the_first_cell_drops_nothing() -> None:
    assert codes("The last output was:\n```output\n3\n```\nSo:\n```repl\nb = 2\n```") == ["b = 2"]


# Tool calls

A = "antml:"
TEXT_CALLS = {
    "claude": '<function_calls>\n<invoke name="python">\n<parameter name="code">CODE</parameter>\n</invoke>\n'
    "</function_calls>",
    "claude, prefixed": f'<{A}function_calls><{A}invoke name="repl"><{A}parameter name="code">\nCODE\n'
    f"</{A}parameter></{A}invoke></{A}function_calls>",
    "claude 2": "<function_calls><invoke><tool_name>python</tool_name><parameters><code>CODE</code></parameters>"
    "</invoke></function_calls>",
    "deepseek 3.2": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="python">\n'
    '<｜DSML｜parameter name="code" string="true">CODE</｜DSML｜parameter>\n'
    "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "deepseek 3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>python<｜tool▁sep｜>JSON<｜tool▁call▁end｜>"
    "<｜tool▁calls▁end｜>",
    "deepseek r1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>python\n```json\nJSON\n```"
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "minimax": '<minimax:tool_call>\n<invoke name="python">\n<parameter name="code">CODE</parameter>\n</invoke>\n'
    "</minimax:tool_call>",
    "hermes": '<tool_call>\n{"name": "python", "arguments": JSON}\n</tool_call>',
    "hermes, unclosed": 'I will look.\n<tool_call>{"name": "python", "arguments": JSON}',
    "hermes, within a line": 'I will look. <tool_call>{"name": "python", "arguments": JSON}</tool_call>',
    "hermes, in a fence": '```xml\n<tool_call>\n{"name": "python", "arguments": JSON}\n</tool_call>\n```',
    "qwen coder": "<tool_call>\n<function=python>\n<parameter=code>\nCODE\n</parameter>\n</function>\n</tool_call>",
    "qwen, json fence": '```json\n{"name": "python", "arguments": JSON}\n```',
    "glm": "<tool_call>python\n<arg_key>code</arg_key>\n<arg_value>CODE</arg_value>\n</tool_call>",
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.python:0<|tool_call_argument_begin|>JSON"
    "<|tool_call_end|><|tool_calls_section_end|>",
    "mistral": '[TOOL_CALLS] [{"name": "python", "arguments": JSON}]',
    "mistral 11": "[TOOL_CALLS]python[ARGS]JSON",
    "mistral small": "[TOOL_CALLS]python[CALL_ID]abc123[ARGS]JSON",
    "magistral": "[TOOL_CALLS]pythonJSON",
    "granite": '<|tool_call|>[{"name": "python", "arguments": JSON}]',
    "llama": '<|python_tag|>{"name": "python", "parameters": JSON}<|eom_id|>',
    "llama, code": "<|python_tag|>CODE<|eom_id|>",
    "llama, pythonic": "<|python_start|>[python(code=STRING)]<|python_end|>",
    "llama, call": "<|python_tag|>python.call(code=STRING)",
    "gemma": '<|tool_call>call:python{code:<|"|>CODE<|"|>}<tool_call|>',
    "gpt-oss": "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=python code"
    "<|message|>CODE<|call|>",
    "lm studio": '[TOOL_REQUEST]{"name": "python", "arguments": JSON}[END_TOOL_REQUEST]',
    "openai, as text": '{"tool_calls": 1}\n<tool_call>{"function": {"name": "python", "arguments": JSON}}</tool_call>',
    "bare json": '{"name": "python", "arguments": JSON}',
    "bare json, code": "JSON",
    "react json": '{"action": "python", "action_input": STRING}',
    "tag": "<python>\nCODE\n</python>",
    "tag and fence": "<execute_python>\n```python\nCODE\n```\n</execute_python>",
    "tag on one line": "<execute>print(1 &lt; 2)\nx = 1</execute>",
    "smolagents": "Thought: look\n<code>\nCODE\n</code>",
    "unclosed tag": "<repl>\nCODE",
}


@pytest.mark.parametrize("form", TEXT_CALLS)
def test_a_tool_call_written_as_text_is_a_cell(form: str) -> None:
    code = "print(1 < 2)\nx = 1"
    arguments = json.dumps({"code": code})

    text = TEXT_CALLS[form].replace("CODE", code).replace("JSON", arguments).replace("STRING", json.dumps(code))

    assert codes(text) == [code]


def test_several_tool_calls_in_text_are_several_cells() -> None:
    one = '<invoke name="python"><parameter name="code">a()</parameter></invoke>'

    assert codes(f"<function_calls>\n{one}\n{one.replace('a()', 'b()')}\n</function_calls>") == ["a()", "b()"]
    assert codes('[TOOL_CALLS]python{"code": "a()"}[TOOL_CALLS]python{"code": "b()"}') == ["a()", "b()"]


def test_a_call_of_another_tool_becomes_a_call_of_the_function_of_that_name() -> None:
    reply = '<tool_call>{"name": "llm_query", "arguments": {"prompt": "it\'s", "max_tokens": 5}}</tool_call>'

    assert codes(reply) == ['print(llm_query(prompt="it\'s", max_tokens=5))']


def test_a_shell_tool_is_a_bash_cell() -> None:
    reply = '<invoke name="bash"><parameter name="command">ls</parameter></invoke>'

    assert read(reply).cells == (Cell(code="ls", language="bash"),)


def test_a_tool_call_that_cannot_be_read_is_corrected() -> None:
    for reply in ("<tool_call>\nnonsense\n</tool_call>", '<tool_call>{"name": "python", "arguments": {"co'):
        taken = read(reply)

        assert taken.cells == ()
        assert "could not be read" in str(taken.problem)


def native(name: str, args: dict[str, object], content: str = "") -> Reply:
    return parse(AIMessage(content=content, tool_calls=[{"name": name, "args": args, "id": "call_1"}]))


@pytest.mark.parametrize("name", ["python", "repl", "execute", "run_code", "code_interpreter", "functions.python"])
@pytest.mark.parametrize("argument", ["code", "input", "source", "command", "anything"])
def test_a_native_tool_call_is_a_cell(name: str, argument: str) -> None:
    reply = native(name, {argument: "print(1)"})

    assert reply.cells == (Cell(code="print(1)"),)
    assert reply.tool_calls == (ToolRequest(id="call_1", name=name, cell=0),)
    assert reply.problem is None


def test_code_of_a_tool_call_that_the_text_holds_too_runs_once() -> None:
    reply = native("python", {"code": "print(1)"}, content="<helpers>\nx = 1\n</helpers>\n```repl\nprint(1)\n```")

    assert [cell.code for cell in reply.cells] == ["x = 1", "print(1)"]
    assert reply.tool_calls[0].cell == 1


def test_tool_calls_come_after_the_code_of_the_text() -> None:
    reply = native("python", {"code": "b()"}, content="```repl\na()\n```\nFINAL(draft)")

    assert [cell.code for cell in reply.cells] == ["a()", "b()"]
    assert reply.tool_calls[0].cell == 1
    assert reply.final is None


@pytest.mark.parametrize("name", ["final_answer", "FINAL", "submit"])
def test_a_tool_call_can_give_the_answer(name: str) -> None:
    reply = native(name, {"answer": {"total": 5}})

    assert reply.final is not None
    assert reply.final.value == {"total": 5}
    assert reply.tool_calls[0].cell is None
    assert native("final_var", {"name": "hits"}).cells == (Cell(code='FINAL_VAR("hits")'),)


def test_arguments_that_the_client_could_not_read_are_taken_as_code() -> None:
    def invalid(args: str) -> Reply:
        call = {"name": "python", "args": args, "id": "call_1", "error": "no JSON", "type": "invalid_tool_call"}
        return parse(AIMessage(content="", invalid_tool_calls=[call]))

    assert invalid("print(1)").cells == (Cell(code="print(1)"),)
    assert invalid("print(1)").tool_calls == (ToolRequest(id="call_1", name="python", cell=0, valid=False),)
    assert "could not be read" in str(invalid('{"code": "print(').problem)


# Whatever else a message may be


def test_text_blocks_are_one_text_and_other_blocks_are_not_read() -> None:
    message = AIMessage(
        content=[
            {"type": "thinking", "thinking": "```repl\ndraft()\n```"},
            {"type": "text", "text": "Let me look.\n```re"},
            {"type": "text", "text": "pl\nprint(1)\n```"},
            {"type": "tool_use", "id": "x", "name": "other", "input": {}},
            "```repl\nprint(2)\n```",
            {"type": "image", "data": "```repl\nno()\n```"},
            {"type": "unknown to us"},
        ]
    )

    assert [cell.code for cell in parse(message).cells] == ["print(1)", "print(2)"]


@pytest.mark.parametrize(
    "content", ["", "  \n ", [], [{"type": "thinking", "thinking": "x"}], "\u200b", "```repl\n\u200b\n```"]
)
def test_an_empty_reply_is_corrected(content: str | list[str | dict[str, str]]) -> None:
    reply = parse(AIMessage(content=content))

    assert reply.problem is not None
    assert reply.cells == ()


def test_content_of_no_known_type_is_an_empty_reply() -> None:
    contents: list[Any] = [None, 3, {"text": "FINAL(1)"}]

    for content in contents:
        assert parse(AIMessage.model_construct(content=content)).problem == parse(AIMessage(content="")).problem


def test_lone_surrogates_become_the_replacement_character() -> None:
    assert codes("```repl\nx = '\ud800'\n```") == ["x = '\ufffd'"]
    assert codes("```repl\nx = '\ud83d\ude00'\n```") == ["x = '\U0001f600'"]
    assert answer('FINAL("\\ud800")') == "\ufffd"
    assert native("python", {"code": "x = '\ud800'"}).cells == (Cell(code="x = '\ufffd'"),)
    given = native("submit", {"answer": ["\ud800"]}).final
    assert given is not None
    assert given.value == ["\ufffd"]


def test_a_problem_is_one_sentence_and_there_is_one_only_without_code_and_answer() -> None:
    for text in ("Hello.", "```js\nx\n```", "", "<think>x", "FINAL(", "> FINAL(x)"):
        problem = read(text).problem

        assert problem is not None
        assert problem.endswith(".")
        assert "\n" not in problem
    assert read("FINAL(1)").problem is None


def test_parsing_prints_no_warnings() -> None:
    code = (
        "from langchain_core.messages import AIMessage; from rlm_graph.parsing import parse\n"
        "for text in (r'```\\nprint(\"\\d\")\\n```', r'FINAL(\"\\d\")', r'<|python_tag|>python.call(code=\"\\d\")'):\n"
        "    parse(AIMessage(content=text.replace(chr(92) + 'n', chr(10))))"
    )

    result = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)

    assert "escape" not in result.stderr
