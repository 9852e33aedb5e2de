"""What a run may spend, what it has spent, and what it may pass on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from rlm_graph.errors import BudgetExceeded, InputError, SetupError, nearest
from rlm_graph.value import Value

Ceiling = Literal[
    "max_turns", "max_cost_usd", "max_tokens", "timeout_s", "max_subcalls", "max_subcalls_per_turn",
    "max_subcalls_per_session", "max_depth",
]  # fmt: skip

SHARE = 0.5
"""The part of what is left that a child may be granted."""


class Usage(Value):
    """What was spent. Two usages add up; peaks take the larger one."""

    turns: NonNegativeInt = 0
    """Replies of the root model."""
    subcalls: NonNegativeInt = 0
    """Calls that code made to a model; each prompt of a batch is one."""
    input_tokens: NonNegativeInt = 0
    output_tokens: NonNegativeInt = 0
    cost_usd: NonNegativeFloat = 0.0
    """US dollars, as far as prices are known."""
    unpriced_calls: NonNegativeInt = 0
    """Model calls whose price nobody knows. Their cost is not in `cost_usd`."""
    estimated_calls: NonNegativeInt = 0
    """Model calls whose tokens no provider has counted, in full or at all: broken off, or answered without a count.
    What is counted for them is an estimate."""
    wall_s: NonNegativeFloat = 0.0
    """Seconds in which a node of the run was at work; the time between a crash and its resume does not count."""
    cpu_s: NonNegativeFloat = 0.0
    """Processor seconds of the sandbox."""
    peak_memory_bytes: NonNegativeInt = 0
    """The most memory that the sandbox held at once."""

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        summed = {
            name: getattr(self, name) + getattr(other, name)
            for name in type(self).model_fields
            if name != "peak_memory_bytes"
        }
        return Usage(**summed, peak_memory_bytes=max(self.peak_memory_bytes, other.peak_memory_bytes))


class Budget(Value):
    """Ceilings on one run. A ceiling holds for the run and everything it calls; `None` is no ceiling."""

    max_turns: PositiveInt | None = 10
    max_cost_usd: PositiveFloat | None = 2.0
    max_tokens: PositiveInt | None = None
    timeout_s: PositiveFloat | None = 300.0
    """Seconds of work, over all resumes."""
    max_subcalls: NonNegativeInt | None = None
    """Calls that code makes to a model; 0 turns them off."""
    max_subcalls_per_turn: NonNegativeInt | None = None
    max_subcalls_per_session: NonNegativeInt | None = None
    """Over all questions that are asked on one thread."""
    max_depth: NonNegativeInt = 4
    """Levels of recursion still allowed below this run."""
    max_output_chars: PositiveInt = 20_000
    """Characters of one cell's output that the model reads; the middle of a longer one is left out."""
    allow_unpriced: bool = True
    """Whether a model of unknown price may be called. False by default once `max_cost_usd` is set by hand: a ceiling
    that somebody chose must hold, while the default one never could for a local model."""

    @model_validator(mode="before")
    @classmethod
    def _a_chosen_ceiling_must_hold(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("max_cost_usd") is not None and "allow_unpriced" not in given:
            return {**given, "allow_unpriced": False}
        return given

    @classmethod
    def of(cls, given: Any, *, error: type[InputError | SetupError] = InputError) -> Self:
        """Return the budget that a dict of its fields describes, such as `{"max_turns": 3}`; a budget as it is.

        Raises `error` for a field that there is not, naming the nearest, and for a value that does not fit.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise error(f"budget: give a Budget, or a dict of its fields such as {{'max_turns': 3}}, not {given!r}")
        try:
            return cls.model_validate(dict(given))
        except ValidationError as failed:
            first = failed.errors(include_url=False)[0]
            name = ".".join(map(str, first["loc"]))
            if name in cls.model_fields:
                raise error(f"budget.{name}: {first['msg']}, not {first['input']!r}") from None
            raise error(f"budget: there is no field {name!r}{nearest(name, cls.model_fields)}") from None

    def exceeded(self, usage: Usage) -> BudgetExceeded | None:
        """Return the first ceiling that `usage` has reached, as the error that names it."""
        for ceiling, spent, limit in self._measures(usage):
            if spent >= limit:
                return BudgetExceeded(ceiling, spent=spent, limit=limit)
        return None

    def grant(self, usage: Usage, *, shares: int = 1, requested: Budget | None = None) -> Budget:
        """Return a child's budget: half of what `usage` leaves, divided by `shares`, with one level of recursion less.

        `shares` is the number of siblings that run at once: each gets an equal part, so together they cannot overspend.
        Seconds are not divided, for they pass for all siblings at once. A ceiling that was set by hand in `requested`
        holds where it is lower than the granted one. Raises `BudgetExceeded` if nothing is left to grant.
        """
        if self.max_depth == 0:
            raise BudgetExceeded("max_depth", spent=0, limit=0)
        part = SHARE / shares
        granted: dict[str, float | int] = {"max_depth": self.max_depth - 1}
        if self.max_cost_usd is not None:
            granted["max_cost_usd"] = (self.max_cost_usd - usage.cost_usd) * part
        if self.max_tokens is not None:
            granted["max_tokens"] = int((self.max_tokens - usage.tokens) * part)
        if self.timeout_s is not None:
            granted["timeout_s"] = (self.timeout_s - usage.wall_s) * SHARE
        for ceiling, value in granted.items():
            if value <= 0 and ceiling != "max_depth":
                raise self.exceeded(usage) or BudgetExceeded(ceiling, spent=0, limit=0)
        if self.max_subcalls is not None:
            granted["max_subcalls"] = max(0, int((self.max_subcalls - usage.subcalls) * part))
        grant = self.model_copy(update=granted)
        return grant if requested is None else grant.capped_by(requested)

    def capped_by(self, other: Budget) -> Budget:
        """Return the budget with each ceiling of `other` that was set there by hand, where it is the lower one.

        What either refuses to call, a model of unknown price, is refused.
        """
        lower: dict[str, Any] = {}
        for name in other.model_fields_set - {"allow_unpriced"}:
            theirs, ours = getattr(other, name), getattr(self, name)
            if theirs is not None and (ours is None or theirs < ours):
                lower[name] = theirs
        if "allow_unpriced" in other.model_fields_set:
            lower["allow_unpriced"] = self.allow_unpriced and other.allow_unpriced
        return self.model_copy(update=lower)

    def _measures(self, usage: Usage) -> Iterator[tuple[Ceiling, float, float]]:
        measures: tuple[tuple[Ceiling, float, float | None], ...] = (
            ("max_turns", usage.turns, self.max_turns),
            ("max_cost_usd", usage.cost_usd, self.max_cost_usd),
            ("max_tokens", usage.tokens, self.max_tokens),
            ("timeout_s", usage.wall_s, self.timeout_s),
        )
        for ceiling, spent, limit in measures:
            if limit is not None:
                yield ceiling, spent, limit


class Caps(Value):
    """The most that any run may be allowed. A deployment raises them; neither a model nor who asks a question can."""

    max_turns: PositiveInt | None = 50
    max_cost_usd: PositiveFloat | None = 10.0
    max_tokens: PositiveInt | None = None
    timeout_s: PositiveFloat | None = 600.0
    max_subcalls: NonNegativeInt | None = None
    max_subcalls_per_turn: NonNegativeInt | None = None
    max_subcalls_per_session: NonNegativeInt | None = None
    max_depth: NonNegativeInt | None = 5

    def applied(self, budget: Budget) -> Budget:
        """Return the budget with a cap wherever it has no ceiling, or a default that is higher.

        Raises `SetupError` for a ceiling that was set by hand and is higher.
        """
        capped = {}
        for name in type(self).model_fields:
            cap, asked = getattr(self, name), getattr(budget, name)
            if cap is None or (asked is not None and asked <= cap):
                continue
            if asked is not None and name in budget.model_fields_set:
                raise SetupError(
                    f"budget.{name}: {asked:,g} is over the cap of {cap:,g} that holds here; ask for less, or raise "
                    f"caps.{name} (RLM_CAPS__{name.upper()}={asked:g})"
                )
            capped[name] = cap
        return budget.model_copy(update=capped)
