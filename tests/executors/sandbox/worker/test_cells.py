"""Cells and host calls without a process: what another kind of worker builds on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from rlm_graph.executors.sandbox.worker.calls import MAX_BATCH, MAX_UNANSWERED, BudgetExceeded, HostCalls, SubcallError
from rlm_graph.executors.sandbox.worker.cells import Cells
from rlm_graph.executors.sandbox.worker.namespace import Namespace


class Loopback:
    """A transport whose host answers at once."""

    def __init__(self, reply: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.reply = reply
        self.posted: list[dict[str, Any]] = []

    def post(self, call: dict[str, Any], sent: Iterable[bytes] = ()) -> Callable[[], dict[str, Any]]:
        self.posted.append(call)
        return lambda: self.reply(call)


class Bench:
    def __init__(self, reply: Callable[[dict[str, Any]], dict[str, Any]] = lambda call: {"value": "reply"}) -> None:
        self.transport = Loopback(reply)
        self.calls = HostCalls(self.transport)
        self.namespace = Namespace({"__name__": "__main__"}, self.calls)
        self.cells = Cells(self.namespace)
        self.number = 0

    def run(self, code: str, language: str = "python") -> dict[str, Any]:
        self.number += 1
        self.calls.open(self.number)
        outcome = self.cells.run(self.number, code, language)
        self.calls.close()
        return outcome


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_cell_tells_its_value_its_error_and_its_answer(bench: Bench) -> None:
    assert bench.run("x = 1\nx + 1") == {"status": "ok", "value": "2", "error": None, "final": None}
    assert bench.run("x / 0")["error"]["line"] == 1
    assert bench.run("FINAL_VAR('x')")["final"] == {"value": 1, "exact": True, "via": "FINAL_VAR"}
    assert bench.run("")["status"] == "ok"


@pytest.mark.parametrize(
    "code", ["\ud800", "x = '\0'", "(" * 1000, "raise BaseException('b')", "raise KeyboardInterrupt"]
)
def test_whatever_a_cell_does_is_told_and_not_raised(bench: Bench, code: str) -> None:
    outcome = bench.run(code)

    assert outcome["status"] == "error"
    assert outcome["error"]["type"]


def test_a_line_is_what_the_compiler_calls_one(bench: Bench) -> None:
    error = bench.run("a = '\u2028'\r\nb = 1\rc = 2\n1 / 0")["error"]

    assert error["line"] == 4
    assert "1 / 0" in error["traceback"]


def test_groups_of_errors_are_cut_to_the_cells_too(bench: Bench) -> None:
    error = bench.run(
        "import json\ntry:\n    json.loads('{')\nexcept Exception as e:\n    raise ExceptionGroup('g', [e])"
    )["error"]

    assert error["type"] == "ExceptionGroup"
    assert "decoder.py" not in error["traceback"]


def test_a_shell_runs_where_it_may(bench: Bench) -> None:
    assert bench.run("exit 3", "bash")["error"]["type"] == "CalledProcessError"
    assert bench.run("true", "bash")["status"] == "ok"


def test_calls_are_numbered_and_equal_ones_counted(bench: Bench) -> None:
    bench.run("llm_query('a'); llm_query('b'); llm_query('a'); llm_query('a', model='m')")
    bench.run("llm_query('a')")

    assert [(call["cell"], call["id"], call["nth"]) for call in bench.transport.posted] == [
        (1, 1, 0), (1, 2, 0), (1, 3, 1), (1, 4, 0), (2, 1, 0),
    ]  # fmt: skip


def test_no_call_leaves_between_cells(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="no cell is running"):
        bench.calls.ask("llm_query", {"prompt": "p"})
    assert bench.transport.posted == []


def test_calls_that_wait_are_bounded() -> None:
    release = threading.Event()
    bench = Bench(lambda call: {"value": release.wait(10)})
    bench.calls.open(1)
    threads = [threading.Thread(target=bench.calls.ask, args=("f", {})) for _ in range(MAX_UNANSWERED)]
    for thread in threads:
        thread.start()
    while len(bench.transport.posted) < MAX_UNANSWERED:
        threading.Event().wait(0.001)

    with pytest.raises(RuntimeError, match="use a batch"):
        bench.calls.ask("f", {})
    release.set()
    for thread in threads:
        thread.join()
    assert bench.calls.ask("f", {}) is True


def test_a_batch_whose_items_all_lack_budget_says_so() -> None:
    bench = Bench(lambda call: {"value": [{"error": "spent", "type": "BudgetExceeded"}] * 2})

    assert bench.run("llm_query_batched(['a', 'b'])")["error"]["type"] == "BudgetExceeded"


def test_a_long_batch_is_asked_in_parts_and_answered_as_one() -> None:
    asked: list[dict[str, Any]] = []

    def reply(call: dict[str, Any]) -> dict[str, Any]:
        asked.append(call["arguments"])
        return {"value": [{"text": question} for question in call["arguments"]["questions"]]}

    told = Bench(reply).run(f"len(set(rlm_query_batched([str(n) for n in range({2 * MAX_BATCH + 1})], model='m')))")

    assert told["value"] == str(2 * MAX_BATCH + 1)
    assert [len(part["questions"]) for part in asked] == [MAX_BATCH, MAX_BATCH, 1]
    assert {part["model"] for part in asked} == {"m"}


def test_a_long_batch_whose_lists_do_not_fit_is_not_asked_at_all(bench: Bench) -> None:
    told = bench.run(f"rlm_query_batched(['q'] * {MAX_BATCH + 1}, ['c'])")

    assert (told["error"]["type"], bench.transport.posted) == ("TypeError", [])


def test_errors_are_also_classes_of_the_namespace(bench: Bench) -> None:
    assert bench.namespace.names["BudgetExceeded"] is BudgetExceeded
    assert bench.namespace.names["SubcallError"] is SubcallError
    assert issubclass(BudgetExceeded, RuntimeError)
    assert issubclass(SubcallError, RuntimeError)


def test_tools_come_and_go_and_leave_what_code_has_bound(bench: Bench) -> None:
    bench.namespace.set_tools(["search(query, limit=10)", "plain"])
    bench.run("search('q', limit=2); plain(1, x=2)")
    bench.run("plain = 'mine'")
    bench.namespace.set_tools(["search(query)"])

    assert [call["arguments"] for call in bench.transport.posted] == [{"query": "q", "limit": 2}, {"args": [1], "x": 2}]
    assert bench.namespace.names["plain"] == "mine"
    assert "search(query)" in bench.namespace.names["search"].__doc__
    bench.namespace.set_tools([])
    assert "search" not in bench.namespace.names


def test_memory_asks_the_host_and_says_what_it_can_do() -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def answer(call: dict[str, Any]) -> dict[str, Any]:
        asked.append((call["function"], call["arguments"]))
        return {"value": [] if call["function"] == "rlm_recall" else "a key"}

    bench = Bench(answer)

    assert bench.run("memory")["value"].startswith("<memory: remember(")
    assert bench.run("memory.remember('text', colour='red'), memory.recall('x')")["value"] == "('a key', [])"
    assert asked == [
        ("rlm_remember", {"text": "text", "metadata": {"colour": "red"}}),
        ("rlm_recall", {"query": "x", "limit": 5}),
    ]


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("SUBMIT(42)", 42),
        ("SUBMIT(answer='x')", "x"),
        ("SUBMIT(answer='x', count=2)", {"answer": "x", "count": 2}),
        ("SUBMIT('a', 'b')", ["a", "b"]),
    ],
)
def test_an_answer_may_be_submitted_as_in_dspy(bench: Bench, code: str, value: object) -> None:
    assert bench.run(code)["final"] == {"value": value, "exact": True, "via": "FINAL"}
    assert bench.run("SUBMIT()")["error"]["type"] == "TypeError"
