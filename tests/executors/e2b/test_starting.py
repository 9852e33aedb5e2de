"""Before there is a sandbox: what is refused, and what is left of it."""

from __future__ import annotations

import asyncio
import sys

import pytest

from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors import create_executor
from rlm_graph.executors.conformance.notebook import until
from rlm_graph.executors.e2b import E2BExecutor
from rlm_graph.settings import E2BSettings
from tests.executors.e2b.conftest import NAME
from tests.executors.e2b_double.server import E2BDouble


async def test_without_a_key_the_error_names_the_variable(
    executor: E2BExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("E2B_API_KEY")

    with pytest.raises(SetupError, match="set E2B_API_KEY"):
        async with executor.attached(None):
            pass


async def test_without_the_sdk_the_error_names_the_extra(
    executor: E2BExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "e2b", None)

    with pytest.raises(SetupError, match=r"rlm-graph\[e2b\]"):
        async with executor.attached(None):
            pass


async def test_a_key_that_is_refused_is_not_repeated(executor: E2BExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2B_API_KEY", "e2b_another_secret")

    with pytest.raises(SetupError, match="E2B_API_KEY") as raised:
        async with executor.attached(None):
            pass

    assert "another_secret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(("template", "words"), [("nowhere", "not found"), ("bare", "python3: not here")])
async def test_a_template_that_does_not_serve_is_named(settings: E2BSettings, template: str, words: str) -> None:
    executor = E2BExecutor(settings.model_copy(update={"template": template}))

    with pytest.raises(SetupError, match=f"{template}.*{words}"):
        async with executor.attached(None):
            pass


@pytest.mark.parametrize(
    ("status", "words"), [(429, "wait a little"), (503, "wait a little"), (500, "cannot make a sandbox: 500")]
)
async def test_a_refusal_says_what_could_not_be_done(
    executor: E2BExecutor, double: E2BDouble, status: int, words: str
) -> None:
    double.fail("POST /v2/sandboxes", status)

    with pytest.raises(ExecutorError, match=words):
        async with executor.attached(None):
            pass


async def test_a_cloud_that_cannot_be_reached_is_an_error_that_says_so(
    executor: E2BExecutor, double: E2BDouble
) -> None:
    double.vanish()

    with pytest.raises(ExecutorError, match=r"cannot be reached.*look at the network"):
        async with executor.attached(None):
            pass


async def give_up(executor: E2BExecutor, double: E2BDouble, *, requests: int = 1, name: str | None = None) -> None:
    """Cancel a start when so many requests have come."""

    async def attach() -> None:
        async with executor.attached(None, name=name):
            await asyncio.Event().wait()

    starting = asyncio.create_task(attach())
    await until(lambda: len(double.requests) >= requests)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


# The sandbox, a look for others of its name, its folders, the bundle, the supervisor, the relay, the first word to it.
@pytest.mark.parametrize("requests", range(1, 8))
async def test_a_start_that_is_given_up_leaves_no_sandbox(
    executor: E2BExecutor, double: E2BDouble, requests: int
) -> None:
    await give_up(executor, double, requests=requests)

    assert not double.sandboxes


# The same after a look for one of that name that is there already.
@pytest.mark.parametrize("requests", range(1, 9))
async def test_a_start_by_name_that_is_given_up_leaves_no_sandbox(
    executor: E2BExecutor, double: E2BDouble, requests: int
) -> None:
    await give_up(executor, double, requests=requests, name=NAME)

    assert not double.sandboxes


async def test_a_start_by_name_that_fails_when_the_sandbox_is_there_leaves_none(
    executor: E2BExecutor, double: E2BDouble
) -> None:
    double.fail("GET /v2/sandboxes", 500, after=1)

    with pytest.raises(ExecutorError, match="cannot list sandboxes"):
        async with executor.attached(None, name=NAME):
            pass

    assert "POST /v2/sandboxes" in double.requests
    assert not double.sandboxes


async def test_a_sandbox_that_cannot_be_ended_at_once_is_ended_later(executor: E2BExecutor, double: E2BDouble) -> None:
    double.fail("DELETE /sandboxes/", 503, times=2)
    await give_up(executor, double)

    assert double.requests[-3:] == [double.requests[-1]] * 3
    assert not double.sandboxes


async def test_a_sandbox_that_cannot_be_ended_at_all_is_named(
    executor: E2BExecutor, double: E2BDouble, caplog: pytest.LogCaptureFixture
) -> None:
    double.fail("DELETE /sandboxes/", 500)
    await give_up(executor, double)
    (left,) = double.sandboxes
    (warned,) = (record.getMessage() for record in caplog.records if record.name.startswith("rlm_graph"))
    double.kill(left)

    assert left in warned
    assert "sweep() of rlm_graph.executors.sandbox_owners ends it" in warned


async def test_a_start_that_fails_half_way_leaves_no_sandbox(executor: E2BExecutor, double: E2BDouble) -> None:
    double.fail("POST /files", 507, "disk full")

    with pytest.raises(ExecutorError, match="disk full"):
        async with executor.attached(None):
            pass

    assert not double.sandboxes


def test_the_executor_is_chosen_by_its_name() -> None:
    assert isinstance(create_executor("e2b"), E2BExecutor)
    assert create_executor(E2BSettings()).declared == {}
