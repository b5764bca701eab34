"""Signatures for AWS, against those that AWS publishes."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from modelyard.lib.sigv4 import sign

SUITE: dict[str, Any] = {
    "method": "GET", "host": "example.amazonaws.com", "path": "/", "headers": {}, "body": b"",
    "access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "region": "us-east-1", "service": "service",
    "now": datetime(2015, 8, 30, 12, 36, tzinfo=UTC),
}  # fmt: skip
S3: dict[str, Any] = SUITE | {
    "host": "examplebucket.s3.amazonaws.com", "access_key": "AKIAIOSFODNN7EXAMPLE",
    "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "service": "s3",
    "now": datetime(2013, 5, 24, tzinfo=UTC),
}  # fmt: skip
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = {
    "Content-Type": "application/x-www-form-urlencoded", "Content-Length": "13",
    "x-amz-content-sha256": "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
}  # fmt: skip

PUBLISHED = [
    ("get-vanilla", SUITE, {}, "host;x-amz-date",
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("post-vanilla", SUITE, {"method": "POST"}, "host;x-amz-date",
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ("get-vanilla-query-order-key-case", SUITE,
     {"query": [("Param2", "value2"), ("Param1", "value1")]}, "host;x-amz-date",
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ("get-vanilla-query-order-encoded", SUITE,
     {"query": [("Param-3", "Value3"), ("Param", "Value2"), ("ሴ", "Value1")]}, "host;x-amz-date",
     "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"),
    ("get-vanilla-utf8-query", SUITE, {"query": [("ሴ", "bar")]}, "host;x-amz-date",
     "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
    ("get-vanilla-query-unreserved", SUITE, {"query": [(UNRESERVED, UNRESERVED)]},
     "host;x-amz-date", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
    ("get-unreserved", SUITE, {"path": f"/{UNRESERVED}"}, "host;x-amz-date",
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
    ("get-utf8", SUITE, {"path": "/ሴ"}, "host;x-amz-date",
     "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    ("get-space-normalized", SUITE, {"path": "/example space/"}, "host;x-amz-date",
     "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
    ("get-relative-normalized", SUITE, {"path": "/example/.."}, "host;x-amz-date",
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("get-slash-dot-slash-normalized", SUITE, {"path": "/./"}, "host;x-amz-date",
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("get-header-value-trim", SUITE,
     {"headers": {"My-Header1": " value1", "My-Header2": ' "a   b   c"'}},
     "host;my-header1;my-header2;x-amz-date",
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
    ("get-vanilla-with-session-token", SUITE,
     {"session_token": "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"},
     "host;x-amz-date;x-amz-security-token",
     "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"),
    ("post-x-www-form-urlencoded", SUITE,
     {"method": "POST", "headers": FORM, "body": b"Param1=value1"},
     "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
     "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"),
    ("S3: get object", S3,
     {"path": "/test.txt", "headers": {"Range": "bytes=0-9", "x-amz-content-sha256": EMPTY}},
     "host;range;x-amz-content-sha256;x-amz-date",
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
    ("S3: put object", S3,
     {"method": "PUT", "path": "/test%24file.text", "body": b"Welcome to Amazon S3.", "headers": {
         "Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY",
         "x-amz-content-sha256":
             "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     }},
     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
    ("S3: get lifecycle", S3,
     {"query": [("lifecycle", "")], "headers": {"x-amz-content-sha256": EMPTY}},
     "host;x-amz-content-sha256;x-amz-date",
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    ("S3: list objects", S3,
     {"query": [("max-keys", "2"), ("prefix", "J")], "headers": {"x-amz-content-sha256": EMPTY}},
     "host;x-amz-content-sha256;x-amz-date",
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("base", "changes", "headers", "signature"),
    [case[1:] for case in PUBLISHED],
    ids=[case[0] for case in PUBLISHED],
)
def test_signatures_are_those_that_aws_publishes(
    base: Any, changes: Any, headers: str, signature: str
) -> None:
    asked = base | changes
    added = sign(**asked)
    scope = f"{asked['access_key']}/{asked['now']:%Y%m%d}/us-east-1/{asked['service']}/aws4_request"
    assert added["Authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={headers}, Signature={signature}"
    )
    assert added["X-Amz-Date"] == f"{asked['now']:%Y%m%dT%H%M%SZ}"
    assert added.get("X-Amz-Security-Token", "") == changes.get("session_token", "")


def test_any_time_zone_is_the_same_moment() -> None:
    here = SUITE["now"].astimezone(timezone(timedelta(hours=5)))
    assert sign(**SUITE | {"now": here}) == sign(**SUITE)


def test_what_changes_on_the_way_is_not_signed() -> None:
    moved = {"User-Agent": "x", "Connection": "close", "Authorization": "old"}
    assert sign(**SUITE | {"headers": moved}) == sign(**SUITE)


PATHS = st.lists(st.text("ab%2F:._~- ", min_size=1, max_size=6), min_size=1, max_size=4).map(
    lambda segments: "/" + "/".join(segments)
)
NAMES = st.text("abc-", min_size=1, max_size=5).map(lambda name: f"x-{name}")
VALUES = st.text("ab c=;,", min_size=1, max_size=8)


@given(
    PATHS,
    st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=3, unique=True),
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.binary(max_size=30),
    st.sampled_from(["", "token"]),
)
def test_signatures_are_those_of_botocore(
    path: str, query: list[tuple[str, str]], headers: dict[str, str], body: bytes, token: str
) -> None:
    auth = botocore.auth
    request = AWSRequest(
        "POST", f"https://example.amazonaws.com{path}", dict(headers), body, params=query
    )
    credentials = Credentials(SUITE["access_key"], SUITE["secret_key"], token or None)
    signer = auth.SigV4Auth(credentials, "bedrock", "us-east-1")
    request.context["timestamp"] = "20150830T123600Z"
    signer._modify_request_before_signing(request)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    asked = SUITE | {
        "method": "POST", "path": path, "query": query, "headers": headers, "body": body,
        "session_token": token, "service": "bedrock",
    }  # fmt: skip
    assert sign(**asked)["Authorization"].endswith(f"Signature={signer.signature(text, request)}")
