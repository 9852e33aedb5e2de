"""REPLs that outlive those who use them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from rlm_graph.errors import ExecutorError
from rlm_graph.executors.base import CallResult, Executor, HostCall
from rlm_graph.executors.conformance.notebook import Host, Notebook, Notebooks, until

NAME = "0123456789abcdef"


class HostThatMayDie:
    """Answers the prompts that it is told to, with their text and its own name; leaves the others open."""

    def __init__(self, name: str, answers: str) -> None:
        self.name = name
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, call: HostCall) -> CallResult:
        prompt = str(call.arguments["prompt"])
        self.asked.append(prompt)
        if prompt not in self.answers:
            await asyncio.Event().wait()
        return CallResult(value=f"{prompt}{self.name}")


@pytest.mark.asyncio
class LifetimeBehaviours(Notebooks):
    """A REPL is found again by its handle, where it was left."""

    async def test_a_repl_is_found_again_by_its_handle(self, executor: Executor) -> None:
        async with executor.attached(None) as repl:
            await Notebook(repl).run("x = 41")
        async with executor.attached(repl.handle) as again:
            found = await Notebook(again).run("x")
        await executor.close(repl.handle)

        assert again.handle == repl.handle
        assert found.number == 2
        assert found.value == "41"

    async def test_a_repl_is_found_again_by_its_name(self, executor: Executor) -> None:
        async with executor.attached(None, name=NAME) as repl:
            await Notebook(repl).run("x = 41")
        async with executor.attached(None, name=NAME) as again:
            found = await Notebook(again).run("x")
        await executor.close(repl.handle)

        assert repl.handle.id == NAME
        assert again.handle == repl.handle
        assert found.value == "41"

    async def test_those_who_ask_for_a_name_at_once_get_one_repl(self, executor: Executor) -> None:
        async def attach(n: int) -> str | None:
            async with executor.attached(None, name=NAME) as repl:
                return (await Notebook(repl).run("import os\nos.getpid()", number=1)).value

        values = await asyncio.gather(*(attach(n) for n in range(4)))
        async with executor.attached(None, name=NAME) as repl:
            await executor.close(repl.handle)

        assert len(set(values)) == 1

    async def test_a_repl_that_is_gone_is_replaced_by_a_fresh_one(self, executor: Executor) -> None:
        async with executor.attached(None) as repl:
            await Notebook(repl).run("x = 41")
        await executor.close(repl.handle)

        async with executor.attached(repl.handle) as fresh:
            assert fresh.cells_done == 0
            assert fresh.handle != repl.handle
            assert (await Notebook(fresh).run("'x' in globals()")).value == "False"
        await executor.close(fresh.handle)

    async def test_closing_twice_is_closing_once(self, executor: Executor) -> None:
        async with executor.attached(None) as repl:
            pass
        await executor.close(repl.handle)
        await executor.close(repl.handle)

    async def test_a_cell_that_has_ended_is_not_run_again(self, notebook: Notebook) -> None:
        host = Host(lambda call: "paid")
        first = await notebook.run("n = 1\nprint(llm_query('p'))", serve=host)
        await notebook.run("n += 1\nn", number=2)

        again = await notebook.run("n = 1\nprint(llm_query('p'))", serve=host, number=1)

        assert again == first
        assert len(host.calls) == 1
        assert (await notebook.run("n", number=3)).value == "2"

    async def test_another_cell_under_a_taken_number_is_refused_and_empties_the_repl(self, notebook: Notebook) -> None:
        await notebook.run("x = 1")

        with pytest.raises(ExecutorError, match="run its cells again"):
            await notebook.run("x = 2", number=1)

        assert (await notebook.run("'x' in globals()", number=1)).value == "False"

    async def test_a_cell_goes_on_without_its_host_and_is_joined(self, executor: Executor) -> None:
        first, second = HostThatMayDie("1", "a"), HostThatMayDie("2", "abc")
        code = "print(llm_query('a'), llm_query('b'), llm_query('c'), llm_query('c'))"
        async with executor.attached(None) as repl:
            running = asyncio.create_task(Notebook(repl).run(code, serve=first))
            await until(lambda: first.asked == ["a", "b"])
            running.cancel()
            await asyncio.wait({running})
        async with executor.attached(repl.handle) as again:
            joined = await Notebook(again).run(code, serve=second)
        await executor.close(repl.handle)

        assert joined.stdout == "a1 b2 c2 c2\n"
        assert second.asked == ["b", "c", "c"]
        assert joined.calls == 4

    async def test_of_several_calls_only_those_without_an_answer_come_again(self, executor: Executor) -> None:
        first, second = HostThatMayDie("1", "acexyz"), HostThatMayDie("2", "abcdef")
        # Those who have their answer say so with a call of their own.
        ask = "def ask(p):\n    reply = llm_query(p)\n    if p in 'ace': llm_query({'a': 'x', 'c': 'y', 'e': 'z'}[p])\n"
        code = f"from concurrent.futures import ThreadPoolExecutor as Pool\n{ask}    return reply\n"
        code += "with Pool(6) as pool:\n    print(*pool.map(ask, 'abcdef'))"
        async with AsyncExitStack() as stack:
            async with executor.attached(None) as repl:
                stack.push_async_callback(executor.close, repl.handle)
                running = asyncio.create_task(Notebook(repl).run(code, serve=first))
                await until(lambda: sorted(first.asked) == list("abcdefxyz"))
                running.cancel()
                await asyncio.wait({running})
            async with executor.attached(repl.handle) as again:
                second.answers += "xyz"
                joined = await Notebook(again).run(code, serve=second)

        assert joined.stdout == "a1 b2 c1 d2 e1 f2\n"
        assert set("bdf") <= set(second.asked) <= set("bdfxyz")

    async def test_an_exception_of_the_host_leaves_and_the_cell_can_be_joined(self, notebook: Notebook) -> None:
        class AskAPerson(Exception):
            pass

        async def interrupted(call: HostCall) -> CallResult:
            raise AskAPerson

        code = "reply = llm_query('ask')\nprint(reply)"

        with pytest.raises(AskAPerson):
            await notebook.run(code, serve=interrupted)
        joined = await notebook.run(code, serve=Host(lambda call: "answered"), number=1)

        assert joined.stdout == "answered\n"

    async def test_calls_under_way_are_finished_when_another_raises(self, notebook: Notebook) -> None:
        class AskAPerson(Exception):
            pass

        arrived: list[str] = []
        raised = asyncio.Event()

        async def interrupted(call: HostCall) -> CallResult:
            prompt = str(call.arguments["prompt"])
            arrived.append(prompt)
            await until(lambda: len(arrived) == 2)
            if prompt == "ask":
                raised.set()
                raise AskAPerson
            await raised.wait()
            await asyncio.sleep(0.05)
            return CallResult(value="paid for")

        code = "from concurrent.futures import ThreadPoolExecutor as Pool\n"
        code += "with Pool(2) as pool:\n    print(*pool.map(llm_query, ['ask', 'pay']))"

        with pytest.raises(AskAPerson):
            await notebook.run(code, serve=interrupted)
        host = Host(lambda call: "asked")
        joined = await notebook.run(code, serve=host, number=1)

        assert joined.stdout == "asked paid for\n"
        assert [call.arguments for call in host.calls] == [{"prompt": "ask"}]

    async def test_twenty_repls_at_once_stay_apart(self, executor: Executor) -> None:
        async def one(n: int) -> tuple[str, str]:
            host = Host(lambda call: f"{call.arguments['prompt']} for {n}")
            async with executor.attached(None) as repl:
                notebook = Notebook(repl)
                await notebook.run(f"mine = {n}")
                printed = await notebook.run("for _ in range(20): print(llm_query(f'{mine}'))", serve=host)
                shown = await notebook.run("mine")
            await executor.close(repl.handle)
            return printed.stdout, str(shown.value)

        outcomes = await asyncio.gather(*(one(n) for n in range(20)))

        assert outcomes == [(f"{n} for {n}\n" * 20, str(n)) for n in range(20)]
