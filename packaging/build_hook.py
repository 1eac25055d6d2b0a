"""Lets hatchling compile the program of the kernel data plane before it packs a wheel or an editable install.

A current object is left as it is. Without a compiler, the package is built without the program, and says so
when the kernel data plane is to be used.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FILE = Path(__file__).with_name("kernel_program.py")
_spec = importlib.util.spec_from_file_location("kernel_program", _FILE)
assert _spec
assert _spec.loader
kernel_program = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kernel_program)

# The machines for which the package index has the compiler.
_MACHINES = "platform_machine in 'x86_64 aarch64 armv7l i686 ppc64le riscv64 s390x'"


class KernelProgramHook(BuildHookInterface[Any]):
    """Compiles the program if its object is missing or not current."""

    def dependencies(self) -> list[str]:
        """Return the compiler as a requirement of this build, if it is needed."""
        return [] if kernel_program.is_current() else [f"{kernel_program.COMPILER}; {_MACHINES}"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the program."""
        if kernel_program.is_current():
            return
        kernel_program.OBJECT.unlink(missing_ok=True)
        try:
            kernel_program.compile_program([sys.executable, "-m", "ziglang"])
        except kernel_program.CompilerError as error:
            self.app.display_warning(f"built without the kernel data plane: {error}")
