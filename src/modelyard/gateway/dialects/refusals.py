"""What a client asks that an endpoint's dialect has no word for: refused, not silently left out."""

from modelyard.errors import Invalid


def unsupported_content(dialect: str, path: str, what: str) -> Invalid:
    """For a part that cannot be sent to an endpoint of that dialect, named for people."""
    return Invalid(
        f"{path} is {what}, which cannot be sent to an endpoint that speaks {dialect}",
        hint="leave it out, or use a service whose endpoint knows it",
        code="unsupported_content",
    )


_KEEP = "set spec.content.responses in the document of the service, or send the whole conversation"
_LEAVE_OUT = "leave it out, or use a service whose endpoint knows it"


def hint_for(name: str) -> str:
    """What helps where a member cannot be said to an endpoint."""
    return _KEEP if name == "previous_response_id" else _LEAVE_OUT


def unsupported_parameter(name: str, why: str) -> Invalid:
    """For a setting without which the answer would be another one."""
    return Invalid(
        f"{name} {why}",
        hint=hint_for(name),
        code="unsupported_parameter",
    )
