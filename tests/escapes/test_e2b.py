"""Attacks on sandboxes of E2B's: some of all themes, and all that only its virtual machine holds on a lesser kernel.

`make escapes` runs every attack there.
"""

from __future__ import annotations

import os

import pytest

from rlm_graph.executors.sandbox.confinement.confine import probe
from tests.escapes.attack import Attack, Outcome
from tests.escapes.attacks import ATTACKS
from tests.escapes.e2b_site import BESIDE_PROGRAMS, OF_THE_MACHINE
from tests.escapes.lane import Shot, runs_here, shoot

SOME = [attack for attack in ATTACKS if runs_here(attack) and attack.name not in OF_THE_MACHINE][::12]
BENEATH = [attack for attack in ATTACKS if runs_here(attack) and attack.name in OF_THE_MACHINE]
OLD, BASH = "e2b, old kernel", "e2b, bash"

pytestmark = [
    # The first test waits for the attacks of all.
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(probe()["missing"]), reason=f"this kernel cannot confine: {probe()['missing']}"),
]


@pytest.fixture(scope="module")
def shots(request: pytest.FixtureRequest) -> dict[str, dict[str, Shot]]:
    """What became of the attacks whose tests were selected, by name and site."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    wanted = {spec.params["attack"].name: spec.params["attack"] for spec in parameters if spec}
    sites = ["e2b", BASH, *([OLD] if os.geteuid() == 0 else [])]  # only root can give the double an older kernel
    return dict(zip(wanted, shoot(list(wanted.values()), sites, lanes=os.cpu_count()), strict=True))


@pytest.mark.parametrize("attack", SOME, ids=lambda attack: attack.name)
def test_an_attack_is_stopped(attack: Attack, shots: dict[str, dict[str, Shot]]) -> None:
    for site, shot in shots[attack.name].items():
        assert shot.stopped, f"{site}: {shot.outcome}\n{shot.why}"


@pytest.mark.skipif(os.geteuid() != 0, reason="the double can be given an older kernel only by root")
@pytest.mark.parametrize("attack", BENEATH, ids=lambda attack: attack.name)
def test_what_is_left_to_the_virtual_machine_is_stopped_where_the_kernel_has_landlock(
    attack: Attack, shots: dict[str, dict[str, Shot]]
) -> None:
    now, old = shots[attack.name]["e2b"], shots[attack.name][OLD]

    assert now.outcome in attack.stopped, now.why
    assert old.outcome is Outcome.BREACH, f"it is stopped there too, and need not be declared\n{old.why}"


@pytest.mark.parametrize("attack", BENEATH, ids=lambda attack: attack.name)
def test_where_programs_may_run_no_more_is_left_to_the_virtual_machine_than_is_declared(
    attack: Attack, shots: dict[str, dict[str, Shot]]
) -> None:
    shot = shots[attack.name][BASH]

    assert shot.stopped, shot.why
    assert (shot.outcome is Outcome.BREACH) == (attack.name in BESIDE_PROGRAMS), shot.why


def test_every_attack_that_is_left_to_the_virtual_machine_is_one() -> None:
    assert OF_THE_MACHINE.keys() <= {attack.name for attack in ATTACKS}
