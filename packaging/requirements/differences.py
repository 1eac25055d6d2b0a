"""Print the installed packages whose version a lock file does not name: python differences.py LOCK_FILE."""

import re
import sys
from collections import defaultdict
from importlib.metadata import distributions
from pathlib import Path

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def locked_versions(text: str) -> dict[str, set[str]]:
    """Return the versions of each package; it has several where they depend on Python's version."""
    versions = defaultdict(set)
    for name, version in _PIN.findall(text):
        versions[_normalized(name)].add(version)
    return versions


def differences(lock: str, installed: dict[str, str]) -> list[str]:
    """Return a line for each package that the lock file does not name with its installed version."""
    locked = locked_versions(lock)
    return [
        f"{name} {version}, locked: {' or '.join(sorted(locked.get(name, ['not at all'])))}"
        for name, version in sorted(installed.items())
        if version not in locked.get(name, ())
    ]


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed() -> dict[str, str]:
    found = {_normalized(each.metadata["Name"]): each.version for each in distributions()}
    return {name: version for name, version in found.items() if name not in ("mcrelay", "pip", "setuptools")}


if __name__ == "__main__":
    print("\n".join(differences(Path(sys.argv[1]).read_text(), _installed())) or "none")
