"""What goes into a sandbox."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from rlm_graph.executors.conformance import Notebook, stored
from rlm_graph.executors.e2b import E2BExecutor
from rlm_graph.settings import E2BSettings
from tests.executors.e2b.conftest import NAME, only
from tests.executors.e2b_double.server import KEY, E2BDouble

MODEL_KEY = "sk-a-key-of-a-model-provider"


async def test_a_sandbox_is_made_as_the_settings_say(double: E2BDouble, settings: E2BSettings) -> None:
    executor = E2BExecutor(settings.model_copy(update={"metadata": {"team": "red"}, "timeout_s": 1800}))

    async with executor.attached(None, name=NAME) as repl:
        pass
    await executor.close(repl.handle)

    (asked,) = double.created
    assert asked["templateID"] == "base"
    assert asked["timeout"] == 1800
    assert asked["autoPause"] is True
    assert asked["allow_internet_access"] is False
    assert asked["metadata"].items() >= {"team": "red", "rlm-graph": "1", "rlm-graph.repl": NAME}.items()
    assert not asked.get("envVars")


async def test_neither_keys_nor_secrets_reach_a_process_a_file_a_handle_or_a_log(
    executor: E2BExecutor,
    double: E2BDouble,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", MODEL_KEY)
    keys = (KEY.encode(), MODEL_KEY.encode())

    async with executor.attached(None) as repl:
        notebook = Notebook(repl)
        await repl.add_context(1, stored(tmp_path / "context", "the text"), folder=tmp_path / "context")
        seen = await notebook.run("import os\nsorted(os.environ.items())")
        files = [path.read_bytes() for path in only(double).root.rglob("*") if path.is_file()]
        environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in only(double).living()]
    await executor.close(repl.handle)

    assert len(environments) == 3, "supervisor, worker and relay"
    assert not any(b"SECRET" in each for each in environments)
    assert b"the text" in files
    assert not any(key in each for key in keys for each in (*environments, *files))
    assert "SECRET" not in str(seen.value)
    assert not any(key in body for key in keys for body in double.bodies)
    assert KEY not in repl.handle.model_dump_json() + caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the worker a user of its own")
async def test_supervisor_and_worker_have_different_users(executor: E2BExecutor, double: E2BDouble) -> None:
    async with executor.attached(None) as repl:
        users = [os.stat(f"/proc/{pid}").st_uid for pid in only(double).living()]
        worker = await Notebook(repl).run("import os\nos.getresuid()")
    await executor.close(repl.handle)

    assert sorted(user == 0 for user in users) == [False, True, True]
    assert str(max(users)) in str(worker.value)


async def test_a_context_is_sent_once_and_code_cannot_open_it(
    executor: E2BExecutor, double: E2BDouble, tmp_path: Path
) -> None:
    reference = stored(tmp_path / "context", "the text")

    async with executor.attached(None) as repl:
        for number in (1, 2):
            await repl.add_context(number, reference, folder=tmp_path / "context")
    async with executor.attached(repl.handle) as again:
        await again.add_context(3, reference, folder=tmp_path / "context")
        (there,) = (only(double).root / "tmp/rlm-graph/contexts").iterdir()
        opened = await Notebook(again).run(f"contexts == ['the text'] * 3 and open({str(there / 'text')!r})")
    await executor.close(repl.handle)

    assert double.requests.count("POST /files") == 3, "the bundle, the text and its index"
    assert opened.error is not None
    assert opened.error.type == "PermissionError"


async def test_shell_cells_do_not_run_by_default(executor: E2BExecutor) -> None:
    async with executor.attached(None) as repl:
        execution = await Notebook(repl).run("echo $((6 * 7))", language="bash")
    await executor.close(repl.handle)

    assert execution.stdout == ""
    assert execution.error is not None
    assert "bash cannot run in this REPL" in execution.error.message


async def test_shell_cells_run_where_they_are_allowed(settings: E2BSettings) -> None:
    executor = E2BExecutor(settings.model_copy(update={"bash": True}))

    async with executor.attached(None) as repl:
        execution = await Notebook(repl).run("echo $((6 * 7))", language="bash")
    await executor.close(repl.handle)

    assert execution.stdout == "42\n"
