"""What pytest's JUnit files tell: how many tests passed, which failed and with which words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from nnx.benchmarks.fields import read_json
from nnx.errors import DataError

_WORDS = 400  # characters of a message


def read_tests(files: Iterable[Path]) -> dict[str, Any]:
    """Return counts as "tests", and the tests that failed and were skipped with their reasons.

    A file that was cut off is named among the failures.
    """
    counts: Counter[str] = Counter()
    failed: list[dict[str, str]] = []
    skipped: Counter[str] = Counter()
    for path in sorted(files):
        try:
            cases = list(ElementTree.parse(path).iter("testcase"))
        except ElementTree.ParseError as error:
            failed.append({"test": path.name, "message": f"cut off: {error}"})
            continue
        for case in cases:
            if case.get("name") is None:  # under way when pytest was interrupted
                continue
            outcome = next((c for c in case if c.tag in ("failure", "error", "skipped")), None)
            what = "passed" if outcome is None else outcome.tag
            counts["failed" if what in ("failure", "error") else what] += 1
            if outcome is None:
                continue
            message = (outcome.get("message") or "")[:_WORDS]
            if what == "skipped":
                skipped[message] += 1
            else:
                failed.append({"test": node_id(case), "message": message})
    return {"tests": dict(counts), "failed": failed, "skipped": dict(skipped)}


def node_id(case: ElementTree.Element) -> str:
    """The name by which pytest runs a test again."""
    words = (case.get("classname") or "").split(".")
    # A module's name begins with test_; what follows it are classes.
    module = next((n for n, word in enumerate(words, 1) if word.startswith("test_")), len(words))
    return "::".join(["/".join(words[:module]) + ".py", *words[module:], case.get("name") or ""])


def failed_tests(folder: Path) -> tuple[str, ...]:
    """The tests that failed in the calls whose evidence lies in a folder."""
    found: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = read_json(path).value
        except DataError:
            continue
        if record.get("schema") == "nnx-gpu-run/1":
            found += [f["test"] for part in record["parts"] for f in part.get("failed", ())]
    return tuple(dict.fromkeys(test for test in found if "::" in test))
