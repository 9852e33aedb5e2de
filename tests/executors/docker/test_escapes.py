"""Some of the attacks on containers; `make escapes` runs them all, with those on the other executors."""

from __future__ import annotations

import pytest

from tests.escapes.attack import Attack
from tests.escapes.attacks import ATTACKS, THEMES
from tests.escapes.lane import Shot, runs_here, shoot

EACH = 15
QUICK = [attack for attack in ATTACKS if runs_here(attack) and attack.timeout_s <= 10]
FIRST = [next(attack for attack in attacks if attack in QUICK) for attacks in THEMES.values()]
SOME = [
    attack for attack in dict.fromkeys([*THEMES["containers"], *ATTACKS[::EACH], *FIRST]) if attack in QUICK
]  # fmt: skip

# The first test of those selected waits for the attacks of all.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def shots(docker_image: str) -> dict[str, Shot]:
    """What became of each. The image is there before several would make it at once."""
    return {attack.name: shot["docker"] for attack, shot in zip(SOME, shoot(SOME, ["docker"]), strict=True)}


@pytest.mark.parametrize("attack", SOME, ids=lambda attack: attack.name)
def test_an_attack_from_a_container_is_stopped(attack: Attack, shots: dict[str, Shot]) -> None:
    shot = shots[attack.name]

    assert shot.stopped, f"{shot.outcome}\n{shot.why}"


def test_every_theme_is_among_them() -> None:
    assert [name for name, attacks in THEMES.items() if not {*attacks} & {*SOME}] == []
