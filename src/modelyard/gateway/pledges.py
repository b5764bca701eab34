"""What one request's client was promised of the answer, and how far that got."""

from modelyard.domain.chat import Answer, Usage
from modelyard.domain.guarantees import Fault, Promise, Treatment, added
from modelyard.domain.records import RequestRecord


class Pledge:
    """`treatment` is that of the present attempt; the promise stays the same."""

    __slots__ = (
        "answer", "choices", "fault", "is_repaired", "promise", "spent", "treatment", "was_counted",
    )  # fmt: skip

    def __init__(self, promise: Promise, choices: int) -> None:
        self.promise = promise
        self.choices = choices
        """Answers that the client asked for at once."""
        self.treatment = Treatment()
        self.answer: Answer | None = None
        """One that broke the promise."""
        self.fault: Fault | None = None
        self.is_repaired = False
        """Whether the model was told so and asked again."""
        self.spent = Usage()
        """What that first answer took."""
        self.was_counted = True
        """Whether the endpoint said what it took."""

    def told(self) -> str:
        """How it is seen to, for the record."""
        treatment, promise = self.treatment, self.promise
        way = "checked" if treatment.holds else "native"
        names = {
            promise.form: "asked in words" if treatment.worded else way,
            "tool_choice" if promise.must_call else "": "emulated" if treatment.emulated else way,
            "strict" if promise.strict else "": way,
        }
        said = [f"{name} {how}" for name, how in names.items() if name]
        return ", ".join([*said, "repaired"] if self.is_repaired else said)

    def with_spent(self, record: RequestRecord, usage: Usage | None) -> Usage | None:
        """Count a first answer that the client never saw beside the one that it got: the usage of
        both, where both are known."""
        if not self.is_repaired:
            return usage
        spent = self.spent
        record.tokens_input = (record.tokens_input or 0) + spent.input_tokens
        record.tokens_output = (record.tokens_output or 0) + spent.output_tokens
        record.tokens_cached = _sum(record.tokens_cached, spent.cache_read_tokens)
        record.tokens_reasoning = _sum(record.tokens_reasoning, spent.reasoning_tokens)
        written = spent.cache_write_tokens + spent.cache_write_1h_tokens
        record.tokens_cache_write = _sum(record.tokens_cache_write, written or None)
        if not self.was_counted:
            record.usage_estimated = True
        if record.usage_estimated or usage is None:
            return None
        return added(spent, usage)


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else other + (one or 0)
