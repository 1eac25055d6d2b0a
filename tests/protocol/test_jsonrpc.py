"""Any line of a client is a valid request, or an error with the reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.protocol.jsonrpc import (
    MAX_DEPTH,
    Code,
    Parameter,
    Request,
    RpcError,
    bind_parameters,
    encode_error,
    encode_request,
    encode_result,
    parse_request,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def encode_line(**fields):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "status"} | fields).encode()


@given(st.integers(), st.text(), st.dictionaries(st.text(), json_values))
def test_a_request_is_read_as_it_was_written(id, method, params):
    assert parse_request(encode_request(id, method, params)) == Request(method, params, id)


@pytest.mark.parametrize("id", ["seven", 7, None])
def test_an_identity_is_a_string_or_a_number_or_null(id):
    assert parse_request(encode_line(id=id)).id == id
    assert not parse_request(encode_line(id=id)).is_notification


def test_a_request_without_an_identity_is_a_notification():
    assert parse_request(b'{"jsonrpc": "2.0", "method": "list"}') == Request(
        "list", {}, None, is_notification=True
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", Code.PARSE_ERROR),
        (b"no JSON", Code.PARSE_ERROR),
        (b"\xff\xfe{}", Code.PARSE_ERROR),
        (b'{"jsonrpc": "2.0"', Code.PARSE_ERROR),
        (encode_line() + b" {}", Code.PARSE_ERROR),
        (encode_line(id=1).replace(b"1", b"NaN"), Code.PARSE_ERROR),
        (encode_line(id=1).replace(b"1", b"-Infinity"), Code.PARSE_ERROR),
        (encode_line(id=1).replace(b" 1,", b" " + b"1" * 5000 + b","), Code.PARSE_ERROR),
        (encode_line(method="\\").replace(b'"method"', b'"method'), Code.PARSE_ERROR),
        (b"[]", Code.INVALID_REQUEST),
        (b"[" + encode_line() + b"]", Code.INVALID_REQUEST),
        (b"7", Code.INVALID_REQUEST),
        (encode_line(id=1.5), Code.INVALID_REQUEST),
        (encode_line(id=True), Code.INVALID_REQUEST),
        (encode_line(id=[1]), Code.INVALID_REQUEST),
        (encode_line(jsonrpc="1.0"), Code.INVALID_REQUEST),
        (encode_line(jsonrpc=2.0), Code.INVALID_REQUEST),
        (encode_line(method=7), Code.INVALID_REQUEST),
        (encode_line(method=None), Code.INVALID_REQUEST),
        (b"{}", Code.INVALID_REQUEST),
        (encode_line(params=["feed"]), Code.INVALID_PARAMS),
        (encode_line(params=None), Code.INVALID_PARAMS),
    ],
)
def test_an_invalid_request_has_an_error_code_of_its_kind(text, code):
    with pytest.raises(RpcError) as refused:
        parse_request(text)
    assert refused.value.code is code
    assert refused.value.message


def test_the_answer_to_a_bad_request_has_its_identity_if_that_is_readable():
    with pytest.raises(RpcError) as refused:
        parse_request(encode_line(id="seven", method=7))
    assert refused.value.id == "seven"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_nesting_is_limited_and_brackets_in_strings_do_not_count(opening):
    with pytest.raises(RpcError, match=f"nested more than {MAX_DEPTH} deep"):
        parse_request(opening * 10_000)
    deepest = {"text": '[{"\\' * 1000}
    for _ in range(MAX_DEPTH - 2):  # the request and its params are two levels
        deepest = [deepest]
    assert parse_request(encode_line(params={"deep": deepest[0]})).params["deep"] == deepest[0]
    with pytest.raises(RpcError, match="nested"):
        parse_request(encode_line(params={"deep": [deepest]}))


@given(st.binary(max_size=200) | st.text(alphabet='[]{}":,\\0a ', max_size=60).map(str.encode))
def test_any_octets_are_a_request_or_refused(octets):
    try:
        assert parse_request(octets).method is not None
    except RpcError as error:
        refused = error
    else:
        return
    assert refused.code in (Code.PARSE_ERROR, Code.INVALID_REQUEST, Code.INVALID_PARAMS)


PARAMETERS = (Parameter("rule", str, is_required=True), Parameter("most", int), Parameter("packets", bool))


def test_parameters_have_names_and_omitted_parameters_are_none():
    assert bind_parameters(PARAMETERS, {"rule": "feed", "packets": False}) == {
        "rule": "feed",
        "most": None,
        "packets": False,
    }
    assert bind_parameters((), {}) == {}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "the parameter `rule` is missing"),
        ({"rule": None}, "the parameter `rule` must be a string"),
        ({"rule": 7}, "the parameter `rule` must be a string"),
        ({"rule": "feed", "most": "7"}, "the parameter `most` must be an integer"),
        ({"rule": "feed", "most": True}, "the parameter `most` must be an integer"),
        ({"rule": "feed", "most": 1.0}, "the parameter `most` must be an integer"),
        ({"rule": "feed", "packets": 1}, "the parameter `packets` must be true or false"),
        ({"rule": "feed", "rul": 1}, "no parameter is named `rul`; there are: rule, most, packets"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(params, message):
    with pytest.raises(RpcError) as refused:
        bind_parameters(PARAMETERS, params)
    assert (refused.value.code, refused.value.message) == (Code.INVALID_PARAMS, message)


def test_a_parameter_of_a_method_without_any_is_an_error():
    with pytest.raises(RpcError, match="no parameter is named `rule`; there are none"):
        bind_parameters((), {"rule": "feed"})


@given(json_values, st.integers() | st.text() | st.none())
def test_an_answer_is_one_line(value, id):
    answer = b"".join(encode_result(id, [json.dumps(value).encode()]))
    assert answer.count(b"\n") == 1
    assert answer.endswith(b"\n")
    assert json.loads(answer) == {"jsonrpc": "2.0", "id": id, "result": value}


def test_an_error_is_one_line_with_its_data_if_any():
    plain = encode_error(RpcError(Code.TOO_MANY, "too\nmany"), 7)
    assert plain.count(b"\n") == 1
    assert json.loads(plain)["error"] == {"code": -32005, "message": "too\nmany"}
    rich = encode_error(RpcError(Code.UNKNOWN_RULE, "none", {"names": []}), None)
    assert json.loads(rich) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32001, "message": "none", "data": {"names": []}},
    }
