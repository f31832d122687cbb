# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parts of README.md that are made from what the lab's runs saw."""
import pathlib
import re
import sys

# What every run measures anew: held to be there, not to be the same.
MEASURED = re.compile(r"\d+\.\d+ s\b")


def part_of(text, name):
    return re.search(f"<!-- {name} -->\n(.*?)<!-- /{name} -->\n", text, re.DOTALL)


def main(name, make):
    """With --update README RUN... writes what make(RUNs) says there, else compares: a TAP line."""
    update = sys.argv[1] == "--update"
    readme, *runs = map(pathlib.Path, sys.argv[2 if update else 1:])
    text = readme.read_text()
    found = part_of(text, name)
    seen = make(runs)
    if update:
        readme.write_text(text[:found.start(1)] + seen + text[found.end(1):])
        return 0
    if found and MEASURED.sub("", found[1]) == MEASURED.sub("", seen):
        print(f"ok the {name} in README.md is what the runs saw")
        return 0
    print(f"not ok the {name} in README.md is not what the runs saw: see {sys.argv[0]} --update")
    print("".join(f"# {line}\n" for line in seen.splitlines()), end="")
    return 1
