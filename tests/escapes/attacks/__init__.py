"""Hostile cells, by theme. They are data: any executor can be tried with them."""

from __future__ import annotations

from tests.escapes.attack import Attack
from tests.escapes.attacks.cells import CELLS
from tests.escapes.attacks.channel import CHANNEL
from tests.escapes.attacks.containers import CONTAINERS
from tests.escapes.attacks.exhaustion import EXHAUSTION
from tests.escapes.attacks.files import FILES
from tests.escapes.attacks.interpreter import INTERPRETER
from tests.escapes.attacks.javascript import JAVASCRIPT
from tests.escapes.attacks.kernel import KERNEL
from tests.escapes.attacks.network import NETWORK
from tests.escapes.attacks.processes import PROCESSES

THEMES: dict[str, tuple[Attack, ...]] = {
    "files": FILES,
    "network": NETWORK,
    "processes": PROCESSES,
    "kernel": KERNEL,
    "interpreter": INTERPRETER,
    "channel": CHANNEL,
    "cells": CELLS,
    "containers": CONTAINERS,
    "javascript": JAVASCRIPT,
    "exhaustion": EXHAUSTION,
}
ATTACKS: tuple[Attack, ...] = tuple(attack for attacks in THEMES.values() for attack in attacks)
