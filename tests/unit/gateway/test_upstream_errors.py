"""Whatever an engine says when it refuses, a client meets one form and one code."""

import json
from typing import Any

import pytest

from modelyard import errors
from modelyard.gateway.dialects import openai, upstream_errors
from modelyard.gateway.dialects.upstream_errors import CONTEXT_LENGTH, read, read_event


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("status", "value"),
    [
        (400, {"error": {"code": 400, "type": "exceed_context_size_error", "n_ctx": 512,
               "message": "request (3016 tokens) exceeds the available context size (512)"}}),
        (400, {"object": "error", "type": "BadRequestError", "param": None, "code": 400,
               "message": "This model's maximum context length is 6048 tokens. However, you "
               "requested 6616 tokens"}),
        (400, {"object": "error", "type": "BadRequestError", "code": 400, "message":
               "The input (61709 tokens) is longer than the model's context length (40960)."}),
        (400, {"error": {"message": "x", "type": "invalid_request_error", "param": "messages",
               "code": "context_length_exceeded"}}),
        (400, {"error": {"message": "max_tokens must be at least 1, got -186."}}),
        (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 9"}),
        (400, {"type": "error", "error": {"type": "invalid_request_error",
               "message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
        (500, {"error": {"message": "Requested tokens (600) exceed context window of 512"}}),
        (400, [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input token "
               "count (1200000) exceeds the maximum number of tokens allowed (1048576)."}}]),
        (400, {"code": "Client specified an invalid argument", "error": "This model's maximum "
               "prompt length is 131072 but the request contains 131087 tokens."}),
        (400, {"error": {"message": "The decoder prompt (length 9000) is longer than the maximum "
               "model length of 8192.", "type": "BadRequestError", "code": 400}}),
    ],
)  # fmt: skip
def test_a_context_that_is_too_long_has_one_code(status: int, value: Any) -> None:
    error = read(status, body(value))
    assert (error.status, error.code) == (400, CONTEXT_LENGTH)
    told = json.loads(error.body)["error"]
    assert told["code"] == CONTEXT_LENGTH
    assert told["type"] == "invalid_request_error"
    assert told["message"] == error.message != ""


def test_what_an_engine_cannot_take_is_the_clients_mistake() -> None:
    error = read(500, body({"error": {"code": 500, "message": "image input is not supported"}}))
    assert (error.status, error.code) == (400, "unsupported_content")


def test_an_error_of_the_right_shape_passes_as_it_is() -> None:
    raw = b'{ "error":{"message":"no such voice","type":"t","param":null,"code":"voice"} }'
    error = read(404, raw)
    assert error[:4] == (404, "no such voice", "", raw)
    assert (error.kind, error.param, error.own_code) == ("t", None, "voice")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"error": {"code": 400, "message": "All messages need content", "type": "bad"}},
         "All messages need content"),
        ({"object": "error", "message": "nope", "type": "NotFoundError", "code": 404}, "nope"),
        ({"error": "just text"}, "just text"),
        ([{"error": {"code": 418, "message": "no tea", "status": "X"}}], "no tea"),
        ([{"error": {"code": None, "message": "no tea"}}], "no tea"),
        ({"error": {"message": None}}, "the upstream answered 418"),
        ({"detail": "Not Found"}, "the upstream answered 418"),
        ([1], "the upstream answered 418"),
    ],
)  # fmt: skip
def test_other_shapes_are_brought_into_it(value: Any, message: str) -> None:
    error = read(418, body(value))
    assert (error.status, error.message) == (418, message)
    told = json.loads(error.body)["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert told["message"] == message
    assert isinstance(told["code"], str | None)


@pytest.mark.parametrize("raw", [b"", b"<html>502</html>", b"\xff\xfe", b"{", b"null"])
def test_what_is_no_json_is_told_by_its_status(raw: bytes) -> None:
    error = read(502, raw)
    assert (error.status, error.code) == (502, "")
    assert json.loads(error.body)["error"]["message"] == "the upstream answered 502"


def test_endless_messages_are_cut() -> None:
    error = read(400, body({"error": {"message": "x" * 100_000}}))
    assert len(error.message) == upstream_errors.MAX_MESSAGE


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        ({"error": {"code": 400, "message": "bad grammar"}}, 400, ""),
        ({"error": {"code": 500, "message": "out of memory"}}, 500, ""),
        ({"error": {"message": "the engine gave up", "code": "server_error"}}, 500, ""),
        ({"error": {"message": "maximum context length is 5"}}, 400, CONTEXT_LENGTH),
        ({"error": {"code": 200, "message": "odd"}}, 500, ""),
    ],
)
def test_an_error_inside_a_stream_has_a_status(event: Any, status: int, code: str) -> None:
    found = read_event(body(event))
    assert (found.status, found.code) == (status, code)


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (errors.Limited("x", retry_after_s=0.0), b"Retry-After: 1\r\nRetry-After-Ms: 1\r\n"),
        (errors.Limited("x", retry_after_s=12.25), b"Retry-After: 13\r\nRetry-After-Ms: 12250\r\n"),
        (
            errors.Limited("x", retry_after_s=9e9, worth_retrying=False),
            b"Retry-After: 120\r\nRetry-After-Ms: 120000\r\nX-Should-Retry: false\r\n",
        ),
        (errors.Unavailable("x"), b"Retry-After: 1\r\n"),
        (errors.NotFound("x"), b""),
    ],
)
def test_when_to_try_again(error: errors.ModelyardError, headers: bytes) -> None:
    assert openai.retry_headers(error, openai.status_of(error)) == headers
