"""Python, as a notebook runs it."""

from __future__ import annotations

import textwrap

import pytest

from rlm_graph.executors.conformance.notebook import Notebook, Notebooks


@pytest.mark.asyncio
class LanguageBehaviours(Notebooks):
    """Normal Python works."""

    async def test_the_last_expression_is_shown_once(self, notebook: Notebook) -> None:
        shown = await notebook.run("x = 20\nx + 1")
        printed = await notebook.run("print(x)")

        assert (shown.value, shown.stdout) == ("21", "")
        assert (printed.value, printed.stdout) == (None, "20\n")

    async def test_functions_see_names_that_are_bound_later(self, notebook: Notebook) -> None:
        await notebook.run("def later():\n    return defined_later")
        await notebook.run("defined_later = 'yes'")

        assert (await notebook.run("later()")).value == "'yes'"

    async def test_global_changes_a_variable_of_the_namespace(self, notebook: Notebook) -> None:
        await notebook.run("count = 0\ndef add():\n    global count\n    count += 1")

        assert (await notebook.run("add(); add()\ncount")).value == "2"

    async def test_comprehensions_in_a_cell_see_its_variables(self, notebook: Notebook) -> None:
        assert (
            await notebook.run("words = ['a', 'b']\n[[w + v for w in words] for v in words][1]")
        ).value == "['ab', 'bb']"

    async def test_a_failed_cell_keeps_what_it_assigned_and_tells_the_line(self, notebook: Notebook) -> None:
        failed = await notebook.run("kept = 1\n\nkept / 0\nlost = 2")
        after = await notebook.run("kept, 'lost' in globals()")

        assert failed.status == "error"
        assert failed.error is not None
        assert (failed.error.type, failed.error.line) == ("ZeroDivisionError", 3)
        assert after.value == "(1, False)"

    async def test_a_traceback_shows_the_code_of_all_cells_and_nothing_else(self, notebook: Notebook) -> None:
        await notebook.run("import json\ndef parse(text):\n    return json.loads(text)")

        error = (await notebook.run("x = 1\nparse('{')")).error

        assert error is not None
        assert error.line == 2
        assert "<cell 1>" in error.traceback
        assert "return json.loads(text)" in error.traceback
        assert "parse('{')" in error.traceback
        assert "json/decoder" not in error.traceback
        assert "rlm_graph" not in error.traceback

    async def test_a_syntax_error_tells_its_line_and_runs_nothing(self, notebook: Notebook) -> None:
        failed = await notebook.run("ran = True\nif ran\n    pass")
        after = await notebook.run("'ran' in globals()")

        assert failed.error is not None
        assert (failed.error.type, failed.error.line) == ("SyntaxError", 2)
        assert after.value == "False"

    async def test_the_cause_of_an_error_is_told_too(self, notebook: Notebook) -> None:
        code = "try:\n    {}['k']\nexcept KeyError as error:\n    raise ValueError('wrapped') from error"

        error = (await notebook.run(code)).error

        assert error is not None
        assert error.type == "ValueError"
        assert "KeyError: 'k'" in error.traceback

    async def test_classes_belong_to_main(self, notebook: Notebook) -> None:
        await notebook.run(
            "import dataclasses, pickle\n@dataclasses.dataclass\nclass Point:\n    x: int\n    y: int = 2"
        )

        same = await notebook.run("Point.__module__, pickle.loads(pickle.dumps(Point(1))) == Point(1)")
        main = await notebook.run("if __name__ == '__main__':\n    print('main')")

        assert same.value == "('__main__', True)"
        assert main.stdout == "main\n"

    async def test_cells_can_await(self, notebook: Notebook) -> None:
        awaited = await notebook.run("import asyncio\nasync def f():\n    return 7\nx = await f()\nx + await f()")
        gathered = await notebook.run("await asyncio.gather(f(), f())")
        code = """
            import contextlib
            @contextlib.asynccontextmanager
            async def opened():
                yield [1, 2]
            async def each(items):
                for item in items:
                    yield item
            async with opened() as items:
                async for item in each(items):
                    print(item)
            [item async for item in each([3])]
        """
        iterated = await notebook.run(textwrap.dedent(code))

        assert awaited.value == "14"
        assert gathered.value == "[7, 7]"
        assert (iterated.stdout, iterated.value) == ("1\n2\n", "[3]")

    async def test_what_awaits_in_one_cell_lives_on_in_the_next(self, notebook: Notebook) -> None:
        await notebook.run(
            "import asyncio\nqueue = asyncio.Queue()\ntask = asyncio.create_task(queue.get())\nawait asyncio.sleep(0)"
        )

        assert (await notebook.run("await queue.put('told')\nawait task")).value == "'told'"

    async def test_asyncio_run_works_where_nothing_awaits(self, notebook: Notebook) -> None:
        code = "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 'ran'\nasyncio.run(f())"

        assert (await notebook.run(code)).value == "'ran'"
        assert (await notebook.run("await f()")).value == "'ran'"

    async def test_future_features_hold_for_later_cells(self, notebook: Notebook) -> None:
        await notebook.run("from __future__ import annotations")

        assert (await notebook.run("def f(x: NotDefined): ...\nf.__annotations__['x']")).value == "'NotDefined'"

    async def test_leaving_python_ends_the_cell_and_not_the_repl(self, notebook: Notebook) -> None:
        await notebook.run("kept = 'here'")

        for code in ("import sys\nsys.exit(3)", "exit()", "quit()", "raise SystemExit"):
            error = (await notebook.run(code)).error
            assert error is not None
            assert error.type == "SystemExit"
            assert "FINAL" in error.message

        assert (await notebook.run("kept")).value == "'here'"

    async def test_nobody_answers_input(self, notebook: Notebook) -> None:
        error = (await notebook.run("name = input('Your name? ')")).error

        assert error is not None
        assert "input()" in error.message

    async def test_endless_recursion_is_an_error(self, notebook: Notebook) -> None:
        error = (await notebook.run("def f(n):\n    return f(n + 1)\nf(0)")).error

        assert error is not None
        assert error.type == "RecursionError"
        assert len(error.traceback) < 5_000

    async def test_errors_that_cannot_tell_themselves_are_told_of(self, notebook: Notebook) -> None:
        code = "class Odd(Exception):\n    def __str__(self):\n        raise RuntimeError('no words')\nraise Odd"

        error = (await notebook.run(code)).error

        assert error is not None
        assert (error.type, error.line) == ("Odd", 4)

    async def test_names_of_ours_can_be_bound_anew(self, notebook: Notebook) -> None:
        await notebook.run("context = 'mine'\nFINAL = None")

        assert (await notebook.run("context, FINAL")).value == "('mine', None)"
        assert {variable.name for variable in await notebook.repl.variables()} >= {"context", "FINAL"}

    async def test_variables_are_listed_with_type_size_and_beginning(self, notebook: Notebook) -> None:
        await notebook.run("import re\nwords = ['a'] * 3\n_private = 1\nbig = 'x' * 10_000\ndef f(): ...\nn = 5")
        await notebook.run("class Slow:\n    def __repr__(self):\n        while True: pass\nslow = Slow()\nslow.n = 1")

        found = {variable.name: variable for variable in await notebook.repl.variables()}

        assert set(found) == {"words", "big", "f", "n", "Slow", "slow"}
        assert (found["words"].type, found["words"].size, found["words"].preview) == ("list", 3, "['a', 'a', 'a']")
        assert found["big"].size == 10_000
        assert len(found["big"].preview) <= 80
        assert found["slow"].type == "Slow"

    async def test_show_vars_lists_them_for_the_model(self, notebook: Notebook) -> None:
        await notebook.run("total = 41")

        assert (await notebook.run("SHOW_VARS()")).value == "total: int = 41"
        assert (await notebook.run("print(SHOW_VARS())")).stdout == "total: int = 41\n"
