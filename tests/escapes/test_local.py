"""Every attack against the local executor, and against the same executor without its confinement."""

from __future__ import annotations

import pytest

from rlm_graph.executors.sandbox.confinement.confine import probe
from tests.escapes.attack import Attack, Control
from tests.escapes.attacks import ATTACKS
from tests.escapes.lane import CONTROL, Shot, runs_here, shoot

HERE = [attack for attack in ATTACKS if runs_here(attack)]
BITING = [attack for attack in HERE if attack.control is Control.BITES]

pytestmark = [
    # The first test of those selected waits for the attacks of all.
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(probe()["missing"]), reason=f"this kernel cannot confine: {probe()['missing']}"),
]


@pytest.fixture(scope="module")
def shots(request: pytest.FixtureRequest) -> dict[str, dict[str, Shot]]:
    """What became of the attacks whose tests were selected."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    wanted = {spec.params["attack"].name: spec.params["attack"] for spec in parameters if spec}
    return dict(zip(wanted, shoot(list(wanted.values())), strict=True))


@pytest.mark.parametrize("attack", HERE, ids=lambda attack: attack.name)
def test_an_attack_is_stopped(attack: Attack, shots: dict[str, dict[str, Shot]]) -> None:
    shot = shots[attack.name]["local"]

    assert shot.stopped, f"{shot.outcome}\n{shot.why}"


@pytest.mark.parametrize("attack", BITING, ids=lambda attack: attack.name)
def test_the_same_attack_bites_where_nothing_confines_it(attack: Attack, shots: dict[str, dict[str, Shot]]) -> None:
    shot = shots[attack.name][CONTROL]

    assert shot.proven, f"{shot.outcome}\n{shot.why}"


def test_the_suite_is_broad_and_says_why_where_it_has_no_proof() -> None:
    assert len(ATTACKS) >= 80
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert len(BITING) >= 60
    assert [attack.name for attack in ATTACKS if attack.control is not Control.BITES and not attack.why] == []
