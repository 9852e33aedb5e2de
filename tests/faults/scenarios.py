"""The runs that are killed: what their root model says, and how many requests they have under way at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from rlm_graph.testing.script import ScriptedCall

Turns = Sequence[Sequence[str | ScriptedCall]]


@dataclass(frozen=True)
class Scenario:
    """One run. To add a scenario is to add one of these to `SCENARIOS`."""

    name: str
    replies: Turns
    """The cells of each turn of the root model, or its calls. The last one gives the answer."""
    width: int
    """Requests that may be under way at once, their replies not recorded yet: the most that a kill may cost."""
    repls: int = 1
    """REPLs that are started when nothing disturbs it."""
    children: Mapping[str, Turns] = field(default_factory=dict)
    """The turns of the agents below it, by their questions."""
    protocol: Literal["repl", "tools"] = "repl"
    executor: Literal["local", "docker"] = "local"
    every: int = 1
    """It has so many events that it is killed at every one of that many only."""

    def turns_of(self, told: str) -> Turns:
        """Return the turns of the root model that was `told` its question so."""
        return next((turns for question, turns in self.children.items() if question in told), self.replies)


TURNS = Scenario(
    "turns",
    width=1,
    replies=[
        ["first = llm_query('one')\nsecond = llm_query('two')\nprint(first, second, len(context))"],
        [
            "import random, time\n"
            "dice = random.random()\n"
            "again = [llm_query('two'), llm_query('two')]\n"
            "time.sleep(0.1)",
            "squares = (n * n for n in range(9))\n"
            "next(squares), next(squares)\n"
            "third = llm_query('of ' + first)\n"
            "third",
        ],
        ["result = [first, second, dice, again, next(squares), third]\nFINAL_VAR('result')"],
    ],
)

BATCH = Scenario(
    "batch",
    width=20,
    replies=[
        ["answers = llm_query_batched([f'part {n % 15}' for n in range(20)])\nprint(len(answers), len(set(answers)))"],
        ["answers.append(llm_query('all of it'))\nFINAL_VAR('answers')"],
    ],
)

WIDE = Scenario(
    "wide",
    width=64,
    every=40,
    replies=[
        ["answers = llm_query_batched([f'part {n % 150}' for n in range(200)])\nprint(len(answers))"],
        ["FINAL([*answers, llm_query('all of it')])"],
    ],
)

LOOP = Scenario(
    "loop",
    width=32,
    every=20,
    # The first loop ends early, and the second begins few of its calls ahead.
    replies=[
        [
            "asked = []\n"
            "try:\n"
            "    for n in range(60):\n"
            "        asked.append(llm_query(f'early {n}'))\n"
            "        print(1 // (40 - n))\n"
            "except ZeroDivisionError:\n"
            "    print(len(asked))"
        ],
        ["answers = [llm_query(f'part {n}') for n in range(60)]\nprint(len(answers), len(set(answers)))"],
        ["FINAL([*asked, *answers, llm_query('all of it')])"],
    ],
)

COMPLETED = Scenario(
    "completed",
    width=9,
    every=3,
    # All pieces are alike but for the marks of their answers, which stand in the prompts that follow: each run has its
    # own order, and asks the same but for the marks.
    replies=[
        [
            "from concurrent.futures import ThreadPoolExecutor, as_completed\n"
            "pieces, said = [], []\n"
            "with ThreadPoolExecutor(8) as pool:\n"
            "    for done in as_completed([pool.submit(llm_query, 'piece') for _ in range(12)]):\n"
            "        pieces.append(done.result())\n"
            "        said.append(llm_query('so far: ' + '; '.join(pieces)))\n"
            "print(len(said), len(set(said)))"
        ],
        ["FINAL([*said, llm_query('the last of ' + said[-1])])"],
    ],
)

CLOCKED = Scenario(
    "clocked",
    width=9,
    every=4,
    # As above, with the time and chance in each prompt: what is asked again shows, for it is asked with another time.
    replies=[
        [
            "import datetime, os, time, uuid\n"
            "from concurrent.futures import ThreadPoolExecutor, as_completed\n"
            "def now():\n"
            "    drawn = f'{uuid.uuid4()} {uuid.uuid1()} {os.urandom(4).hex()}'\n"
            "    read = f'{datetime.datetime.now()} {time.time_ns()} {time.perf_counter()} {drawn}'\n"
            "    return f'<clock {read:<180}>'\n"
            "def ask(_):\n"
            "    return llm_query(f'piece {now()}')\n"
            "begun = now()\n"
            "pieces, said = [], []\n"
            "with ThreadPoolExecutor(8) as pool:\n"
            "    for done in as_completed([pool.submit(ask, n) for n in range(12)]):\n"
            "        pieces.append(done.result())\n"
            "        said.append(llm_query(f'{begun} {now()} so far: ' + '; '.join(pieces)))\n"
            "ended = now()\n"
            "print(len(said), len(set(said)))",
            "said.append(llm_query(f'{begun} {ended} {now()} and then'))",
        ],
        ["FINAL([*said, llm_query(f'{begun} {ended} {now()} the last')])"],
    ],
)

NESTED = Scenario(
    "nested",
    width=60,
    repls=4,
    every=30,
    replies=[
        [
            "questions = [f'Count the beans of bag {n}' for n in range(3)]\n"
            "bags = rlm_query_batched(questions, contexts=['beans', None, 'beans'])\n"
            "print(len(bags))"
        ],
        ["bags.append(llm_query('after'))\nFINAL_VAR('bags')"],
    ],
    children={
        "Count the beans": [
            ["beans = llm_query_batched([f'bean {n % 15}' for n in range(20)])\nprint(len(beans), context)"],
            ["FINAL('; '.join([*beans, llm_query('all beans')]))"],
        ],
    },
)

THREADS = Scenario(
    "threads",
    width=8,
    replies=[
        [
            "from concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(8) as pool:\n"
            "    answers = list(pool.map(llm_query, [f'piece {n % 5}' for n in range(16)]))\n"
            "print(len(answers), len(set(answers)))"
        ],
        ["last = llm_query('the last')\nFINAL_VAR([*answers, last])"],
    ],
)

GATHER = Scenario(
    "gather",
    width=6,
    replies=[
        [
            "import asyncio\n"
            "asked = [asyncio.to_thread(llm_query, f'topic {n % 4}') for n in range(6)]\n"
            "answers = await asyncio.gather(*asked)\n"
            "print(len(answers), len(set(answers)))"
        ],
        ["FINAL('; '.join(answers))"],
    ],
)

CHILDREN = Scenario(
    "children",
    width=2,
    repls=3,
    replies=[
        [
            "questions = ['Name the moons', 'Name the rings']\n"
            "children = rlm_query_batched(questions, contexts=['Io', None])\n"
            "print(len(children))"
        ],
        ["children.append(llm_query('after'))\nFINAL_VAR('children')"],
    ],
    children={
        "Name the moons": [
            ["moons = [llm_query('moon'), llm_query('moon')]\nprint(len(moons), context)"],
            ["FINAL('; '.join([*moons, context]))"],
        ],
        "Name the rings": [["rings = llm_query('ring')\nFINAL(rings)"]],
    },
)

CONTAINERS = replace(CHILDREN, name="containers", executor="docker")

CALLS = Scenario(
    "calls",
    width=6,
    protocol="tools",
    replies=[
        [
            ScriptedCall("rlm_sub_complete", {"prompt": "one"}),
            ScriptedCall("rlm_sub_complete", {"prompt": "one"}),
            ScriptedCall("rlm_batch_complete", {"prompts": ["two", "three", "two"]}),
            ScriptedCall("python", {"code": "first = llm_query('in a cell')\nprint(first)"}),
        ],
        [ScriptedCall("rlm_sub_complete", {"prompt": "four"}), ScriptedCall("rlm_sub_complete", {"prompt": "five"})],
        [ScriptedCall("python", {"code": "result = [first, llm_query('the last')]\nFINAL_VAR('result')"})],
    ],
)

SAME = Scenario(
    "same",
    width=8,
    replies=[
        [
            "from concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(8) as pool:\n"
            "    answers = list(pool.map(llm_query, ['the same'] * 8))\n"
            "FINAL_VAR('answers')"
        ]
    ],
)

FRAGILE = Scenario(
    "fragile",
    width=1,
    replies=[
        ["seen = llm_query('one')\nseen += llm_query('two')"],
        ["try:\n    seen\nexcept NameError:\n    seen = 'lost'\nFINAL([seen, llm_query('three')])"],
    ],
)

SCENARIOS = (TURNS, BATCH, WIDE, LOOP, THREADS, COMPLETED, CLOCKED, GATHER, CHILDREN, NESTED, CALLS, CONTAINERS)
"""Those that are killed at every event."""

BY_NAME = {scenario.name: scenario for scenario in (*SCENARIOS, SAME, FRAGILE)}
