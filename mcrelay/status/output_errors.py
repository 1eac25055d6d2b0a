"""The last send error of each output, and the reasons that current errors add to the status of a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mcrelay.model.counters import OUTPUTS
from mcrelay.model.send_errors import OTHER_ERRNO, SEND_ERROR_EXPLANATIONS, SEND_ERROR_NAMES, PathFault
from mcrelay.protocol.jsonrpc import Json

CURRENT_S = 5.0  # an error is current for this time, also if packets were sent after it
UNREFUTED_S = 60.0  # an error is current for this time if no packet came after it
MAX_LABELS = 3  # outputs that a reason names

Age = Callable[[float], float]
"""Returns the age in seconds of a time of day (seconds since 1970)."""

_FAULTS = frozenset(str(fault) for fault in PathFault)
_TIME, _NAME = OUTPUTS.column("last_error_time"), OUTPUTS.column("last_error")


@dataclass(frozen=True, slots=True)
class OutputError:
    """A send error: its name, its time (nanoseconds since 1970), and its age in seconds."""

    name: str
    time: int
    age: float

    def as_json(self) -> Json:
        """Return the error as in the documents."""
        return {
            "name": self.name,
            "time": self.time / 1e9,
            "age": round(self.age, 3),
            "explanation": SEND_ERROR_EXPLANATIONS[self.name],
        }

    def is_current(self, last_packet: int) -> bool:
        """Return whether the error is a present problem; `last_packet` is the time of the rule's last packet.

        The plan gives the reason of a fault, which ends before a packet shows it.
        """
        if self.name in _FAULTS:
            return False
        return self.age < (CURRENT_S if last_packet > self.time else UNREFUTED_S)


def last_error(counts: Sequence[int], age: Age) -> OutputError | None:
    """Return the last error of an output with these counters, or None if there was none."""
    time, index = counts[_TIME], counts[_NAME]
    if not time:
        return None
    # Any process of the workers' user may write the counters.
    name = SEND_ERROR_NAMES[index] if index < len(SEND_ERROR_NAMES) else OTHER_ERRNO
    return OutputError(name, time, age(time / 1e9))


def describe_errors(labels: Sequence[str], errors: Sequence[OutputError | None]) -> Iterator[str]:
    """Yield a reason for each kind of error; `labels` and `errors` have an entry for each output."""
    by_name: dict[str, list[str]] = {}
    for label, error in zip(labels, errors, strict=True):
        if error:
            by_name.setdefault(error.name, []).append(label)
    for name, concerned in by_name.items():
        more = f" +{len(concerned) - MAX_LABELS:,}" if len(concerned) > MAX_LABELS else ""
        outputs = "output" if len(concerned) == 1 else f"{len(concerned):,} of {len(labels):,} outputs,"
        yield f"{outputs} {', '.join(concerned[:MAX_LABELS])}{more}: {name}, {SEND_ERROR_EXPLANATIONS[name]}"
