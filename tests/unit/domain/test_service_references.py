"""What services say of each other: nothing dangles and nothing goes in circles in what is left."""

from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.documents.references import problems, references, without
from modelyard.domain.services import ServiceSpec

NAMES = ("a", "b", "c", "d")


def spec(fallback: tuple[str, ...] = (), shadow: str = "", embeds: str = "") -> ServiceSpec:
    data: dict[str, object] = {"fallback": list(fallback)}
    if shadow:
        data["shadow"] = {"service": shadow}
    if embeds:
        data["cache"] = {"ttl_s": 5, "semantic": {"service": embeds}}
    return ServiceSpec.model_validate(data)


def texts(specs: dict[str, ServiceSpec | None]) -> dict[str, list[str]]:
    return {name: [one.text for one in wrong] for name, wrong in problems(specs).items()}


def test_what_holds_is_left_as_it_is() -> None:
    chain = spec(fallback=("b", "c"), shadow="b", embeds="c")
    assert problems({"a": chain, "b": spec(fallback=("c",)), "c": None}) == {}
    assert without(chain, []) is chain


def test_names_that_lead_nowhere_and_to_oneself() -> None:
    wrong = texts({"a": spec(fallback=("x",), shadow="a", embeds="y")})
    assert wrong == {
        "a": [
            "spec.fallback: no service 'x'",
            "spec.shadow: a names itself",
            "spec.cache.semantic: no service 'y'",
        ]
    }


def test_a_circle_is_told_as_the_way_it_goes() -> None:
    specs = {"a": spec(("b",)), "b": spec(("c",)), "c": spec(("a", "d")), "d": spec()}
    assert texts(dict(specs))["a"] == ["spec.fallback: fallbacks go in a circle: a → b → c → a"]
    left = without(specs["c"], problems(dict(specs))["c"])
    assert [one.service for one in left.fallback] == ["d"], "only what goes in a circle"


def test_only_the_part_that_is_wrong_is_taken_out() -> None:
    whole = spec(fallback=("x", "b"), shadow="x", embeds="x")
    left = without(whole, problems({"a": whole, "b": None})["a"])
    assert [one.service for one in left.fallback] == ["b"]
    assert left.shadow is None
    assert left.cache.semantic is None
    assert left.cache.ttl_s == 5, "the exact cache goes on"


some = st.lists(st.sampled_from((*NAMES, "gone")), unique=True, max_size=4).map(tuple)
one = st.sampled_from(("", *NAMES, "gone"))
worlds = st.dictionaries(
    st.sampled_from(NAMES), st.none() | st.builds(spec, some, one, one), min_size=1
)


@given(worlds)
def test_nothing_is_left_that_dangles_or_goes_in_circles(
    specs: dict[str, ServiceSpec | None],
) -> None:
    wrong = problems(specs)
    left = {name: spec and without(spec, wrong.get(name, [])) for name, spec in specs.items()}
    assert problems(left) == {}
    named = {ref.service for kept in left.values() if kept for ref in references(kept)}
    assert named <= set(specs)
