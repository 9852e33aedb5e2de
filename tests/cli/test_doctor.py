"""`rlm-graph doctor`."""

from __future__ import annotations

import json
from collections.abc import Callable

from rlm_graph.testing import ScriptedReply, ScriptedServer
from tests.cli.conftest import MODEL, Shell


def checks(output: str) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(output)}


def test_it_says_what_is_there_and_what_is_missing(shell: Shell) -> None:
    result = shell.here("doctor", "--json")

    found = checks(result.stdout)
    assert found.keys() >= {"python", "sandbox", "docker", "deno", "pyodide", "keys", "data folder", "database"}
    assert found["database"]["state"] == found["data folder"]["state"] == "ok"
    assert result.exit_code == (3 if "failed" in {check["state"] for check in found.values()} else 0)
    for line in shell.here("doctor").stdout.splitlines():
        assert line.split()[0] in {"ok", "absent", "failed"}


def test_keys_are_named_and_never_shown(shell: Shell) -> None:
    result = shell.here("doctor", OPENAI_API_KEY="sk-secret", ANTHROPIC_API_KEY="sk-other")

    assert "OPENAI_API_KEY" in result.stdout
    assert "ANTHROPIC_API_KEY" in result.stdout
    assert "sk-" not in result.output


def test_a_damaged_database_fails_and_is_left_as_it_is(shell: Shell) -> None:
    shell.db.parent.mkdir()
    shell.db.write_bytes(b"not a database" * 1000)

    result = shell.here("doctor", "--json")

    assert result.exit_code == 3
    assert "not a database; left as it is" in checks(result.stdout)["database"]["detail"]
    assert shell.db.read_bytes() == b"not a database" * 1000


def test_a_data_folder_that_cannot_be_made_fails(shell: Shell) -> None:
    (shell.folder / "data").touch()

    result = shell.here("doctor", "--json")

    assert result.exit_code == 3
    assert "set RLM_DATA_DIR" in checks(result.stdout)["data folder"]["detail"]


def test_a_model_is_asked_only_on_request(shell: Shell, serve: Callable[..., ScriptedServer]) -> None:
    server = serve(script=["ok"])

    assert not [name for name in checks(shell.here("doctor", "--json").stdout) if name.startswith("model")]
    assert server.count == 0
    result = shell.here("doctor", "--json", "--model", MODEL)
    assert checks(result.stdout)[f"model {MODEL}"]["state"] == "ok"
    assert server.count == 1


def test_a_model_that_refuses_fails_with_the_providers_words(
    shell: Shell, serve: Callable[..., ScriptedServer]
) -> None:
    serve(script=[ScriptedReply(status=401, error="Incorrect API key provided")])

    result = shell.here("doctor", "--json", "--model", MODEL)

    found = checks(result.stdout)[f"model {MODEL}"]
    assert result.exit_code == 3
    assert found["state"] == "failed"
    assert "Incorrect API key provided" in found["detail"]
