"""What the checks in scripts/ share: which files are ours, C++ text without comments, and reporting."""

import argparse
import os
import pathlib
import re
import sys

SKIPPED_FOLDERS = {".git", "build", "__pycache__"}
CXX_SUFFIXES = {".cc", ".h"}


class Findings:
    """Collects what a check finds and ends the process with its verdict."""

    def __init__(self, check):
        self._check = check
        self._lines = []

    def add(self, path, line, text):
        self._lines.append((str(path), line, text))

    def finish(self, looked_at):
        """Prints findings as file:line: text. Exits 1 when there are any, and 2 when nothing was looked at:
        a check that sees no file must not pass."""
        for path, line, text in sorted(self._lines):
            print(f"{path}:{line}: {text}")
        if self._lines:
            print(f"{self._check}: {len(self._lines)} finding(s) in {looked_at} files", file=sys.stderr)
            sys.exit(1)
        if looked_at == 0:
            print(f"{self._check}: no files found", file=sys.stderr)
            sys.exit(2)
        print(f"{self._check}: {looked_at} files are fine")
        sys.exit(0)


def parse_root(description):
    """The tree to look at: --root, by default the one that the script lies in."""
    parser = argparse.ArgumentParser(description=description)
    default = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--root", type=pathlib.Path, default=default, help="source tree to check")
    return parser.parse_args().root.resolve()


def files(root, suffixes=None):
    """Paths of the tree's files relative to root, sorted; all of them, or those with one of the suffixes."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in SKIPPED_FOLDERS]
        for name in names:
            path = pathlib.Path(folder, name).relative_to(root)
            if suffixes is None or path.suffix in suffixes:
                found.append(path)
    return sorted(found)


def read_text(path):
    """The file's text, or None when it is not UTF-8 text."""
    data = path.read_bytes()
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


_TOKEN = re.compile(
    r"""
    //(?:[^\n\\]|\\.|\\\n)*                                       # line comment
  | /\*.*?\*/                                                     # block comment
  | (?:u8|u|U|L)?R"(?P<mark>[^()\s\\]{0,16})\(.*?\)(?P=mark)"     # raw string
  | "(?:[^"\\\n]|\\.|\\\n)*"                                      # string
  | (?<![0-9a-zA-Z_])(?:u8|u|U|L)?'(?:[^'\\\n]|\\.)+'             # character; not 1'000
    """,
    re.VERBOSE | re.DOTALL,
)


def strip_comments_and_literals(text):
    """C++ text with comments blanked and literals emptied. Every newline stays, so that lines keep their
    numbers."""

    def blank(match):
        token = match.group(0)
        newlines = "\n" * token.count("\n")
        if token.startswith(("//", "/*")):
            return " " + newlines
        return ("0" if token.endswith("'") else '""') + newlines

    return _TOKEN.sub(blank, text)
