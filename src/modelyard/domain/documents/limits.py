"""The Limit document: what callers may use together, or each of them."""

from typing import Any, Literal

from pydantic import Field, model_validator

from modelyard.domain.documents import LIMIT, Name, Part, checked, lifted

HINT = "see docs/reference/limits.md"
COUNTED = ("key", "team", "person", "service")
MAX_TEXT = 128


class BudgetSpec(Part):
    """Money for a calendar period in UTC, or once and for all."""

    usd: float = Field(gt=0, le=1_000_000_000)
    per: Literal["day", "week", "month", "total"] = "month"


class BoundsSpec(Part):
    """What a counter may reach; what is not given is not bounded."""

    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000_000)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=1_000_000_000_000)
    concurrency: int | None = Field(default=None, ge=1, le=1_000_000)
    budget: BudgetSpec | None = None
    unknown_price: Literal["refuse", "allow"] = "refuse"
    """What becomes of a request whose price nobody knows, under a budget."""

    @property
    def any(self) -> bool:
        """Whether anything is bounded."""
        bounds = (self.requests_per_minute, self.tokens_per_minute, self.concurrency, self.budget)
        return any(bound is not None for bound in bounds)


class LimitSpec(BoundsSpec):
    """Whom it counts: requests for which all of the given names hold, together or `each`."""

    key: str = Field(default="", max_length=MAX_TEXT)
    """The id of an access key."""
    team: str = Field(default="", max_length=MAX_TEXT)
    person: str = Field(default="", max_length=MAX_TEXT)
    service: Name | None = None
    each: Literal["", "key", "team", "person", "service"] = ""
    """Every one of them has a counter of its own."""

    @model_validator(mode="after")
    def _says_something(self) -> "LimitSpec":
        if not self.any:
            raise ValueError(
                "bounds nothing: give requests_per_minute, tokens_per_minute, concurrency or budget"
            )
        if self.each and getattr(self, self.each):
            raise ValueError(f"each: {self.each} counts nothing apart: one {self.each} is given")
        return self


class LimitDocument(Part):
    """The document a user writes."""

    api_version: Literal["modelyard/v1"] = Field(alias="apiVersion")
    kind: Literal["Limit"]
    name: Name
    spec: LimitSpec


def parse(data: Any) -> LimitDocument:
    """A checked document. Raises Invalid that lists every mistake with its path."""
    return checked(LimitDocument, lifted(data, LIMIT), hint=HINT)
