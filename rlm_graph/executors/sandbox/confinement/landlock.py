"""Landlock: the kernel's own list of the files that this process may touch, given up for good by the process itself.

Source: the kernel's `Documentation/userspace-api/landlock.rst` and `include/uapi/linux/landlock.h`. Each ABI version
adds rights to those before it; a right that the kernel does not know cannot be asked for.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

from rlm_graph.executors.sandbox.confinement.syscalls import call

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
MAKE_SYM = 1 << 12
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15

READ = READ_FILE | READ_DIR
SCRATCH = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER | TRUNCATE
"""Ordinary files, folders and symbolic links. No program can be started from there, and no socket, pipe or device
node be left there."""

_ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
_RIGHTS_NOW = 16
_NO_TCP = 0b11
_SCOPED = 0b11
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1


def abi() -> int:
    """The version of Landlock that this kernel offers; 0 if it has none, or none to us."""
    try:
        return call("landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def restrict(rules: Iterable[tuple[str, int]], *, allow_network: bool = False) -> list[str]:
    """Leave this thread, and what it starts, only the rights that `rules` give on and beneath each path.

    Whatever the kernel's version can deny is denied unless a rule gives it: files always; binding and connecting TCP
    from ABI 4; signals and abstract Unix sockets to processes outside from ABI 6. Names the kinds denied. Needs
    `no_new_privs`. Raises `OSError` if the kernel refuses, `FileNotFoundError` for a path that is not there.
    """
    version = abi()
    if not version:
        raise OSError("Landlock is not available in this kernel")
    handled = (1 << _RIGHTS_OF_ABI.get(version, _RIGHTS_NOW)) - 1
    tcp = 0 if allow_network else _NO_TCP
    denied = ["files"] + ["tcp"] * (version >= 4 and tcp > 0) + ["signals", "abstract unix sockets"] * (version >= 6)
    attributes = struct.pack("=QQQ", handled, tcp, _SCOPED)[: 8 if version < 4 else 16 if version < 6 else 24]
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = call("landlock_create_ruleset", buffer, len(attributes), 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return denied


def _allow(ruleset: int, path: str, rights: int) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= _ON_FILES
        rule = struct.pack("=Qi", rights, beneath)
        call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0)
    finally:
        os.close(beneath)
