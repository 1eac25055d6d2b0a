"""What every verb prints with --json, with a real daemon, is what its JSON Schema says."""

import json
import sys
import time

from mcrelay.lab.command import wait_until
from tests.support import json_schemas
from tests.support.json_schemas import validate

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001, sources: [192.168.168.55]}, outputs: ["
    "{interface: left, group: 239.2.2.2, port: 6001, ttl: decrement},"
    " {interface: right, address: 10.3.0.9, port: 6001, source_port: 7001, dscp: 46}]}"
)
OTHER = (
    "other: {description: not yet, enabled: false, input: {interface: studio, group: 239.1.1.9, port: 5009},"
    " outputs: [{interface: right}]}"
)
NOT_WARNED, WARNED = "group: 239.2.2.2", "group: 224.0.0.5"


class Verbs:
    """Runs verbs with --json, validates what they print, and keeps which verbs did."""

    def __init__(self, host, relay):
        self._host, self._relay = host, relay
        self.validated = set()

    def __call__(self, verb, *words, code=0, against=None, of_daemon=True):
        where = ["--run-dir", str(self._relay.run_dir)] if of_daemon else []
        done = self.begin(verb, *words, *where)
        out, err = done.communicate(timeout=60)
        assert done.returncode == code, err
        return self.validate(out, against or verb)

    def begin(self, verb, *words, host=None):
        return (host or self._host).start([sys.executable, "-m", "mcrelay", verb, "--json", *words])

    def validate(self, out, verb):
        documents = list(map(json.loads, out.splitlines())) if verb == "trace" else [json.loads(out)]
        for document in documents:
            validate(document, verb)
        self.validated.add(verb)
        return documents[0]


def test_each_verb_prints_what_its_schema_says(studio):
    with studio.relaying(FEED) as relay:
        mcrelay = Verbs(studio.relay, relay)
        state = ("--state-dir", str(relay.state_dir))
        config = str(relay.config)

        studio.send("239.1.1.1:5001", 200, rate=1000)
        studio.send("239.1.1.5:5001", 5, rate=1000)
        wait_until(lambda: mcrelay("stats")["rules"][0]["in"]["packets"] == 200, "the packets")
        assert mcrelay("status")["rules"][0]["input"]["last_packet"]["source"] == "192.168.168.55"
        assert [one["drops"]["ttl"] for one in mcrelay("status", "feed")["rules"][0]["outputs"]] == [200, 0]
        mcrelay("list")

        assert mcrelay("plan", config)["changes"]["keep"] == ["feed"]
        relay.config.write_text(studio.config(FEED.replace(NOT_WARNED, WARNED), OTHER))
        assert mcrelay("check", config)["warnings"]
        assert mcrelay("plan", config)["changes"]["change"].keys() == {"feed"}
        assert mcrelay("plan", config, of_daemon=False)["against"] is None
        assert mcrelay("reload")["outcome"] == "applied"
        assert mcrelay("reload")["outcome"] == "unchanged"
        assert mcrelay("status")["reload"]["outcome"] == "unchanged"
        mcrelay("list")

        relay.config.write_text("version: 1\nrules: {feed: {input: 7}}\n")
        assert mcrelay("check", config, code=78)["problems"]
        mcrelay("plan", config, code=78, against="check")
        assert mcrelay("reload", code=78)["problems"]
        assert mcrelay("try", code=78)["trial"] is None
        assert mcrelay("status")["reload"]["outcome"] == "rejected"
        assert mcrelay("diff", "1", *state, of_daemon=False)["changes"] is None

        relay.config.write_text(studio.config(FEED))
        assert mcrelay("try")["trial"]["generation"] == 3
        assert mcrelay("status")["trial"]["generation"] == 3
        assert mcrelay("confirm")["outcome"] == "confirmed"
        assert mcrelay("confirm", code=1)["outcome"] == "refused"
        assert mcrelay("history")["entries"][-1]["runs"] is True
        assert mcrelay("history", *state, of_daemon=False)["entries"][-1]["runs"] is None
        assert mcrelay("diff", "1")["changes"] is not None

        tracing = mcrelay.begin("trace", "feed", "--count", "30", "--run-dir", str(relay.run_dir))
        time.sleep(1)
        studio.send("239.1.1.1:5001", 40, rate=1000)
        out, err = tracing.communicate(timeout=60)
        assert tracing.returncode == 0, err
        assert mcrelay.validate(out, "trace")["event"] == "packet"
    validate({"event": "lost", "count": 7}, "trace")

    receiving = mcrelay.begin("receive", "239.9.9.9:7000", "--interface=eth0", "--count=20", host=studio.left)
    assert "listening" in receiving.stderr.readline()
    mcrelay("send", "239.9.9.9:7000", "--interface=eth1", "--count=20", of_daemon=False)
    out, err = receiving.communicate(timeout=60)
    assert receiving.returncode == 0, err
    assert mcrelay.validate(out, "receive")["total"]["latency_us"] is not None
    assert mcrelay.validated == {*json_schemas.VERBS}
