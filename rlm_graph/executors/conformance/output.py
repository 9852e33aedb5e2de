"""What cells print."""

from __future__ import annotations

import pytest

from rlm_graph.executors.conformance.notebook import Notebook, Notebooks


@pytest.mark.asyncio
class OutputBehaviours(Notebooks):
    """Output belongs to its REPL and survives as it came."""

    @pytest.mark.parametrize(
        "text",
        [
            "windows\r\nlines\r\n",
            "old\rmac",
            "separators\u2028and\u2029more\x85",
            "\x00\x1b[31m\ufeff",
            "😀 漢字 é",
            "\ud800 alone \udfff",
            "no newline at the end",
        ],
    )
    async def test_text_survives_as_it_was_printed(self, notebook: Notebook, text: str) -> None:
        execution = await notebook.run(f"import sys\n_ = sys.stdout.write({text!a})\n_ = sys.stderr.write({text!a})")

        assert (execution.stdout, execution.stderr) == (text, text)
        assert (execution.stdout_chars, execution.stderr_chars) == (len(text), len(text))

    async def test_the_two_streams_are_kept_apart(self, notebook: Notebook) -> None:
        execution = await notebook.run("import sys\nprint('out')\nprint('err', file=sys.stderr)")

        assert (execution.stdout, execution.stderr) == ("out\n", "err\n")

    async def test_what_other_code_writes_to_the_descriptors_counts(self, notebook: Notebook) -> None:
        execution = await notebook.run("import os\n_ = os.write(1, b'from below\\n')\n_ = os.write(2, b'\\xff')")

        assert execution.stdout == "from below\n"
        assert execution.stderr == "\N{REPLACEMENT CHARACTER}"

    async def test_a_flood_is_kept_with_its_head_and_tail_and_counted(self, notebook: Notebook) -> None:
        code = "print('first')\nfor i in range(400_000): print('é' * 9)\nprint('last')"

        execution = await notebook.run(code)

        assert execution.status == "ok"
        assert execution.stdout_chars == 4_000_000 + len("first\nlast\n")
        assert len(execution.stdout.encode()) < 1 << 21
        assert execution.stdout.startswith("first\nééé")
        assert execution.stdout.endswith("ééé\nlast\n")
        assert "\N{REPLACEMENT CHARACTER}" not in execution.stdout
        assert "characters cut" in execution.stdout

    async def test_output_before_an_error_is_kept(self, notebook: Notebook) -> None:
        execution = await notebook.run("print('before')\n1 / 0")

        assert execution.stdout == "before\n"

    async def test_each_cell_has_streams_that_work(self, notebook: Notebook) -> None:
        for spoiled in (
            "import sys, io\nsys.stdout = io.StringIO()\nsys.stderr = None",
            "sys.stdout.close()",
            "import os\nos.close(1)",
            "sys.stdout = 5",
        ):
            await notebook.run(spoiled)

            assert await notebook.printed("print('heard')") == "heard\n"

    async def test_a_long_value_is_shown_with_its_head_and_tail(self, notebook: Notebook) -> None:
        shown = await notebook.run("['x' * 50_000_000, list(range(1_000_000))]")

        assert shown.value is not None
        assert len(shown.value) < 300_000
        assert shown.value.startswith("['xxx")
        assert "more ...]" in shown.value

    async def test_a_value_whose_repr_fails_is_told_of(self, notebook: Notebook) -> None:
        execution = await notebook.run("class Odd:\n    def __repr__(self):\n        return 1 / 0\n[Odd()]")

        assert execution.value is not None
        assert "ZeroDivisionError" in execution.value
