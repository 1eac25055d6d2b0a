"""Documents of very many rules, which are built in pieces."""

import pytest

from mcrelay.status.documents import RULES_PER_PIECE
from tests.support.control_harness import ServerHarness, rule, sections


@pytest.mark.parametrize("count", [0, 1, RULES_PER_PIECE, 2 * RULES_PER_PIECE + 1])
def test_a_document_has_every_rule_once_and_in_the_order_of_the_file(tmp_path, count):
    names = [f"rule-{number}" for number in range(count)]
    with ServerHarness(tmp_path) as harness:
        rules = {"set": {name: rule(row) for row, name in enumerate(names)}}
        harness.supervisor.change(**{**sections(), "rules": rules})
        client = harness.client()
        for method in ("status", "list", "stats"):
            document = client.call(method)
            assert [one["name"] for one in document["rules"]] == names
        assert {"processes", "interfaces"} <= client.call("status").keys()
        assert "interfaces" in client.call("stats")
