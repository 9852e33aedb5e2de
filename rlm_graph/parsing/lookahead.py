"""How far ahead a reply may be searched, so that reading it takes time in proportion to its length."""

from __future__ import annotations

_NOWHERE = (-1, -1)


class Lookahead:
    """Searches of one text, each remembered, and all of them bounded.

    A reply can hold thousands of openers that nothing closes. Each would be searched for to the end of the text.
    """

    def __init__(self, text: str) -> None:
        self.left = 8 * len(text) + 1_000
        """Characters that may still be searched without being consumed."""
        self._folded = text.translate(_LOWER)
        self._found: dict[str, tuple[int, int]] = {}

    def spend(self, chars: int) -> None:
        """Count `chars` as searched."""
        self.left = max(0, self.left - chars)

    def find(self, mark: str, start: int) -> int:
        """Return where `mark`, given in lower case, next occurs in whatever case; -1 if nowhere."""
        asked, found = self._found.get(mark, _NOWHERE)
        if asked < 0 or start < asked or start > found >= 0:
            found = self._folded.find(mark, start)
            self._found[mark] = (start, found)
        return found


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
