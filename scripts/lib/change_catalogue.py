#!/usr/bin/python3
"""Makes the next edition of a Debian package index: what an operator would load over the old one.

Always the same result for the same input. Every stanza gets a higher Version and a new field; every 50th
package is gone; for every 100th there is a new one. Of a package that the index has twice the last stanza
counts, as it does when the file is loaded.
"""

import argparse
import pathlib
import re

REMOVED_EVERY = 50
ADDED_EVERY = 100


def stanzas(text):
    """(package, stanza) in the order of the file, without duplicates."""
    found = {}
    for stanza in re.split(r"\n\n+", text.strip("\n")):
        match = re.search(r"^Package:\s*(\S+)", stanza, re.MULTILINE)
        if match:
            found[match.group(1)] = stanza
    return found


def changed(stanza, edition):
    bumped = re.sub(r"^(Version:\s*\S+)", rf"\1+catalogue{edition}", stanza, count=1, flags=re.MULTILINE)
    return f"{bumped}\nCatalogue-Edition: {edition}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edition", type=int, default=2)
    parser.add_argument("index", type=pathlib.Path, help="the old index, plain text")
    parser.add_argument("new_index", type=pathlib.Path, help="written: the new index")
    parser.add_argument("removed", type=pathlib.Path, help="written: the packages that are gone, one per line")
    options = parser.parse_args()
    old = stanzas(options.index.read_text(encoding="utf-8", errors="surrogateescape"))
    new, removed, added = [], [], 0
    for number, (package, stanza) in enumerate(old.items(), start=1):
        if number % REMOVED_EVERY == 0:
            removed.append(package)
        else:
            new.append(changed(stanza, options.edition))
        if number % ADDED_EVERY == 0:
            added += 1
            new.append(
                f"Package: new-in-catalogue-{options.edition}-{added}\n"
                f"Version: 1.0\nCatalogue-Edition: {options.edition}\n"
                f"Description: stands beside {package}"
            )
    text = "\n\n".join(new) + "\n"
    options.new_index.write_text(text, encoding="utf-8", errors="surrogateescape")
    options.removed.write_text("".join(f"{package}\n" for package in removed), encoding="utf-8")
    updated = len(new) - added
    print(f"{len(old)} packages: {updated} get a new version, {len(removed)} are gone, {added} are new")


main()
