"""A template yields the document from which it was made, with its holes filled."""

from mcrelay.protocol.jsonrpc import encode_json
from mcrelay.status.template import HOLE, Template


def test_a_template_is_the_document_with_its_holes_filled_in_order():
    document = {"a": HOLE, "100%": ["%s", HOLE], "none": None, "hole": '"\\u0000hole"', "x": "ü\n"}
    filled = Template(document).fill([1, encode_json({"b": "%d"})])
    assert filled == encode_json({**document, "a": 1, "100%": ["%s", {"b": "%d"}]})
