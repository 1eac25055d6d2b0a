"""The result files: `results.json` with every value of every run, and a chart for each question."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import overview
from benchmarks.figures import Figure, Question
from benchmarks.goals import Goal
from benchmarks.plot import chart

VERSION = 1  # of the JSON document


def write(
    folder: Path, figures: Sequence[Figure], goals: Sequence[Goal], facts: Mapping[str, Any], effort: str
) -> list[Path]:
    """Write all files, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        f"{question.key}.svg": chart(question, figures, caption(facts)) for question in _questions(figures)
    }
    if drawn := overview.overview(figures, caption(facts)):
        contents[overview.NAME] = drawn
    contents["results.json"] = json.dumps(document(figures, goals, facts, effort), indent=1) + "\n"
    for name, content in contents.items():
        (folder / name).write_text(content)
    return [folder / name for name in contents]


def document(
    figures: Sequence[Figure], goals: Sequence[Goal], facts: Mapping[str, Any], effort: str
) -> dict[str, Any]:
    """Return the JSON document of all results."""
    return {
        "version": VERSION,
        "effort": effort,
        "machine": dict(facts),
        "figures": [
            {
                "question": figure.question.key,
                "title": figure.question.title,
                "unit": figure.question.unit,
                "case": figure.case,
                "relay": figure.relay,
                "median": figure.median,
                "lowest": figure.lowest,
                "highest": figure.highest,
                "values": list(figure.values),
                "at_least": figure.is_bound,
            }
            for figure in figures
        ],
        "goals": [
            {"goal": goal.text, "wanted": goal.wanted, "measured": goal.measured, "verdict": goal.verdict}
            for goal in goals
        ],
    }


def caption(facts: Mapping[str, Any]) -> str:
    """Return a line that describes the machine."""
    return (
        f"{facts['processors']} processors ({facts['model']}), Linux {facts['kernel']},"
        f" Python {facts['python']}, numpy {facts['numpy']};"
        f" load average before the start: {facts['load_average']}"
    )


def _questions(figures: Sequence[Figure]) -> list[Question]:
    return list(dict.fromkeys(figure.question for figure in figures))
