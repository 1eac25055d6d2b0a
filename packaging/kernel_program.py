"""Compiles the program of the kernel data plane: mcrelay/kernel/program/ to mcrelay/kernel/relay.bpfel.o.

    python packaging/kernel_program.py WHEEL    with the compiler in a wheel of ziglang
    python packaging/kernel_program.py          only tells, by its exit code, whether the object is current

The object has a hash of what it was made from, so a current object is never compiled again. The package
ziglang has Clang with the instruction set of BPF. It has 22,000 files, of which two are needed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

COMPILER = "ziglang>=0.13,<0.18"
PROGRAM = Path(__file__).parents[1] / "mcrelay" / "kernel" / "program"
SOURCE = PROGRAM / "relay.bpf.c"
OBJECT = PROGRAM.with_name("relay.bpfel.o")
_OPTIONS = ("-target", "bpfel-freestanding-none", "-mcpu=v3", "-O2", "-Wall", "-Wextra", "-Werror", "-c")
_NEEDED = ("ziglang/zig", "ziglang/lib/std/std.zig")


class CompilerError(Exception):
    """The compiler is missing or failed."""


def fingerprint() -> str:
    """Return a hash of the sources and of this file."""
    files = [*sorted(PROGRAM.iterdir()), Path(__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def is_current() -> bool:
    """Return whether the object was made from this source by this file."""
    return OBJECT.exists() and fingerprint().encode() in OBJECT.read_bytes()


def compile_program(zig: list[str]) -> None:
    """Compile the program by this command, such as `["python", "-m", "ziglang"]`; raises CompilerError."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "made.o")
        command = [*zig, "cc", *_OPTIONS, f'-DFINGERPRINT="{fingerprint()}"', str(SOURCE), "-o", str(made)]
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
        try:
            subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        except OSError as error:
            raise CompilerError(f"{zig[0]}: {error.strerror}") from error
        except subprocess.CalledProcessError as error:
            text = error.stderr.strip()
            raise CompilerError(text or f"the compiler ended with {error.returncode}") from error
        OBJECT.write_bytes(made.read_bytes())


def compile_from_wheel(wheel: Path) -> None:
    """Compile the program with the compiler in a wheel, of which only what is needed is unpacked."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            for name in _NEEDED:
                archive.extract(name, folder)
        zig = Path(folder, _NEEDED[0])
        zig.chmod(0o755)
        compile_program([str(zig)])


def main(arguments: list[str]) -> int:
    """Run this file as a command, and return its exit code."""
    if not arguments:
        return not is_current()
    try:
        compile_from_wheel(Path(arguments[0]))
    except CompilerError as error:
        print(f"{SOURCE}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
