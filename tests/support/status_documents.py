"""Status documents of a daemon that never ran."""

from copy import deepcopy

NOW = 1_795_381_964.0

RELOAD = {
    "at": NOW - 60,
    "outcome": "applied",
    "generation": 7,
    "changes": {
        "added": ["extra"], "added_count": 1,
        "changed": [], "changed_count": 0,
        "removed": ["old", "older"], "removed_count": 2,
        "kept": 3,
    },
    "problems": [],
    "lines": [],
    "reason": "",
}  # fmt: skip

REJECTED = {
    **RELOAD,
    "outcome": "rejected",
    "problems": [
        {
            "file": "/etc/mcrelay.yaml",
            "line": 9,
            "column": 11,
            "path": "rules.a.input.port",
            "message": "too high",
        }
    ],
    "lines": ["/etc/mcrelay.yaml:9:11: rules.a.input.port: too high", "    port: 70000", "          ^"],
}

TRIAL = {"generation": 7, "hash": "ab" * 32, "until": NOW + 60, "confirmed": "cd" * 32}


def output(**fields):
    """An output that sends every packet of its rule."""
    return {
        "interface": "plant", "device": "eth1", "destination": "239.2.2.2", "port": 6001,
        "source": "10.9.2.1", "source_port": None, "ttl": 64, "dscp": "copy", "loopback": False,
        "runs": True, "fault": None,
        "packets": 1_200_000, "octets": 1_680_000_000, "packets_per_second": 20_000.0,
        "bits_per_second": 224e6, "drops": {"ttl": 0, "send_error": {}},
        "last_error": None, "answers": 0,
    } | fields  # fmt: skip


def rule(name="camera", *, state="active", reason="", hint="", outputs=None, dropped=0, **taken):
    """A rule under 20 kpps; `taken` are fields of its input."""
    return {
        "name": name, "state": state, "reason": reason, "hint": hint,
        "description": "", "enabled": state != "disabled",
        "wanted_data_plane": "userspace", "exclusive": False,
        "data_plane": "userspace", "data_plane_reason": "", "file": "/etc/mcrelay.yaml", "line": 12,
        "input": {
            "interface": "studio", "device": "eth0", "destination": "239.1.1.1", "port": 5001, "sources": [],
            "loopback": False,
            "packets": 1_200_000, "octets": 1_680_000_000, "packets_per_second": 20_000.0,
            "bits_per_second": 224e6,
            "last_packet": {"time": NOW - 0.2, "age": 0.2, "source": "192.168.168.55"}, "near_misses": {},
            "drops": {"fragment": 0, "malformed": 0, "oversize": 0, "source": 0, "stale": 0, "own": 0},
        } | taken,
        "outputs": [output()] if outputs is None else outputs,
        "dropped": dropped,
    }  # fmt: skip


def idle(name, state, reason):
    """A rule that does not run and has had no packet."""
    nothing = {"packets": 0, "octets": 0, "packets_per_second": 0.0, "bits_per_second": 0.0}
    outputs = [output(**nothing, source=None, runs=False)]
    return rule(name, state=state, reason=reason, outputs=outputs, last_packet=None, **nothing)


def interface(name="studio", device="eth0", **fields):
    """An interface that is up and receives more than the packets of rules."""
    return {
        "name": name, "device": device, "link": "up", "altnames": [], "mtu": 1500, "addresses": ["10.1.0.1"],
        "memberships": [{"group": "239.1.1.1", "source": None}], "packets": 1_205_000,
        "octets": 1_687_000_000, "packets_per_second": 20_010.0, "bits_per_second": 224.1e6,
        "drops": {"no_rule": 0, "fragment": 0, "malformed": 0, "oversize": 0, "overrun": 0},
    } | fields  # fmt: skip


def process(name, kind, **fields):
    """A process that runs."""
    return {
        "name": name, "kind": kind, "pid": 4711, "state": "running", "reason": "", "restarts": 0,
        "uptime": 93_784.0, "cpu_percent": 12.34, "cpu_seconds": 1234.5, "memory_octets": 25_600_000,
    } | fields  # fmt: skip


SETTINGS = {"data_plane": "auto", "workers": "1", "watch": "true", "max_age": "1s"}

DOCUMENT = {
    "version": 1,
    "time": NOW,
    "daemon": {
        "version": "0.1.0",
        "pid": 4710,
        "uptime": 93_784.0,
        "config": "/etc/mcrelay.yaml",
        "problems": [],
        "kernel_data_plane": {"available": True, "reason": ""},
    },
    "generation": {
        "number": 7,
        "hash": "3f2a91c04b1e" + "0" * 52,
        "accepted": NOW - 60,
        "settings": SETTINGS,
    },
    "reload": RELOAD,
    "files": {
        "state": "running",
        "changes": {"added_count": 0, "changed_count": 0, "removed_count": 0, "kept": 1},
        "problems": [],
        "problem_count": 0,
    },
    "trial": None,
    "rules": [rule()],
    "interfaces": [
        interface(),
        interface("plant", "eth1", addresses=["10.9.2.1", "10.9.2.2", "10.9.2.3"], memberships=[]),
    ],
    "processes": [
        process("supervisor", "supervisor", pid=4710),
        process("control", "control", pid=4711),
        process("worker 0", "worker", pid=4712),
    ],
}


def document(*rules, **fields):
    """A document with these rules."""
    return deepcopy({**DOCUMENT, "rules": list(rules) or [rule()], **fields})
