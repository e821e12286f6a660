"""SHA-256 hashes that show whether files still hold what was written: in JSON, in a list, or in a last line.

The hashes find accidents (a full disk, a bad copy, an edit by mistake), not forgery: they lie beside the
files themselves, and whoever can change a file can change its hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from safediffusion.errors import Damaged
from safediffusion.files.atomic import write_text

SUMS = "SHA256SUMS"  # in a folder of many files; `sha256sum -c SHA256SUMS` checks it too
SUM = re.compile(r"([0-9a-f]{64})  (.+)")
MARK = "# checksum: "  # last line of a text file
OTHER = "its content is not what was written"
RESTORE = "restore it from a copy, or start over with --fresh"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises:
        Damaged: it is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> Damaged:
    """Return the error for a file that cannot be opened or read."""
    missing = isinstance(error, FileNotFoundError)
    return Damaged(path, "it is missing" if missing else (error.strerror or str(error)).lower())


def check_files(folder: Path, hashes: Mapping[str, str]) -> None:
    """Compare files with the hashes recorded when they were written.

    Raises:
        Damaged: the first file that is missing or differs.
    """
    for name, expected in hashes.items():
        if sha256(folder / name) != expected:
            raise Damaged(folder / name, OTHER)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS, the hashes of all files of a folder in the format of `sha256sum`, into it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    lines = (f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    write_text(folder / SUMS, "".join(lines))


def check_sums(folder: Path) -> None:
    """Compare a folder with its SHA256SUMS; a folder without one is not checked.

    Raises:
        Damaged: the first file that is missing or differs.
    """
    path = folder / SUMS
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    found = {match[2]: match[1] for match in map(SUM.fullmatch, text.splitlines()) if match}
    weights = {file.relative_to(folder).as_posix() for file in folder.rglob("*.safetensors")}
    if not text.endswith("\n") or len(found) < len(text.splitlines()) or not weights <= found.keys():
        raise Damaged(path, "it is not a list of hashes that names all weights")
    check_files(folder, found)


def sealed(text: str) -> str:
    """Return a text with its hash as a comment in a last line, for files that people read, such as YAML."""
    return f"{text}{MARK}{hashlib.sha256(text.encode()).hexdigest()}\n"


def check_sealed(path: Path) -> None:
    """Compare a text file with the hash in its last line; one without such a line is not checked.

    Raises:
        Damaged: it differs, or its end is missing.
    """
    if not path.is_file():
        return  # the reader raises the error for a missing file
    text = path.read_bytes().decode(errors="replace")
    content, mark, _ = text.rpartition(MARK)
    if not text.endswith("\n"):
        raise Damaged(path, "its end is missing", RESTORE)
    if mark and text != sealed(content):
        raise Damaged(path, OTHER, RESTORE)
