"""`python -m manual FOLDER` writes every page into the folder, and removes those that are no longer there."""

import sys
from pathlib import Path

from manual.pages import pages


def main(folder: Path) -> None:
    """Write all pages."""
    written = dict(pages())
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("mcrelay*.[0-9]"):
        if old.name not in written:
            old.unlink()
    for name, content in written.items():
        (folder / name).write_text(content, encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
