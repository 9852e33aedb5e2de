"""The attacks that only JavaScript invites, against the Pyodide executor. `make escapes` tries all others on it too."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_graph.executors.sandbox.confinement.confine import probe
from tests.escapes.attack import Attack
from tests.escapes.attacks.javascript import JAVASCRIPT
from tests.escapes.lane import Shot, shoot

pytestmark = [
    pytest.mark.pyodide,
    # The first test of those selected waits for the attacks of all.
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(probe()["missing"]), reason=f"this kernel cannot confine: {probe()['missing']}"),
]


@pytest.fixture(scope="module")
def shots(request: pytest.FixtureRequest, pyodide_store: Path) -> dict[str, Shot]:
    """What became of the attacks whose tests were selected."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    wanted = [spec.params["attack"] for spec in parameters if spec]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESTS_PYODIDE", str(pyodide_store))
        return {attack.name: shot["pyodide"] for attack, shot in zip(wanted, shoot(wanted, ["pyodide"]), strict=True)}


@pytest.mark.parametrize("attack", JAVASCRIPT, ids=lambda attack: attack.name)
def test_an_attack_by_javascript_is_stopped(attack: Attack, shots: dict[str, Shot]) -> None:
    shot = shots[attack.name]

    assert shot.stopped, f"{shot.outcome}\n{shot.why}"
