"""Why outputs of a rule do not run, as one text: a cause that outputs share stands there once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcrelay.model.rule_status import join_reasons

MAX_REASONS = 4  # different reasons that the text of a rule has; `mcrelay status RULE` shows every output


def explain_outputs(missing: Sequence[tuple[str, str]], total: int) -> str:
    """Return why outputs do not run, given as pairs of interface and reason, of `total` outputs of a rule."""
    if not missing:
        return ""
    by_reason: dict[str, list[str]] = {}
    for interface, reason in missing:
        by_reason.setdefault(reason, []).append(interface)
    reasons = join_reasons(*_describe(by_reason))
    share = f"{len(missing)} of {total} outputs"
    if len(missing) < total:
        return f"{share} {'does' if len(missing) == 1 else 'do'} not run: {reasons}"
    return f"{share}: {reasons}" if len(by_reason) == 1 < total else reasons


def _describe(by_reason: dict[str, list[str]]) -> Iterator[str]:
    described = list(by_reason.items())[:MAX_REASONS]
    for reason, interfaces in described:
        if len(interfaces) == 1:
            yield f"output {interfaces[0]}: {reason}"
        else:
            yield reason if len(by_reason) == 1 else f"{len(interfaces)} outputs: {reason}"
    if others := sum(map(len, by_reason.values())) - sum(len(interfaces) for _, interfaces in described):
        yield f"and {others} more outputs, for other reasons" if others > 1 else "and 1 more output"
