"""Why outputs of a rule do not run, as one text: a cause that outputs share is told once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcrelay.model.rule_status import join_reasons

MAX_REASONS = 4  # different reasons that are told of one rule; `mcrelay status RULE` shows every output


def explain_outputs(missing: Sequence[tuple[str, str]], total: int) -> str:
    """Return why outputs do not run, given as pairs of interface and reason, of `total` outputs of a rule."""
    if not missing:
        return ""
    by_reason: dict[str, list[str]] = {}
    for interface, reason in missing:
        by_reason.setdefault(reason, []).append(interface)
    reasons = join_reasons(*_tell(by_reason))
    share = f"{len(missing)} of {total} outputs"
    if len(missing) < total:
        return f"{share} do not run: {reasons}"
    return f"{share}: {reasons}" if len(by_reason) == 1 < total else reasons


def _tell(by_reason: dict[str, list[str]]) -> Iterator[str]:
    told = list(by_reason.items())[:MAX_REASONS]
    for reason, interfaces in told:
        if len(interfaces) == 1:
            yield f"output {interfaces[0]}: {reason}"
        else:
            yield reason if len(by_reason) == 1 else f"{len(interfaces)} outputs: {reason}"
    if others := sum(map(len, by_reason.values())) - sum(len(interfaces) for _, interfaces in told):
        yield f"and {others} more outputs, for other reasons" if others > 1 else "and 1 more output"
