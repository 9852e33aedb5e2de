"""An image for tests: this machine's own Python in `/usr/local`, a shell, and nothing else. It needs no registry."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip"}


def prepared_image() -> str:
    """Return the image's name. It is imported once for each content, and stays for the next tests."""
    files = dict(sorted(_image_files()))
    digest = hashlib.sha256()
    for name, path in files.items():
        if path.suffix != ".pyc":  # they come and go as the interpreter is used
            digest.update(f"{name}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}\n".encode())
    image = f"rlm-graph-test-python:{digest.hexdigest()[:16]}"

    if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode != 0:
        with tempfile.TemporaryFile() as archive:
            _write_archive(archive, files)
            archive.seek(0)
            environment = "ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8"
            subprocess.run(
                ["docker", "import", "--change", environment, "-", image],
                stdin=archive, check=True, capture_output=True, timeout=300,
            )  # fmt: skip
    return image


def _image_files() -> Iterator[tuple[str, Path]]:
    """Every file of the image: its name there, and where it lies here."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # the interpreter beneath a venv
    standard_library = Path(sysconfig.get_path("stdlib"))
    programs = [python]
    yield f"usr/local/bin/{version}", python
    for folder, folders, names in os.walk(standard_library):
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith("config-")]
        for name in names:
            path = Path(folder, name)
            yield f"usr/local/lib/{version}/{path.relative_to(standard_library)}", path
            if ".so" in path.suffixes:
                programs.append(path)
    for name in ("sh", "bash"):
        shell = Path(shutil.which(name) or f"/bin/{name}")
        yield f"bin/{name}", shell
        programs.append(shell)
    libraries = _libraries(programs)
    # Threads need it when they end, and load it only then.
    unwinder = next(path for path in libraries if path.name.startswith("libc.so")).with_name("libgcc_s.so.1")
    for path in {*libraries, unwinder, Path("/etc/ld.so.cache")}:
        if path.exists():
            yield str(path).lstrip("/"), path


def _libraries(programs: list[Path]) -> set[Path]:
    listing = subprocess.run(["ldd", *programs], capture_output=True, text=True, timeout=60).stdout
    return {Path(path) for path in re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", listing, re.MULTILINE)}


def _write_archive(archive: io.BufferedIOBase | tempfile._TemporaryFileWrapper[bytes], files: dict[str, Path]) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    accounts = {"etc/passwd": b"root:x:0:0::/root:/bin/sh\n", "etc/group": b"root:x:0:\n"}
    with tarfile.open(fileobj=archive, mode="w") as tar:  # type: ignore[arg-type]  # any binary file will do
        folders = {str(parent) for name in [*files, *accounts] for parent in Path(name).parents} - {"."}
        for name in sorted(folders | {"root", "tmp", "proc", "sys", "dev"}):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)
        for name, text in accounts.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text))
        for name, path in files.items():
            with path.open("rb") as file:
                entry = tar.gettarinfo(arcname=name, fileobj=file)
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                entry.mode |= 0o444
                # The same file may lie under two names here; the image then holds it twice.
                entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
                tar.addfile(entry, file)
        for name in ("python3", "python"):
            link = tarfile.TarInfo(f"usr/local/bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, version
            tar.addfile(link)
