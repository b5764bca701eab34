"""What clients are told: `x-ratelimit-*` headers as OpenAI names them, and refusals."""

from datetime import UTC, datetime

from modelyard.domain.limits import MOST_RETRY_S, Denied, Standing
from modelyard.domain.limits.window import RING
from modelyard.errors import Limited

CODES = {
    "requests": "rate_limit_exceeded",
    "tokens": "rate_limit_exceeded",
    "concurrency": "rate_limit_exceeded",
    "budget": "insufficient_quota",
    "price": "price_unknown",
}
"""OpenAI's words, by the bound that refused; the last is ours."""


def duration(us: int) -> str:
    """`0s`, `120ms`, `1s`, `59.5s`, `6m0s`: as OpenAI's reset headers. Rounded up."""
    millis = -(-us // 1000)
    if 0 < millis < 1000:
        return f"{millis}ms"
    minutes, rest = divmod(millis, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


_RESETS = tuple(duration(half * 500_000).encode() for half in range(RING + 1))
_REQUESTS = (
    b"x-ratelimit-limit-requests: %d\r\n"
    b"x-ratelimit-remaining-requests: %d\r\n"
    b"x-ratelimit-reset-requests: %b\r\n"
)
_TOKENS = _REQUESTS.replace(b"requests", b"tokens")
_BOTH = _REQUESTS + _TOKENS


def headers(standing: Standing) -> bytes:
    """Ready header lines; nothing for what is not bounded."""
    requests, tokens = standing.limit_requests, standing.limit_tokens
    if requests and tokens:
        return _BOTH % (
            requests, standing.remaining_requests, _RESETS[standing.reset_requests],
            tokens, standing.remaining_tokens, _RESETS[standing.reset_tokens],
        )  # fmt: skip
    if requests:
        return _REQUESTS % (
            requests, standing.remaining_requests, _RESETS[standing.reset_requests],
        )  # fmt: skip
    if tokens:
        return _TOKENS % (tokens, standing.remaining_tokens, _RESETS[standing.reset_tokens])
    return b""


def refusal(denied: Denied) -> Limited:
    """The error that says which counter, which bound, what is left, and what to do."""
    message, hint = _TEXTS[denied.bound](denied)
    return Limited(
        f"{denied.counter.what}: {message}",
        hint=hint,
        code=CODES[denied.bound],
        retry_after_s=min(MOST_RETRY_S, denied.retry_after_s),
        worth_retrying=not denied.gone,
    )


def _requests(denied: Denied) -> tuple[str, str]:
    return f"all {denied.limit} requests per minute are used", _again(denied)


def _tokens(denied: Denied) -> tuple[str, str]:
    message = (
        f"the request may use {denied.asked} tokens, and {denied.remaining} of"
        f" {denied.limit} tokens per minute are left"
    )
    if denied.gone:
        return message, "it never fits: set a lower max_tokens or send less"
    return message, f"{_again(denied)}, or set a lower max_tokens"


def _concurrency(denied: Denied) -> tuple[str, str]:
    return (
        f"all {denied.limit} requests that may be open at once are open",
        "try again when one of them has ended",
    )


def _budget(denied: Denied) -> tuple[str, str]:
    per = denied.counter.bounds.budget_per
    message = (
        f"the request may cost {usd(denied.asked)}, and {usd(denied.remaining)} of the budget of"
        f" {usd(denied.limit)} {'in total' if per == 'total' else 'a ' + per} is left"
    )
    if not denied.gone:
        return message, "open requests hold the rest: try again in a moment, or lower max_tokens"
    lower = "lower max_tokens, or " if denied.remaining else ""
    return message, lower + _renewal(denied)


def _price(denied: Denied) -> tuple[str, str]:
    return (
        "it has a budget, and what this service costs is not known",
        "give the service a price (spec.price), or set `unknown_price: allow` in the limit",
    )


_TEXTS = {
    "requests": _requests,
    "tokens": _tokens,
    "concurrency": _concurrency,
    "budget": _budget,
    "price": _price,
}


def _again(denied: Denied) -> str:
    return f"try again in {duration(int(denied.retry_after_s * 1e6))}"


def _renewal(denied: Denied) -> str:
    if not denied.renews_at_us:
        return "raise the budget: it does not renew"
    moment = datetime.fromtimestamp(denied.renews_at_us / 1e6, UTC)
    return f"wait until the budget renews at {moment:%Y-%m-%d %H:%M} UTC"


def usd(nano_usd: int) -> str:
    """`$1.50`, `$0.000012`: at least two digits behind the point, and all that count."""
    whole, nano = divmod(nano_usd, 1_000_000_000)
    digits = f"{nano:09d}".rstrip("0").ljust(2, "0")
    return f"${whole}.{digits}"
