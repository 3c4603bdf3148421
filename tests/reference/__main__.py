"""Writes the API reference: ``python -m tests.reference FOLDER``."""

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.reference", description="Write the API reference as HTML pages."
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="made if it does not exist")
    folder: Path = parser.parse_args().folder
    if folder.exists() and not folder.is_dir():
        parser.error(f"{folder} is a file; name a folder")
    try:
        from tests.reference.pages import Reference, public_modules
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] in ("tests", "listenproto"):
            raise
        sys.exit("the reference needs the extra docs: pip install '.[docs]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        parser.error(f"cannot make the folder {folder}: {exc.strerror}")
    reference = Reference(public_modules())
    pages = reference.write()
    if reference.problems:
        sys.exit("\n".join(reference.problems))
    for name, text in pages.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    print(f"wrote {folder / 'index.html'}")


if __name__ == "__main__":
    main()
