"""The one error tree, drawn by what the caller can do about it.

* ModelyardError
  - Invalid          the input is wrong: change it
  - Unauthenticated  no or bad key: bring a valid one
  - Forbidden        the key may not do this: ask for a permission
  - NotFound         no such thing: check the name
  - Conflict         somebody was faster, or it exists already: read again
  - TooLarge         over a size limit: send less
  - Blocked          a guard or policy said no
  - Limited          over a limit: wait `retry_after_s`
  - Upstream         an engine or provider failed
  - Unavailable      nothing can serve this now: try again
  - TimedOut         it took too long

A message says what happened and to which id; a hint says what to do next. HTTP status and exit
codes belong to `entry/`, never here.
"""


class ModelyardError(Exception):
    """What every error of ours is. `code` is stable and for programs."""

    code = "error"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code:
            self.code = code

    @property
    def kind(self) -> str:
        """The code of the class itself, by which `ERRORS` finds it again."""
        return type(self).code


class Invalid(ModelyardError):
    """The input is wrong; the message says where."""

    code = "invalid"


class Unauthenticated(ModelyardError):
    """No key, or one that is not known. Never says which of the two."""

    code = "unauthenticated"


class Forbidden(ModelyardError):
    """The principal is known and lacks the permission that the message names."""

    code = "forbidden"


class NotFound(ModelyardError):
    """No such thing under that name for this tenant."""

    code = "not_found"


class Conflict(ModelyardError):
    """The expected generation or state is not what is there now."""

    code = "conflict"


class TooLarge(ModelyardError):
    """Over a size limit, which the message states."""

    code = "too_large"


class Blocked(ModelyardError):
    """A guard or a policy refused it."""

    code = "blocked"


class Limited(ModelyardError):
    """Over a limit. `retry_after_s` says when it is worth trying again; not `worth_retrying`: a
    budget is gone, and a program should stop."""

    code = "limited"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 1.0,
        worth_retrying: bool = True,
        hint: str = "",
        code: str = "",
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retry_after_s = retry_after_s
        self.worth_retrying = worth_retrying


class Upstream(ModelyardError):
    """An engine or a provider answered wrongly or broke off."""

    code = "upstream"


class Unavailable(ModelyardError):
    """Nothing can serve this right now; the same call may go through later."""

    code = "unavailable"


class TimedOut(ModelyardError):
    """A time limit, which the message names, ran out."""

    code = "timed_out"


ERRORS: dict[str, type[ModelyardError]] = {
    kind.code: kind
    for kind in (
        Invalid, Unauthenticated, Forbidden, NotFound, Conflict, TooLarge, Blocked, Limited,
        Upstream, Unavailable, TimedOut,
    )
}  # fmt: skip
"""Every class by its code, to rebuild an error that crossed a process or the network."""
