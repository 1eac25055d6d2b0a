"""Assigns the rows of the counter tables, and holds the memory of each worker with the tables."""

from __future__ import annotations

import mmap
from collections.abc import Hashable, Iterable, Sequence, Set

from mcrelay.config.model import Config, Rule
from mcrelay.ipc.shared_memory import SharedMemory
from mcrelay.kernel.counters import CounterReader
from mcrelay.model.actions import Open, SetFlow, WorkerAction
from mcrelay.model.counters import COUNTERS_SIZE, LINKS, OUTPUTS, RULES, Table
from mcrelay.model.state import DesiredState, Ingress, RouteOutput
from mcrelay.protocol.worker import Instruction
from mcrelay.supervisor.supply import SupplyError


class CounterMemory:
    """The counter tables of one worker. The worker writes them, the supervisor reads and clears them."""

    def __init__(self, name: str) -> None:
        self.shared = SharedMemory(name, COUNTERS_SIZE)
        self._numbers = memoryview(mmap.mmap(self.shared.descriptor, COUNTERS_SIZE)).cast("Q")

    def row(self, table: Table, row: int) -> list[int]:
        """Return the counts of a row, in the order of the columns."""
        return table.counts(self._numbers, row)

    def clear(self, table: Table, row: int) -> None:
        """Set a row to zero, for its next owner."""
        first = table.index(row, table.columns[0])
        size = len(table.columns)
        self._numbers[first : first + size] = memoryview(bytes(8 * size)).cast("Q")


class RowsExhausted(Exception):
    """All rows of a table are in use."""


class Rows:
    """Assigns the rows of one table to names of links, rules or outputs."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows: dict[Hashable, int] = {}
        self._free: dict[int, None] = {}
        self._used = 0
        self.assignments = 0
        """The number of times that a name got a row."""

    def row(self, name: Hashable) -> int:
        """Return the row of `name`, a new one if it has none; raises RowsExhausted."""
        if name not in self._rows:
            self._rows[name] = self._take()
            self.assignments += 1
        return self._rows[name]

    def adopt(self, name: Hashable, row: int) -> None:
        """Give `name` the row that it had in an earlier daemon, unless one of both is in use."""
        is_taken = row < self._used and row not in self._free
        if name in self._rows or is_taken or row >= self._table.rows:
            return
        self._free |= dict.fromkeys(range(self._used, row))
        self._used = max(self._used, row + 1)
        self._free.pop(row, None)
        self._rows[name] = row
        self.assignments += 1

    def get(self, name: Hashable) -> int | None:
        """Return the row of `name`, None if it has none."""
        return self._rows.get(name)

    def all(self) -> dict[Hashable, int]:
        """Return the row of every name that has one."""
        return dict(self._rows)

    def release_all_except(self, names: Iterable[Hashable]) -> list[int]:
        """Free the rows of all other names, and return the freed rows, which the caller must clear."""
        kept = set(names)
        gone = [name for name in self._rows if name not in kept]
        freed = [self._rows.pop(name) for name in gone]
        self._free |= dict.fromkeys(freed)
        return freed

    def _take(self) -> int:
        if self._free:
            return self._free.popitem()[0]
        if self._used == self._table.rows:
            raise RowsExhausted(f"no room for more than {self._table.rows} counters of a kind")
        self._used += 1
        return self._used - 1


class CounterRows:
    """The rows of links, rules and outputs, the same for all workers, and the memory of each worker."""

    def __init__(self) -> None:
        self.memories: dict[int, CounterMemory] = {}
        self.kernel: CounterReader | None = None
        """The counters of the kernel data plane, whose rows are the same."""
        self._links, self._rules, self._outputs = Rows(LINKS), Rows(RULES), Rows(OUTPUTS)

    @property
    def revision(self) -> int:
        """Return a number that changes whenever a rule or an output gets a row."""
        return self._rules.assignments + self._outputs.assignments

    def link_rows(self) -> dict[Hashable, int]:
        """Return the rows of the links that the relay reads, by ifindex."""
        return self._links.all()

    def memory(self, worker: int) -> CounterMemory:
        """Return the memory of a worker. A restart of the worker keeps it, with its counts."""
        if worker not in self.memories:
            self.memories[worker] = CounterMemory(f"mcrelay-counters-{worker}")
        return self.memories[worker]

    def link_row(self, ifindex: int) -> int:
        """Return the row of a link, a new one if it has none; raises RowsExhausted."""
        return self._links.row(ifindex)

    def rule_row(self, rule: str) -> int:
        """Return the row of a rule, a new one if it has none; raises RowsExhausted."""
        return self._rules.row(rule)

    def output_row(self, rule: str, output: RouteOutput) -> int:
        """Return the row of an output, a new one if it has none; raises RowsExhausted."""
        return self._outputs.row((rule, output.name))

    def adopt_link(self, ifindex: int, row: int) -> None:
        """Give a link the row that it had in an earlier daemon, if it is free."""
        self._links.adopt(ifindex, row)

    def adopt(self, rule: str, rule_row: int, outputs: Iterable[tuple[RouteOutput, int]]) -> None:
        """Give a rule and its outputs the rows that they had in an earlier daemon, if they are free."""
        self._rules.adopt(rule, rule_row)
        for output, row in outputs:
            self._outputs.adopt((rule, output.name), row)

    def taken(self) -> set[tuple[Table, int]]:
        """Return all rows that a link, a rule or an output has."""
        tables = ((LINKS, self._links), (RULES, self._rules), (OUTPUTS, self._outputs))
        return {(table, row) for table, rows in tables for row in rows.all().values()}

    def instructions(self, actions: Sequence[WorkerAction], resumed: Set[int]) -> tuple[Instruction, ...]:
        """Return instructions, the actions with the rows that they need.

        `resumed` is the set of indexes of actions whose ring a worker has read before. Raises SupplyError if
        a table has no free row.
        """
        instructions, failed = [], {}
        for index, action in enumerate(actions):
            try:
                instructions.append(self.instruction(action, index in resumed))
            except RowsExhausted as error:
                failed[index] = str(error)
        if failed:
            raise SupplyError(failed)
        return tuple(instructions)

    def instruction(self, action: WorkerAction, resume: bool) -> Instruction:
        """Return the instruction for an action, with the rows that it needs; raises RowsExhausted."""
        match action:
            case Open(_, Ingress() as ingress):
                return Instruction(action, (self.link_row(ingress.ifindex),), resume)
            case SetFlow(_, _, route):
                outputs = (self.output_row(route.rule, output) for output in route.outputs)
                return Instruction(action, (self.rule_row(route.rule), *outputs))
            case _:
                return Instruction(action)

    def release_all_except(
        self, configs: Iterable[Config], states: Iterable[DesiredState]
    ) -> list[tuple[Table, int]]:
        """Free and clear the rows of rules and outputs in no config, and of links that no state reads.

        Return these rows, whose counts in the kernel data plane must be cleared, too. A rule that does not
        run, for example because its device is absent, keeps its counts.
        """
        released = []
        rules = [rule for config in configs for rule in config.rules.values()]
        outputs = {(rule.name, output.name) for rule in rules for output in rule.outputs}
        links = {ifindex for state in states for ifindex in state.ifindexes}
        for rows, table, names in (
            (self._links, LINKS, links),
            (self._rules, RULES, {rule.name for rule in rules}),
            (self._outputs, OUTPUTS, outputs),
        ):
            for row in rows.release_all_except(names):
                released.append((table, row))
                for memory in self.memories.values():
                    memory.clear(table, row)
        return released

    def rule_rows(self, rule: Rule) -> tuple[int | None, ...]:
        """Return the row of a rule and then of each of its outputs; None stands for no row."""
        outputs = (self._outputs.get((rule.name, output.name)) for output in rule.outputs)
        return self._rules.get(rule.name), *outputs

    def link(self, ifindex: int) -> dict[str, int]:
        """Return the counts of a link over all workers and the kernel."""
        return self._total(LINKS, self._links.get(ifindex))

    def progress(self, worker: int) -> tuple[tuple[int, ...], ...]:
        """Return the counts of all links of a worker, which change with every packet that it takes."""
        memory = self.memories[worker]
        return tuple(tuple(memory.row(LINKS, row)) for row in self._links.all().values())

    def rule(self, name: str) -> dict[str, int]:
        """Return the counts of a rule over all workers and the kernel, with the time of the latest packet."""
        return self._total(RULES, self._rules.get(name))

    def output(self, rule: str, output: RouteOutput) -> dict[str, int]:
        """Return the counts of an output over all workers and the kernel."""
        return self._total(OUTPUTS, self._outputs.get((rule, output.name)))

    def _total(self, table: Table, row: int | None) -> dict[str, int]:
        counts = [] if row is None else [memory.row(table, row) for memory in self.memories.values()]
        if row is not None and self.kernel is not None:
            counts.append(self.kernel.row(table, row))
        return dict(zip(table.columns, table.total(counts), strict=True))
