"""The enabled rules that do not run, or run in part, as every verdict of a reload has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.suggestions import list_words

MAX_CAUSES = 3  # in a line of text
MAX_NAMES = 4  # of rules with the same cause, in a line of text


@dataclass(frozen=True, slots=True)
class DegradedRule:
    """A rule that is enabled, but does not run or runs in part, with its state and the reason for it."""

    name: str
    state: str
    reason: str

    @property
    def runs_in_part(self) -> bool:
        """Whether packets of the rule are relayed, but not to all outputs or not by all workers."""
        return self.state == RuleState.ACTIVE

    def as_json(self) -> dict[str, str]:
        """Return the JSON object that clients see."""
        return asdict(self)


def find_degraded(statuses: Mapping[str, RuleStatus]) -> tuple[DegradedRule, ...]:
    """Return the degraded rules: first those that do not run at all."""
    found = (DegradedRule(name, str(status.state), status.reason) for name, status in statuses.items())
    return sort_degraded(found)


def sort_degraded(rules: Iterable[DegradedRule]) -> tuple[DegradedRule, ...]:
    """Return the degraded ones of these rules: first those that do not run at all."""
    degraded = [rule for rule in rules if is_degraded(rule.state, rule.reason)]
    return tuple(sorted(degraded, key=lambda rule: rule.runs_in_part))


def describe_degraded(rules: Sequence[DegradedRule], is_planned: bool = False) -> Iterator[str]:
    """Yield a line about the rules that do not run, and a line about the rules that run in part.

    `1 rule does not run: camera: device eth9 is absent`. Rules with the same reason are named together. If
    `is_planned`, the rules `would not run`.
    """
    words = ("would not run", "would not run") if is_planned else ("does not run", "do not run")
    yield from _describe([rule for rule in rules if not rule.runs_in_part], words)
    words = ("would run in part", "would run in part") if is_planned else ("runs in part", "run in part")
    yield from _describe([rule for rule in rules if rule.runs_in_part], words)


def is_degraded(state: str, reason: str) -> bool:
    """Return whether a rule with this state and reason is enabled, but does not run or runs in part."""
    return state != RuleState.DISABLED and (state != RuleState.ACTIVE or bool(reason))


def _describe(rules: Sequence[DegradedRule], verbs: tuple[str, str]) -> Iterator[str]:
    if not rules:
        return
    names: dict[str, list[str]] = {}
    for rule in rules:
        names.setdefault(rule.reason or rule.state, []).append(rule.name)
    causes = [
        f"{list_words(affected, MAX_NAMES)}: {reason}"
        for reason, affected in islice(names.items(), MAX_CAUSES)
    ]
    left_out = sum(map(len, islice(names.values(), MAX_CAUSES, None)))
    if left_out:
        causes.append(f"and {left_out:,} more; see `mcrelay status`")
    subject = f"1 rule {verbs[0]}" if len(rules) == 1 else f"{len(rules):,} rules {verbs[1]}"
    yield f"{subject}: {'; '.join(causes)}"
