"""The part of a Service document that says what is kept of what people write and models answer.

Nothing is, unless it stands here: each purpose for which content is kept is a part of its own, with
a time of its own.
"""

from pydantic import Field

from modelyard.domain.documents import Part
from modelyard.domain.services.traffic import DAY_S


class KeptResponsesSpec(Part):
    """Answers of `/v1/responses` and their questions, for requests that continue from them by
    `previous_response_id`."""

    keep_s: float = Field(ge=60, le=366 * DAY_S)
    """From the beginning of each answer; nobody can read it afterwards. There is no default: who
    keeps what people write says for how long."""


class ContentSpec(Part):
    """What content is kept, and for what."""

    responses: KeptResponsesSpec | None = None
    """None: nothing is kept, and `previous_response_id` is refused."""
