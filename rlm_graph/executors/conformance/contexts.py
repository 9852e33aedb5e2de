"""The long input, and the ways to look into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import HostCall
from rlm_graph.executors.conformance.notebook import Host, Notebook, Notebooks, stored

TEXT = "first line\r\nsecond \u2028 line\n\ud800 alone 漢字 😀\n" * 3

Context = str | list[str] | dict[str, str]


async def give(notebook: Notebook, folder: Path, context: Context, number: int = 1) -> None:
    """Give the REPL a context, stored in `folder`."""
    await notebook.repl.add_context(number, stored(folder, context), folder=folder)


@pytest.mark.asyncio
class ContextBehaviours(Notebooks):
    """`context` is what was given, character by character."""

    @pytest.mark.parametrize("context", [TEXT, "", ["a", "", TEXT], [], {"a.txt": "x", "d/é 漢.md": TEXT}, {}])
    async def test_a_context_is_what_was_given(self, notebook: Notebook, tmp_path: Path, context: Context) -> None:
        await give(notebook, tmp_path / "context", context)

        same = await notebook.run(f"context == {context!a}, type(context).__name__, contexts == [context]")
        lengths = await notebook.run("text = ctx.slice()\nlen(text) == len(ctx) == lenP == lenP(), P is context")
        texts = context if isinstance(context, (str, list)) else context.values()

        assert same.value == f"(True, {type(context).__name__!r}, True)"
        assert lengths.value == "(True, True)"
        assert (await notebook.run("text")).value == repr("".join(texts))

    async def test_without_a_context_there_is_none(self, notebook: Notebook) -> None:
        nothing = await notebook.run("context, contexts, P, len(ctx), peek(), tail(), ctx.find('x')")

        assert nothing.value == "(None, [], None, 0, '', '', [])"

    async def test_a_context_is_no_variable_of_the_model(self, notebook: Notebook, tmp_path: Path) -> None:
        await give(notebook, tmp_path / "context", "text")

        assert await notebook.repl.variables() == []

    async def test_giving_is_idempotent_and_the_latest_is_the_context(self, notebook: Notebook, tmp_path: Path) -> None:
        await give(notebook, tmp_path / "one", "one")
        await give(notebook, tmp_path / "two", ["two"], 2)
        await give(notebook, tmp_path / "again", "one")

        assert (await notebook.run("context, contexts")).value == "(['two'], ['one', ['two']])"

    async def test_slices_count_characters_over_all_texts(self, notebook: Notebook, tmp_path: Path) -> None:
        await give(notebook, tmp_path / "context", {"a": "hello", "b": "", "c": "wörld"})

        sliced = await notebook.run("ctx.slice(3, 7), ctx.slice(-3), ctx.slice(stop=2), ctx.slice(4, 2)")
        within = await notebook.run("ctx.slice(1, 3, part='c'), peek(7), tail(2), ctx.names")
        unknown = await notebook.run("ctx.slice(part='z')")

        assert sliced.value == "('lowö', 'rld', 'he', '')"
        assert within.value == "('ör', 'hellowö', 'ld', ['a', 'b', 'c'])"
        assert unknown.error is not None
        assert unknown.error.type == "KeyError"

    async def test_finding_tells_the_text_the_place_and_what_is_around(
        self, notebook: Notebook, tmp_path: Path
    ) -> None:
        await give(notebook, tmp_path / "context", ["a cat sat", "no", "CAT."])

        found = await notebook.run("[tuple(m) for m in ctx.find('cat', ignore_case=True, around=2)]")
        regex = await notebook.run("[(m.part, m.match) for m in ctx.find(r'[cs]at', regex=True, limit=2)]")

        assert found.value == "[(0, 2, 'cat', 'a cat s'), (2, 0, 'CAT', 'CAT.')]"
        assert regex.value == "[(0, 'cat'), (0, 'sat')]"
        assert (await notebook.run("len(ctx.find('.')), ctx.find('zebra')")).value == "(1, [])"

    async def test_chunks_cover_everything_and_know_their_place(self, notebook: Notebook, tmp_path: Path) -> None:
        await give(notebook, tmp_path / "context", {"a": "abcdefg", "b": "l1\nl2\nl3\nl4\nl5"})

        chars = await notebook.run("[(c.part, c.offset, c) for c in ctx.chunk(4, 1, part='a')]")
        lines = await notebook.run("[(c.offset, c) for c in ctx.chunk(2, by='lines', part='b')]")
        pieces = await notebook.run("chunks = ctx.chunk(3)\n''.join(chunks) == ctx.slice(), len(chunks), chunks[-1]")

        assert chars.value == "[('a', 0, 'abcd'), ('a', 3, 'defg')]"
        assert lines.value == "[(0, 'l1\\nl2\\n'), (6, 'l3\\nl4\\n'), (12, 'l5')]"
        assert pieces.value == "(True, 8, 'l5')"
        assert (await notebook.run("ctx.chunk(5)[:1][0]")).value == "'abcde'"

    async def test_fifty_megabytes_of_every_script_arrive_whole(self, notebook: Notebook, tmp_path: Path) -> None:
        text = "plain é 漢字 😀\r\n" * 2_400_000
        await give(notebook, tmp_path / "context", text)

        facts = await notebook.run("len(context), context[-7:], context.count('漢'), ctx.find('😀', limit=3)[2].offset")

        assert len(text.encode()) > 50_000_000
        assert facts.value == f"({len(text)}, {text[-7:]!r}, 2400000, {text.index('😀') + 2 * len(text) // 2_400_000})"

    async def test_two_hundred_megabytes_arrive_whole(self, notebook: Notebook, tmp_path: Path) -> None:
        await give(notebook, tmp_path / "context", "0123456789abcde\n" * 12_500_000)

        facts = await notebook.run("len(context), context[-6:], context.count('\\n')")

        assert facts.value == r"(200000000, 'abcde\n', 12500000)"

    @pytest.mark.parametrize(
        ("code", "start", "stop"),
        [
            ("rlm_query('q', ctx.slice(7, 150_007))", 7, 150_007),
            ("rlm_query('q', list(ctx.chunk(100_000))[1])", 100_000, 200_000),
            ("rlm_query_batched(['q'], ctx.chunk(100_000)[2:3])", 200_000, 300_000),
            ("rlm_query('q', context)", 0, 3_200_000),
            ("rlm_query('q', ctx)", 0, 3_200_000),
            ("rlm_query('q', P[100:1_200_100])", 100, 1_200_100),
            ("llm_query(ctx.slice(7, 150_007))", 7, 150_007),
        ],
    )
    async def test_a_piece_of_the_context_is_handed_over_by_its_place(
        self, notebook: Notebook, tmp_path: Path, code: str, start: int, stop: int
    ) -> None:
        text = "".join(f"line {number:09}\n" + "-" * 17 for number in range(100_000))
        await give(notebook, tmp_path / "context", text)
        handed: list[object] = []

        def reply(call: HostCall) -> JsonValue:
            places = [each.text for each in call.handed]
            handed.extend(each.read() for each in places)
            if call.function == "llm_query":
                handed.append(call.arguments["prompt"])
            return [{"text": "answer"}] if call.function.endswith("_batched") else "answer"

        execution = await notebook.run(code, serve=Host(reply))

        assert execution.error is None
        assert handed == [text[start:stop]]

    @pytest.mark.parametrize(
        ("piece", "start", "stop"),
        [("ctx.slice(5, 200_005)", 5, 200_005), ("context[9:1_500_009]", 9, 1_500_009), ("context", 0, 1 << 40)],
    )
    async def test_a_piece_of_any_script_reaches_the_host_whole(
        self, notebook: Notebook, tmp_path: Path, piece: str, start: int, stop: int
    ) -> None:
        text = "".join(f"{number:x} é漢字😀\n" for number in range(250_000))
        await give(notebook, tmp_path / "context", text)
        given: list[object] = []

        def reply(call: HostCall) -> JsonValue:
            given.append(call.handed[0].text.read() if call.handed else call.arguments["context"])
            return "answer"

        execution = await notebook.run(f"rlm_query('q', {piece})", serve=Host(reply))

        assert execution.error is None
        assert given == [text[start:stop]]

    async def test_a_long_text_of_the_codes_own_reaches_the_host_whole(self, notebook: Notebook) -> None:
        given: list[object] = []

        def reply(call: HostCall) -> JsonValue:
            given.append(call.handed[0].text.read())
            return "answer"

        execution = await notebook.run("rlm_query('q', ['short', '漢é\\ud800' * 700_000])", serve=Host(reply))

        assert execution.error is None
        assert given == ["漢é\ud800" * 700_000]

    async def test_a_context_that_is_not_there_is_an_error_of_the_executor(
        self, notebook: Notebook, tmp_path: Path
    ) -> None:
        reference = stored(tmp_path / "context", "x")

        with pytest.raises(ExecutorError):
            await notebook.repl.add_context(1, reference, folder=tmp_path / "elsewhere")
        assert (await notebook.run("context is None")).value == "True"
