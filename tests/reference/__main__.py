"""Writes the API reference: ``python -m tests.reference FOLDER``."""

import sys
from pathlib import Path

from tests.reference import Reference, public_modules


def main(folder: str) -> None:
    reference = Reference(public_modules())
    pages = reference.write()
    if reference.problems:
        sys.exit("\n".join(reference.problems))
    for name, text in pages.items():
        file = Path(folder) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    print(f"wrote {Path(folder) / 'index.html'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.reference FOLDER")
    main(sys.argv[1])
