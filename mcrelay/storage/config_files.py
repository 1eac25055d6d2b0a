"""The configuration files: the main file and its drop-ins, which are read up to a size limit."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mcrelay.config.compiler import compile_config
from mcrelay.config.model import Config
from mcrelay.config.problems import ConfigError, Problem, SourceLocation
from mcrelay.config.reader import parse_all
from mcrelay.model.os_errors import format_os_error
from mcrelay.model.printable import make_printable

DEFAULT = Path("/etc/mcrelay.yaml")
MAX_TOTAL_BYTES = 32 * 1024 * 1024  # of all files together
_VERSION_KEY = re.compile(rb"""^[{\s]*["']?version["']?\s*:""", re.MULTILINE)
STANDARD_INPUT = "<stdin>"
_ADVICE = {
    FileNotFoundError: "; write it, or name another file",
    PermissionError: "; let this user read it, or use sudo",
}

Name = str | os.PathLike[str]
Contents = list[tuple[str, bytes]]
"""Names and contents of the main file and of its drop-ins, in the order in which they are merged."""
Stamps = tuple[tuple[str, ...], tuple[object, ...]]
"""The problems of the drop-in directory, and the path and the results of stat(2) for each file."""


def compile_contents(contents: Contents, before: Config | None = None) -> Config:
    """Return the config that files define; raises ConfigError.

    If `before` has an equal rule with the same name and location, the config has the object from `before`.
    """
    return compile_config(parse_all(contents), before.rules if before else None)


def read(path: Name) -> Contents:
    """Read a main file, and its drop-ins in lexical order; raises ConfigError."""
    main = Path(path)
    contents = _contents(_paths(main), {})
    _refuse_drop_in(main, contents[0][1])
    return contents


def read_with(file: Path, content: bytes) -> Contents:
    """Read a main file and its drop-ins, with this content for `file`; raises ConfigError.

    `file` is the main file, or an existing or new drop-in.
    """
    if file.parent.suffix != ".d":
        return _contents(_paths(file), {file: content})
    if not file.name.endswith(".yaml") or not is_drop_in(file.name):
        why = (
            "this file would not be read: the name of a drop-in ends in `.yaml` and does not begin with a dot"
        )
        raise _unusable(file, why)
    main = file.parent.with_suffix(".yaml")
    return _contents([main, *sorted({*_drop_ins(main), file})], {file: content})


def read_one(path: Name) -> bytes:
    """Read one file; raises ConfigError."""
    return _content(Path(path), MAX_TOTAL_BYTES)


def read_standard_input() -> Contents:
    """Read standard input, which has no drop-ins; raises ConfigError."""
    try:
        content = sys.stdin.buffer.read(MAX_TOTAL_BYTES + 1)
    except OSError as error:  # a descriptor that is open for writing only, or a terminal that is gone
        raise _unusable(STANDARD_INPUT, error) from None
    return [(STANDARD_INPUT, _bounded(content, STANDARD_INPUT))]


def digest(contents: Iterable[tuple[str, bytes]]) -> str:
    """Return the SHA-256 hash of the names and contents of files, in hexadecimal digits."""
    hashed = hashlib.sha256()
    for name, content in contents:
        hashed.update(f"{name}\0{len(content)}\0".encode())
        hashed.update(content)
    return hashed.hexdigest()


def read_stamps(path: Name) -> Stamps:
    """Return a value that changes if the result of `read` may have changed. Opens no file."""
    main = Path(path)
    directory = drop_in_directory(main)
    try:
        names, problems = _drop_in_names(directory), []
    except ConfigError as invalid:
        names, problems = [], invalid.lines()
    # The paths are texts, because Path takes longer than stat(2).
    paths = (str(main), *(f"{directory}/{name}" for name in names))
    return tuple(problems), tuple((path, _stamp(path)) for path in paths)


def drop_in_directory(main: Path) -> Path:
    """Return the directory of the drop-ins of a main file."""
    return main.with_name(f"{main.stem}.d")


def is_drop_in(name: str) -> bool:
    """Return whether a name is that of a drop-in, or of a misnamed drop-in (`.yml`), which is refused."""
    return name.endswith((".yaml", ".yml")) and not name.startswith(".")


def _paths(main: Path) -> Iterator[Path]:
    yield main  # first, so that its problem is reported before a problem of the directory
    yield from _drop_ins(main)


def _refuse_drop_in(file: Path, content: bytes) -> None:
    """Raise ConfigError if a drop-in is given as the main file."""
    directory = file.absolute().parent
    if directory.suffix == ".d" and not _VERSION_KEY.search(content):
        main = directory.with_suffix(".yaml")
        advice = f"name the main file instead, which is read with its drop-ins: `mcrelay check {main}`"
        raise _unusable(file, f"this is a drop-in of {main}, and not a whole configuration; {advice}")


def _stamp(file: str) -> tuple[int, ...]:
    try:
        found = os.stat(file)
    except OSError as error:
        return (error.errno or 0,)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _drop_ins(main: Path) -> list[Path]:
    directory = drop_in_directory(main)
    return [directory / name for name in _drop_in_names(directory)]


def _drop_in_names(directory: Path) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory) if is_drop_in(name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(directory, error) from None
    if misnamed := [name for name in names if name.endswith(".yml")]:
        raise _unusable(directory / misnamed[0], "drop-ins end in `.yaml`; rename it")
    return names


def _contents(paths: Iterable[Path], known: Mapping[Path, bytes]) -> Contents:
    contents: Contents = []
    room = MAX_TOTAL_BYTES
    for file in paths:
        contents.append((_printable_name(file), known[file] if file in known else _content(file, room)))
        room -= len(contents[-1][1])
    return contents


def _content(file: Path, room: int) -> bytes:
    try:
        # Checked first: open(2) can trigger a device, and waits for the other end of a pipe.
        kind = os.stat(file).st_mode
        if not stat.S_ISREG(kind):
            raise _unusable(file, f"this is {_kind_name(kind)}, not a file")
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            return _bounded(opened.read(room + 1), file, room)
    except ValueError:
        raise _unusable(file, "this is not a file name") from None
    except OSError as error:
        raise _unusable(file, error) from None


def _bounded(content: bytes, file: Name, room: int = MAX_TOTAL_BYTES) -> bytes:
    if len(content) > room:
        raise _unusable(file, f"the configuration is larger than {MAX_TOTAL_BYTES // 2**20} MiB")
    return content


def _kind_name(kind: int) -> str:
    match stat.S_IFMT(kind):
        case stat.S_IFDIR:
            return "a directory"
        case stat.S_IFIFO:
            return "a pipe"
        case stat.S_IFSOCK:
            return "a socket"
        case _:
            return "a device"


def _unusable(file: Name, why: str | OSError) -> ConfigError:
    message = why if isinstance(why, str) else format_os_error(why) + _ADVICE.get(type(why), "")
    return ConfigError([Problem(SourceLocation(_printable_name(file)), "", message)])


def _printable_name(file: Name) -> str:
    return make_printable(os.fsencode(file).decode("utf-8", "backslashreplace"))
