"""Loops whose calls are begun ahead: code finds what it would find without that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from rlm_graph.executors.sandbox.worker.ahead import MAX_AHEAD
from rlm_graph.executors.sandbox.worker.calls import HostCalls
from rlm_graph.executors.sandbox.worker.cells import Cells
from rlm_graph.executors.sandbox.worker.namespace import Namespace


class Host:
    """Answers when it is waited for, and notes what was posted and what was waited for, in order."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.events: list[str] = []
        self.under_way = self.most = 0

    def post(self, call: dict[str, Any], sent: Iterable[bytes] = ()) -> Callable[[], dict[str, Any]]:
        self.posted.append(call)
        self.under_way += 1
        self.most = max(self.most, self.under_way)

        def wait() -> dict[str, Any]:
            self.under_way -= 1
            prompt = str(call["arguments"]["prompt"])
            self.events.append(prompt)
            if "fails" in prompt:
                return {"error": f"no reply to {prompt}", "error_type": "SubcallError"}
            return {"value": f"{prompt.upper()}:{call['nth']}"}

        return wait

    def may_begin_ahead(self) -> bool:
        return True


class Ran:
    """What one cell did, with so many calls ahead."""

    def __init__(self, code: str, *, ahead: int) -> None:
        self.host = Host()
        calls = HostCalls(self.host)
        names: dict[str, Any] = {"__name__": "__main__", "note": self.host.events.append}
        namespace = Namespace(names, calls)
        calls.open(1, ahead=ahead)
        self.outcome = Cells(namespace).run(1, code, "python")
        calls.close()
        self.unused = calls.begun.ids
        own = {*namespace.ours, "__builtins__", "note", "__name__"}
        self.names = {name: repr(value) for name, value in names.items() if name not in own}
        unused = set(self.unused)
        self.made = sorted(
            (str(call["arguments"]), call["nth"]) for call in self.host.posted if call["id"] not in unused
        )


PROMPTS = "prompts = [f'p{n % 40}' for n in range(50)]\n"
FORESEEN = {
    "a list": "answers = [llm_query(p) for p in prompts]",
    "the last expression": "[llm_query(p) for p in prompts]",
    "a set": "answers = sorted({llm_query(f'say {p}') for p in prompts})",
    "a dict": "answers = {p: llm_query('of ' + p, system='short') for p in prompts}",
    "list of a generator": "answers = list(llm_query(p) for p in prompts)",
    "a text of a generator": "answers = ', '.join(llm_query(p) for p in prompts)",
    "appended": "answers = []\nfor p in prompts:\n    answers.append(llm_query(p))",
    "assigned, printed and stored": (
        "answers = {}\nfor n, p in enumerate(prompts, 1):\n    told = f'{n:03d} {p!r}'\n    told += '?'\n"
        "    r = llm_query(prompt=told, max_tokens=n + 1)\n    answers[n] = r.strip()\n    print(n, len(r))"
    ),
    "by index": "answers = []\nfor i in range(0, len(prompts), 2):\n    answers += [llm_query(prompts[i][:3])]",
    "items of a dict": "answers = [(k, llm_query(v.strip())) for k, v in dict(enumerate(prompts)).items()]",
    "pairs": "for (a, b) in [(p, len(p)) for p in prompts]:\n    r = llm_query('{} {}'.format(a, b))",
    "inside of other blocks": (
        "answers = []\nif prompts:\n    try:\n        for part in (prompts[:20], prompts[20:]):\n"
        "            answers.append([llm_query(p) for p in part])\n    finally:\n        note('end')"
    ),
    "equal calls": "answers = [llm_query('same') for p in prompts]\nanswers.append(llm_query('same'))",
    "another name of it": "answers = [rlm_sub_complete(p) for p in prompts]",
    "a call that fails": "prompts[7] = 'fails'\nanswers = []\nfor p in prompts:\n    answers.append(llm_query(p))",
    "a body that fails": "answers = {}\nfor n, p in enumerate(prompts):\n    r = llm_query(p)\n    print(1 // (9 - n))",
    "caught, and asked again": (
        "answers = []\nprompts[7] = 'fails'\ntry:\n    for p in prompts:\n        answers.append(llm_query(p))\n"
        "except SubcallError as error:\n    answers.append(str(error))\n"
        "answers += [llm_query(p) for p in prompts[8:]]\nanswers.append(llm_query('p9'))"
    ),
    "beside what nests deep": "answers = [llm_query(p) for p in prompts]\nlong = " + "+".join("1" for _ in range(900)),
    "no prompt, later": "prompts[9] = {1, 2}\nanswers = []\nfor p in prompts:\n    answers.append(llm_query(p))",
    "what cannot be gone over": "for p in 7:\n    llm_query(p)",
    "a target that does not fit": "prompts[5] = ('a',)\nfor a, b in prompts:\n    r = llm_query(a)",
}


@pytest.mark.parametrize("code", FORESEEN.values(), ids=FORESEEN)
def test_a_loop_does_the_same_whether_its_calls_are_begun_ahead_or_not(
    code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    serial = Ran(PROMPTS + code, ahead=0)
    printed = capsys.readouterr()
    ahead = Ran(PROMPTS + code, ahead=MAX_AHEAD)

    assert capsys.readouterr() == printed
    assert ahead.outcome == serial.outcome
    assert ahead.names == serial.names
    assert ahead.host.events == serial.host.events
    assert ahead.made == serial.made
    assert serial.host.most <= 1
    assert len(ahead.unused) < MAX_AHEAD


UNLIKE = {"what cannot be gone over", "a target that does not fit"}


@pytest.mark.parametrize("code", [code for name, code in FORESEEN.items() if name not in UNLIKE])
def test_as_many_calls_of_a_loop_are_under_way_as_may_be(code: str) -> None:
    most = Ran(PROMPTS + code, ahead=MAX_AHEAD).host.most

    assert 9 <= most <= MAX_AHEAD
    assert Ran(PROMPTS + code, ahead=4).host.most == 4


def test_loops_that_end_early_have_together_begun_no_more_than_may_be_ahead() -> None:
    early = (
        "try:\n    for p in prompts:\n        r = llm_query(p + '{0}')\n        print(1 // 0)\nexcept Exception: pass\n"
    )

    once = Ran(PROMPTS + early.format(1), ahead=MAX_AHEAD)
    again = Ran(PROMPTS + early.format(1) + early.format(2), ahead=MAX_AHEAD)

    assert len(once.unused) == len(again.unused) == MAX_AHEAD - 1
    assert len(again.host.posted) == len(once.host.posted) + 1
    assert again.outcome["status"] == "ok"


SERIAL = {
    "the answer before": "told = ''\nfor p in prompts:\n    told = llm_query(told + p)",
    "answers so far": "answers = []\nfor p in prompts:\n    answers.append(llm_query(f'{p} {answers}'))",
    "by another name": "answers = []\nseen = answers\nfor p in prompts:\n    answers.append(llm_query(f'{p} {seen}'))",
    "inside of another": "b = {'a': []}\nc = b['a']\nfor p in prompts:\n    c.append(llm_query(f\"{p} {b['a']}\"))",
    "a counter": "sum = 0\nfor p in prompts:\n    sum += 1\n    r = llm_query(f'{sum}')\n    sum += 1",
    "break": "for p in prompts:\n    if llm_query(p) == 'P3:0':\n        break",
    "a condition": "answers = [llm_query(p) for p in prompts if p != 'p3']",
    "one of two": "answers = [llm_query(p) if p > 'p2' else p for p in prompts]",
    "at most": "answers = [p == 'p1' or llm_query(p) for p in prompts]",
    "two calls": "answers = [llm_query(llm_query(p)) for p in prompts]",
    "a generator": "answers = []\nfor a in (llm_query(p) for p in prompts):\n    answers.append(a)\n    note(a)",
    "any": "any(llm_query(p) == 'P3:0' for p in prompts)",
    "a function": "def f():\n    return [llm_query(p) for p in prompts]\nanswers = f()",
    "another function of that name": (
        "ask = llm_query\ndef llm_query(p):\n    return ask(p + '!')\n[llm_query(p) for p in prompts]"
    ),
    "another list": "class L(list): pass\nanswers = [llm_query(p) for p in L(prompts)]",
    "an iterator": "answers = [llm_query(p) for p in iter(prompts)]",
    "another enumerate": (
        "def enumerate(x): return [(1, p) for p in x]\nfor n, p in enumerate(prompts):\n    llm_query(p)"
    ),
    "a format of its own": (
        "class F:\n    def __format__(self, spec):\n        note('shown')\n        return 'f'\n"
        "answers = [llm_query(f'{f}') for f in [F(), F()]]"
    ),
    "an equality of its own": (
        "class K:\n    def __hash__(self): return hash('p1')\n    def __eq__(self, other):\n        note('=')\n"
        "        return False\nd = {K(): 1, 'p1': 'x'}\nanswers = [llm_query(d[p]) for p in ['p1', 'p1']]"
    ),
    "a list that grows": (
        "for p in prompts:\n    r = llm_query(p)\n    prompts.append(r) if len(prompts) < 55 else None"
    ),
    "a call of anything": "for p in prompts:\n    note(llm_query(p))",
    "a key of sorting": "for p in prompts:\n    sorted([llm_query(p)], key=note)",
    "a search in between": "for p in prompts:\n    r = llm_query(p, context_query=p)",
    "else": "for p in prompts:\n    r = llm_query(p)\nelse:\n    note('else')",
    "the target changed": "for p in prompts:\n    p = p + '!'\n    r = llm_query(p)",
    "a long prompt": "long = 'x' * (1 << 21)\nanswers = [len(llm_query(long)) for p in prompts[:3]]",
}


@pytest.mark.parametrize("code", SERIAL.values(), ids=SERIAL)
def test_what_may_depend_on_an_answer_is_not_begun_before_it_is_there(
    code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    serial = Ran(PROMPTS + code, ahead=0)
    printed = capsys.readouterr()
    ahead = Ran(PROMPTS + code, ahead=MAX_AHEAD)

    assert ahead.host.most == 1
    assert [call["arguments"] for call in ahead.host.posted] == [call["arguments"] for call in serial.host.posted]
    assert ahead.host.events == serial.host.events
    assert ahead.outcome == serial.outcome
    assert capsys.readouterr() == printed


def test_a_foresight_that_is_wrong_costs_calls_and_changes_nothing() -> None:
    code = (
        "class Sly:\n    def __repr__(self):\n        prompts[5] = 'another'\n        return 'sly'\nsly = Sly()\n"
        "answers = []\nfor p in prompts:\n    print(sly)\n    answers.append(llm_query(p))"
    )
    serial, ahead = Ran(PROMPTS + code, ahead=0), Ran(PROMPTS + code, ahead=MAX_AHEAD)

    assert ahead.outcome == serial.outcome
    assert ahead.names["answers"] == serial.names["answers"]
    assert ahead.made == serial.made
    assert len(ahead.unused) < MAX_AHEAD
