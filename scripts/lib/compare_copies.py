#!/usr/bin/python3
"""Compares what nodes say of their vbuckets, and shows a line for each node. Exit code 1 on any difference.

Each argument is NAME=FILE, a file as `cairnctl --json vbuckets` writes it. The digest of a node is made of its
vbuckets' digests, each of which covers every key, value, flags, expiry and CAS in it.
"""

import hashlib
import json
import sys

COMPARED = ("items", "high_seqno", "digest")
SHOWN_MAX = 5


def read(path):
    """{vbucket: its figures}"""
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)
    return {int(row["vbucket"]): row for row in rows}


def line(name, vbuckets):
    states = sorted({row["state"] for row in vbuckets.values()})
    digest = hashlib.sha256()
    for vbucket in sorted(vbuckets):
        digest.update(f"{vbucket} {vbuckets[vbucket]['digest']}\n".encode())
    items = sum(int(row["items"]) for row in vbuckets.values())
    seqnos = sum(int(row["high_seqno"]) for row in vbuckets.values())
    return (f"  {name:8} {','.join(states):15} {len(vbuckets):5} vbuckets {items:9,} items {seqnos:16,} seqnos   "
            f"digest {digest.hexdigest()[:16]}")


def differences(first, other):
    for vbucket in sorted(set(first) | set(other)):
        here, there = first.get(vbucket), other.get(vbucket)
        if here is None or there is None:
            yield f"vbucket {vbucket} is on one of them only"
            continue
        for what in COMPARED:
            if here[what] != there[what]:
                yield f"vbucket {vbucket}: {what} {here[what]} and {there[what]}"


def main():
    nodes = [argument.split("=", 1) for argument in sys.argv[1:]]
    copies = {name: read(path) for name, path in nodes}
    equal = True
    for name, vbuckets in copies.items():
        print(line(name, vbuckets))
    names = list(copies)
    for name in names[1:]:
        found = list(differences(copies[names[0]], copies[name]))
        equal = equal and not found
        for text in found[:SHOWN_MAX]:
            print(f"  {names[0]} and {name} DIFFER: {text}")
        if len(found) > SHOWN_MAX:
            print(f"  … and {len(found) - SHOWN_MAX:,} more")
    if not any(copies.values()):
        print("  there is nothing to compare")
        equal = False
    sys.exit(0 if equal else 1)


main()
