"""What the tests of faults share: one lane, in which commands start fast."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import harness
from tests.faults.harness import Lane


@pytest.fixture(scope="session")
def lane() -> Iterator[Lane]:
    with harness.lane() as opened:
        yield opened
