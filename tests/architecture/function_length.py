"""Functions that are too long: over 60 lines, or 90 in a CUDA source.

The sources are formatted (scripts/lint sees to that), so a function's body ends at the first
closing brace in the column where its heading starts.
"""

import re

from includes import sources

LIMIT = 60
CUDA_LIMIT = 90

NO_FUNCTION = re.compile(r"^\s*(namespace|class|struct|union|enum|extern|typedef|using)\b")
CONTROL = re.compile(r"^\s*(if|for|while|switch|do|else|try|catch|return|case|default)\b|^\s*[}#]")
LAMBDA = re.compile(r"\[[^\]]*\]\s*\(")
# `{` at the end of a line that also closed a parameter list, maybe followed by qualifiers.
OPENS_FUNCTION = re.compile(r"\)[^;={}()]*(\([^()]*\))?[^;={}()]*\{$|\)\s*(:|,).*\{$")


def functions(lines):
    """(first line number, length, heading) of every function with a body of several lines."""
    for index, line in enumerate(lines):
        if not line.endswith("{") or CONTROL.match(line) or not OPENS_FUNCTION.search(line):
            continue
        first = heading(lines, index)
        if NO_FUNCTION.match(lines[first]) or CONTROL.match(lines[first]):
            continue
        closing = lines[first][: len(lines[first]) - len(lines[first].lstrip())] + "}"
        for last in range(index + 1, len(lines)):
            if lines[last].startswith(closing):
                yield first + 1, last - first + 1, lines[first].strip()
                break


def heading(lines, index):
    """Index of the line where the statement that ends at `index` begins."""
    first = index
    while first > 0 and not re.search(r"[;{}:]$|^\s*(//|#)|^$", lines[first - 1]):
        first -= 1
    # A lambda that is an argument ends where it begins, not where the call does.
    return max((at for at in range(first, index + 1) if LAMBDA.search(lines[at])), default=first)


def too_long(root):
    for path in sources(root):
        limit = CUDA_LIMIT if path.endswith((".cu", ".cuh")) else LIMIT
        lines = (root / path).read_text(encoding="utf-8").splitlines()
        for first, length, what in functions(lines):
            if length > limit:
                yield f"{path}:{first}: {length} lines, the limit is {limit}: {what}"
