"""How code gives the answer."""

from __future__ import annotations

import textwrap

import pytest
from pydantic import JsonValue

from rlm_graph.executors.conformance.notebook import Notebook, Notebooks

VALUES: list[tuple[str, JsonValue, bool]] = [
    ("'text \\ud800 \\r\\n'", "text \ud800 \r\n", True),
    ("[1, 2.5, None, True, 'é']", [1, 2.5, None, True, "é"], True),
    ("(1, (2,), range(3))", [1, [2], [0, 1, 2]], True),
    ("{3, 1, 2}", [1, 2, 3], True),
    ("{'b': {1: 'x', None: 2, (1, 2): 3}}", {"b": {"1": "x", "None": 2, "(1, 2)": 3}}, True),
    ("[float('nan'), float('inf'), -float('inf')]", ["NaN", "Infinity", "-Infinity"], True),
    ("__import__('datetime').datetime(2024, 5, 6, 7, 8)", "2024-05-06T07:08:00", True),
    ("__import__('datetime').date(2024, 5, 6)", "2024-05-06", True),
    ("__import__('decimal').Decimal('1.10')", "1.10", True),
    ("__import__('collections').Counter('aab')", {"a": 2, "b": 1}, True),
    ("__import__('collections').namedtuple('P', 'x y')(1, 2)", [1, 2], True),
    ("__import__('http').HTTPStatus.OK", 200, True),
    ("2 ** 64 - 1", 2**64 - 1, True),
    ("2 ** 64", "18446744073709551616", False),
    ("{1: 'a', '1': 'b'}", {"1": "b"}, False),
    ("1j", "1j", False),
    ("b'raw'", "b'raw'", False),
]


@pytest.mark.asyncio
class AnswerBehaviours(Notebooks):
    """FINAL ends the cell with the answer, as JSON."""

    async def test_final_ends_the_cell_at_once(self, notebook: Notebook) -> None:
        execution = await notebook.run("print('before')\nFINAL('answer')\nprint('after')")

        assert execution.status == "final"
        assert execution.stdout == "before\n"
        assert execution.final is not None
        assert (execution.final.value, execution.final.exact, execution.final.via) == ("answer", True, "FINAL")

    @pytest.mark.parametrize("handler", ["except Exception:", "except:", "finally:"])
    async def test_no_handler_keeps_the_answer_back(self, notebook: Notebook, handler: str) -> None:
        code = f"""
            def give():
                FINAL('first')
            try:
                give()
            {handler}
                x = 1
            try:
                FINAL('second')
            except:
                pass
        """

        execution = await notebook.run(textwrap.dedent(code))

        assert execution.status == "final"
        assert execution.final is not None
        assert execution.final.value == "first"

    @pytest.mark.parametrize("code", ["await give()", "asyncio.run(give())", "await asyncio.gather(give(), give())"])
    async def test_coroutines_give_the_answer_too(self, notebook: Notebook, code: str) -> None:
        await notebook.run("import asyncio\nasync def give():\n    FINAL(1)")

        assert (await notebook.run(code)).status == "final"

    async def test_a_thread_gives_the_answer_too(self, notebook: Notebook) -> None:
        code = "import threading\nt = threading.Thread(target=FINAL, args=(1,))\nt.start()\nt.join()"

        execution = await notebook.run(code)

        assert execution.status == "final"
        assert execution.stderr == ""

    async def test_the_repl_lives_on_after_an_answer(self, notebook: Notebook) -> None:
        await notebook.run("x = 1\nFINAL(x)")

        assert (await notebook.run("x")).value == "1"

    @pytest.mark.parametrize(("code", "value", "exact"), VALUES, ids=[code for code, _, _ in VALUES])
    async def test_an_answer_is_what_json_holds(
        self, notebook: Notebook, code: str, value: JsonValue, exact: bool
    ) -> None:
        final = (await notebook.run(f"FINAL({code})")).final

        assert final is not None
        assert (final.value, final.exact) == (value, exact)

    async def test_dataclasses_become_objects_and_what_holds_itself_its_repr(self, notebook: Notebook) -> None:
        code = """
            import dataclasses
            @dataclasses.dataclass
            class Point:
                x: int
                of: object
            loop = []
            loop.append(loop)
            FINAL([Point(1, Point(2, None)), loop])
        """

        final = (await notebook.run(textwrap.dedent(code))).final

        assert final is not None
        assert final.value == [{"x": 1, "of": {"x": 2, "of": None}}, ["[[...]]"]]
        assert not final.exact

    async def test_final_var_takes_a_name_or_a_value(self, notebook: Notebook) -> None:
        await notebook.run("result = {'n': [1, 2]}\ntext = 'Paris'")
        await notebook.run("def inner():\n    local = 'from inside'\n    FINAL_VAR('local')")

        for code, value in (
            ("FINAL_VAR('result')", {"n": [1, 2]}),
            ("FINAL_VAR(result)", {"n": [1, 2]}),
            ("FINAL_VAR(text)", "Paris"),
            ("FINAL_VAR('two words')", "two words"),
            ("inner()", "from inside"),
        ):
            final = (await notebook.run(code)).final
            assert final is not None
            assert (final.value, final.via) == (value, "FINAL_VAR")

    async def test_final_var_of_an_unknown_name_lists_those_there_are(self, notebook: Notebook) -> None:
        await notebook.run("result = 1\nother = 2")

        execution = await notebook.run("FINAL_VAR('resutl')")

        assert execution.status == "error"
        assert execution.error is not None
        assert execution.error.type == "NameError"
        assert "result, other" in execution.error.message

    async def test_fifty_megabytes_of_answer_arrive_whole(self, notebook: Notebook) -> None:
        final = (await notebook.run("FINAL(['é漢😀' * 1000 + str(i) for i in range(5_600)])")).final

        assert final is not None
        assert final.value == ["é漢😀" * 1000 + str(i) for i in range(5_600)]

    async def test_the_answer_dict_gives_the_answer_when_the_cell_has_ended(self, notebook: Notebook) -> None:
        drafted = await notebook.run("answer['content'] = 'draft'")
        given = await notebook.run("answer['ready'] = True\nanswer['content'] = 'whole'")
        after = await notebook.run("1")

        assert drafted.final is None
        assert given.final is not None
        assert (given.status, given.final.value, given.final.via) == ("final", "whole", "answer")
        assert after.status == "ok"
