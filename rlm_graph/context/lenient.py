"""Decoding that goes on after bytes that are no character, and leaves a mark at each place, to be counted."""

from __future__ import annotations

import codecs

LENIENT = "rlm-graph-lenient"
"""The name of the error handler: a lone surrogate passes, all else that cannot be decoded becomes `BAD`."""
BAD = "\U0010ffff"
"""What stands for bytes that cannot be decoded until it is replaced: a code point that no text may hold."""


def _pass_or_mark(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeDecodeError)
    try:
        return codecs.lookup_error("surrogatepass")(error)
    except UnicodeDecodeError:
        return BAD, error.end


codecs.register_error(LENIENT, _pass_or_mark)
