"""Large answers are stored once, as a file; whoever asks for the answer has it whole."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from pydantic import BaseModel

from rlm_graph import AgentOptions, ContextStore, LocalSettings, create_rlm_agent
from rlm_graph.context.kept_answers import (
    MAX_CHARS,
    SHOWN_CHARS,
    kept,
    kept_reply,
    kept_typed,
    whole_reply,
    whole_typed,
)
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.state import ContextRef, FinalAnswer, SubcallReply
from rlm_graph.storage.run_contexts import instances_in
from rlm_graph.testing import ScriptedModel, ScriptedServer
from rlm_graph.typed_answer import TypedAnswer
from tests.cli.conftest import Shell, code
from tests.graphs.test_resume import kill_workers

Serve = Callable[..., ScriptedServer]

CONFIG: Any = {"configurable": {"thread_id": "1"}}
LARGE = 3 * MAX_CHARS
TEXTS = {
    "a text": (f"'ab\\udc80' * {LARGE // 3}", "ab\udc80" * (LARGE // 3)),
    "a list": (f"['é' * 1000 for _ in range({LARGE // 1000})]", ["é" * 1000] * (LARGE // 1000)),
}


def build(value: str, folder: Path, **options: Any) -> Any:
    more = options.pop("more", {})
    model = ScriptedModel(lambda messages: f"```repl\nFINAL({value})\n```")
    return create_rlm_agent(model, options=AgentOptions(contexts=folder / "contexts", **more), **options)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("source", "value"), TEXTS.values(), ids=TEXTS.keys())
async def test_a_large_answer_is_stored_once_and_is_whole_for_the_caller(
    source: str, value: Any, tmp_path: Path
) -> None:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        agent = build(source, tmp_path, checkpointer=saver)
        result = await agent.ainvoke({"question": "?"}, CONFIG)
        state = (await agent.aget_state(CONFIG)).values

    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    for seen in (result, state):
        assert seen["answer"].value == value
        assert seen["answer"].text == text
        assert seen["answer"].complete
        assert seen["messages"][-1].content == text
        assert not seen["messages"][-1].additional_kwargs
    stored = len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    assert bytes_in(tmp_path) < 1.1 * stored + 1_000_000
    assert sum(path.stat().st_size for path in tmp_path.glob("runs.sqlite*")) < 1_000_000


def test_another_process_goes_on_with_it(tmp_path: Path) -> None:
    source, value = TEXTS["a text"]
    database = str(tmp_path / "runs.sqlite")
    with SqliteSaver.from_conn_string(database) as saver:
        build(source, tmp_path, checkpointer=saver, more={"interrupt_before": ["finalize"]}).invoke(
            {"question": "?"}, CONFIG
        )
    program = f"""
import sys
from pathlib import Path
from langgraph.checkpoint.sqlite import SqliteSaver
from tests.graphs.test_large_answers import CONFIG, TEXTS, build
with SqliteSaver.from_conn_string({database!r}) as saver:
    result = build("never asked", Path({str(tmp_path)!r}), checkpointer=saver).invoke(None, CONFIG)
sys.exit(result["answer"].text != TEXTS["a text"][1])
"""

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)

    assert ran.returncode == 0, ran.stderr
    with SqliteSaver.from_conn_string(database) as saver:
        agent = build("'small'", tmp_path, checkpointer=saver)
        assert agent.get_state(CONFIG).values["answer"].value == value
        assert agent.invoke({"question": "And now?"}, CONFIG)["messages"][1].content == value


def test_a_large_answer_whose_file_is_gone_says_so_and_the_run_goes_on(tmp_path: Path) -> None:
    saver = InMemorySaver()
    source, value = TEXTS["a text"]
    build(source, tmp_path, checkpointer=saver).invoke({"question": "?"}, CONFIG)
    elsewhere = build("'small'", tmp_path / "elsewhere", checkpointer=saver)

    text = elsewhere.get_state(CONFIG).values["answer"].text

    assert text.startswith(value[:SHOWN_CHARS])
    assert "cannot be read" in text
    assert elsewhere.invoke({"question": "And now?"}, CONFIG)["answer"].value == "small"


class Long(BaseModel):
    text: str


@pytest.mark.parametrize(
    "source", [f"{{'text': 'x' * {LARGE}}}", f"'{{\"text\": \"' + 'x' * {LARGE} + '\"}}'"], ids=["a dict", "its JSON"]
)
def test_a_large_typed_answer_reaches_the_caller_and_stands_in_no_checkpoint(source: str, tmp_path: Path) -> None:
    database = tmp_path / "runs.sqlite"
    with SqliteSaver.from_conn_string(str(database)) as saver:
        agent = build(source, tmp_path, checkpointer=saver, response_format=Long)
        parts = list(agent.stream({"question": "?"}, CONFIG, stream_mode="values"))
    with SqliteSaver.from_conn_string(str(database)) as saver:
        state = build(source, tmp_path, checkpointer=saver, response_format=Long).get_state(CONFIG).values

    assert parts[-1]["structured_response"] == Long(text="x" * LARGE)
    assert state["structured_response"] == Long(text="x" * LARGE)
    assert sum(path.stat().st_size for path in tmp_path.glob("runs.sqlite*")) < 1_000_000
    assert bytes_in(tmp_path / "contexts") < 2.1 * LARGE


def test_references_of_typed_answers_are_found(tmp_path: Path) -> None:
    final = FinalAnswer(value={"text": "x" * LARGE})
    store = ContextStore(tmp_path)
    place = kept(final, store).kept
    assert place is not None

    short = kept_typed(TypedAnswer(value=final.value), store)

    assert TypedAnswer.model_validate(short.model_dump()).value is None
    assert list(instances_in([short], ContextRef)) == [place.ref]
    assert whole_typed(TypedAnswer.model_validate(short.model_dump()), store).value == final.value


def test_what_nobody_records_leaves_no_file(tmp_path: Path) -> None:
    source, value = TEXTS["a text"]

    assert build(source, tmp_path).invoke({"question": "?"})["answer"].value == value
    assert bytes_in(tmp_path) == 0


AS_IT_IS = {
    "a text": SubcallReply(value="é" * LARGE),
    "values": SubcallReply(value=[["é" * 1000, 1]] * (LARGE // 1000)),
    "many small values": SubcallReply(value=[[n, None] for n in range(LARGE // 20)]),
    "a text that broke off": SubcallReply(error="cut", error_type="IncompleteReply", partial="é" * LARGE),
}


@pytest.mark.parametrize("reply", AS_IT_IS.values(), ids=AS_IT_IS)
def test_a_large_reply_is_kept_in_a_file_and_found_there(reply: SubcallReply, tmp_path: Path) -> None:
    store = ContextStore(tmp_path)

    short = kept_reply(reply, store)
    read = SubcallReply.model_validate(short.model_dump())

    assert len(str(short.model_dump())) < 2 * SHOWN_CHARS + 2_000
    assert whole_reply(short, store) is reply
    assert whole_reply(read, store) == reply
    assert list(instances_in({"replies": {0: short}}, ContextRef)) == [short.kept and short.kept.ref]


def test_a_small_reply_stays_where_it_is(tmp_path: Path) -> None:
    reply = SubcallReply(value=["x" * (MAX_CHARS // 2)])

    assert kept_reply(reply, ContextStore(tmp_path)) is reply
    assert bytes_in(tmp_path) == 0


@pytest.mark.confinement
async def test_a_large_reply_of_an_agent_below_is_stored_once_and_whole_in_a_replay(tmp_path: Path) -> None:
    executor = LocalExecutor(LocalSettings(), folder=tmp_path / "repls")
    turns = iter(["r = rlm_query('Give me much.')", f"FINAL([len(r), r == 'c' * {LARGE}])"])
    root = ScriptedModel(lambda messages: f"```repl\n{next(turns)}\n```")
    below = ScriptedModel(lambda messages: f"```repl\nFINAL('c' * {LARGE})\n```")
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        agent = create_rlm_agent(
            root,
            sub_model=below,
            checkpointer=saver,
            executor=executor,
            options=AgentOptions(contexts=tmp_path / "contexts", interrupt_before=["observe"]),
        )
        await agent.ainvoke({"question": "?"}, CONFIG)
        kill_workers(executor)  # what the code was given has to come out of the record

        result = await agent.ainvoke(None, CONFIG)
        while result.get("answer") is None:
            result = await agent.ainvoke(None, CONFIG)

    assert result["answer"].value == [LARGE, True]
    assert bytes_in(tmp_path / "contexts") < 1.1 * LARGE
    assert sum(path.stat().st_size for path in tmp_path.glob("runs.sqlite*")) < 1_500_000
    kill_workers(executor)


class ElsewhereSaver(BaseCheckpointSaver[Any]):
    """A saver whose records lie where other machines find them, for all that the engine knows."""

    def __init__(self) -> None:
        super().__init__()
        self.records = InMemorySaver()

    def get_tuple(self, config: Any) -> Any:
        return self.records.get_tuple(config)

    def list(self, config: Any, **options: Any) -> Any:
        return self.records.list(config, **options)

    def put(self, *given: Any) -> Any:
        return self.records.put(*given)

    def put_writes(self, *given: Any) -> None:
        self.records.put_writes(*given)

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self.records.get_next_version(current, channel)


def test_where_other_machines_find_the_record_they_find_the_answer_in_it(tmp_path: Path) -> None:
    agent = build(f"'x' * {LARGE}", tmp_path, checkpointer=ElsewhereSaver())

    assert agent.invoke({"question": "?"}, CONFIG)["answer"].text == "x" * LARGE
    assert bytes_in(tmp_path) == 0


class CountingStore(ContextStore):
    loaded = 0

    def load(self, ref: Any) -> Any:
        self.loaded += 1
        return super().load(ref)


def test_an_earlier_answer_is_read_once_however_long_the_next_question_takes(tmp_path: Path) -> None:
    database = str(tmp_path / "runs.sqlite")
    with SqliteSaver.from_conn_string(database) as saver:
        build(TEXTS["a text"][0], tmp_path, checkpointer=saver).invoke({"question": "?"}, CONFIG)
    gc.collect()  # nobody has the answer any more
    store = CountingStore(tmp_path / "contexts")
    replies = iter(["```repl\nprint(1)\n```"] * 5 + ["```repl\nFINAL(2)\n```"])
    with SqliteSaver.from_conn_string(database) as saver:
        agent = create_rlm_agent(
            ScriptedModel(lambda messages: next(replies)), checkpointer=saver, options=AgentOptions(contexts=store)
        )
        result = agent.invoke({"question": "And now?"}, CONFIG)

    assert result["answer"].value == 2
    assert result["messages"][1].content == TEXTS["a text"][1]
    assert store.loaded == 1


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, {"RLM_DATA_DIR": str(tmp_path / "data"), "OPENAI_API_KEY": "sk-test"})


@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "encrypted"])
def test_the_command_gives_it_out_counts_it_and_deletes_it_with_its_run(encrypted: bool, shell: Shell) -> None:
    if encrypted:
        shell.variables |= {"RLM_ENCRYPT": "1", "LANGGRAPH_AES_KEY": "0123456789abcdef" * 2}
    reply = code(f"FINAL('deep secret ' * {LARGE // 12})")
    with ScriptedServer(lambda request: reply) as server:
        shell.variables |= {"RLM_MODEL": "openai/gpt-4o-mini", "RLM_MODELS__BASE_URL": server.url}
        text = "deep secret " * (LARGE // 12)
        ran = shell.run("run", "q", "--thread", "one")
        again = shell.run("resume", "one")
        shown = json.loads(shell.run("logs", "one", "--json").stdout)
        used = {part["part"]: part for part in json.loads(shell.run("du", "--json").stdout)["parts"]}
        files = [path for path in (shell.folder / "data").rglob("*") if path.is_file()]
        clear = [path.name for path in files if b"deep secret deep" in path.read_bytes()]
        deleted = shell.run("rm", "-y", "one")

    assert ran.stdout.decode().rstrip("\n") == again.stdout.decode().rstrip("\n") == text
    assert shown["answer"]["text"] == text
    name = "encrypted contexts" if encrypted else "contexts"
    assert used[name]["bytes"] > LARGE * 0.9
    assert ("text" in clear) is not encrypted
    assert deleted.returncode == 0
    assert bytes_in(shell.folder / "data") < LARGE // 2
