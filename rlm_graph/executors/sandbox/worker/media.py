"""Images and sounds that code hands to a model: files or bytes, as data URLs that a frame can carry."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import Any

MAX_BYTES = 20 << 20
"""Of one image or sound: what providers take at the most."""

_IMAGES = {b"\x89PNG\r\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
_SOUNDS = {
    b"ID3": "mpeg",
    b"\xff\xfb": "mpeg",
    b"\xff\xf3": "mpeg",
    b"\xff\xf2": "mpeg",
    b"OggS": "ogg",
    b"fLaC": "flac",
}
_IN_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}


def image_arguments(images: Any) -> list[str] | None:
    """Return images as data URLs. Raises `ValueError` for what is no PNG, JPEG, GIF or WebP, or too large."""
    return _urls(images, "images", "image/", "PNG, JPEG, GIF or WebP")


def audio_arguments(audio: Any) -> list[str] | None:
    """Return sounds as data URLs. Raises `ValueError` for what is no WAV, MP3, Ogg or FLAC, or too large."""
    return _urls(audio, "audio", "audio/", "WAV, MP3, Ogg or FLAC")


def _urls(given: Any, name: str, kind: str, formats: str) -> list[str] | None:
    if given is None:
        return None
    items: Sequence[Any] = [given] if isinstance(given, (str, bytes, bytearray, os.PathLike)) else given
    return [_url(item, name, kind, formats) for item in items]


def _url(item: Any, name: str, kind: str, formats: str) -> str:
    if isinstance(item, str) and (item.startswith("data:") or "://" in item):
        return item  # the host judges it
    data = bytes(item) if isinstance(item, (bytes, bytearray)) else _read(item, name)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{name}: {len(data):,} bytes, more than {MAX_BYTES:,}; make it smaller first")
    found = _kind(data)
    if found is None or not found.startswith(kind):
        raise ValueError(f"{name}: {found or 'bytes of no known format'}; give {formats}")
    return f"data:{found};base64,{base64.b64encode(data).decode()}"


def _read(path: Any, name: str) -> bytes:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name}: give bytes or the path of a file, not {type(path).__name__}")
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _kind(data: bytes) -> str | None:
    """Tell the format by its first bytes."""
    if data.startswith(b"RIFF"):
        return _IN_RIFF.get(data[8:12])
    for formats, kind in ((_IMAGES, "image"), (_SOUNDS, "audio")):
        for magic, name in formats.items():
            if data.startswith(magic):
                return f"{kind}/{name}"
    return None
