"""How well texts answer a query, by the words that they share with it: a rare word tells more than a common one."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Return the words of a text in their order, without regard to case."""
    return _WORD.findall(text.casefold())


def scores(shared: Sequence[AbstractSet[str]], *, of: int) -> list[float]:
    """Return a score for each text, from the words that it shares with the query.

    A word counts the more, the fewer of the `of` texts share it; texts that share none may be left out of `shared`.
    """
    common = Counter(word for words in shared for word in words)
    weight = {word: math.log(1 + of / count) for word, count in common.items()}
    # Sorted: equal words make equal sums, to the last bit.
    return [sum(weight[word] for word in sorted(words)) for words in shared]
