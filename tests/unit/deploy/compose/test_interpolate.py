"""Variables in text: every form of Compose, and what is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.compose.interpolate import (
    CHARS_MAX,
    DEPTH_MAX,
    ExpandError,
    Part,
    Variable,
    expand,
    parse,
)
from tests.unit.deploy.compose.given import problems, services, workload

VARIABLES = {"SET": "value", "EMPTY": "", "DOLLAR": "$SET", "_a1": "x"}
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,4}", fullmatch=True)
LITERALS = st.text(min_size=1, max_size=8)


def as_text(parts: tuple[Part, ...]) -> str:
    """Write parts the way `parse` reads them."""
    return "".join(
        part.replace("$", "$$") if isinstance(part, str) else variable_text(part) for part in parts
    )


def variable_text(variable: Variable) -> str:
    return f"${{{variable.name}{variable.operator}{as_text(variable.word)}}}"


def alternating(parts: list[Part]) -> tuple[Part, ...]:
    """Join neighbouring literals, as a parser would find them."""
    joined: list[Part] = []
    for part in parts:
        if joined and isinstance(part, str) and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)


def words(inner: st.SearchStrategy[Variable]) -> st.SearchStrategy[tuple[Part, ...]]:
    """Return what may stand inside braces: no closing brace of its own."""
    literals = LITERALS.map(lambda text: text.replace("}", "")).filter(bool)
    return st.lists(literals | inner, max_size=3).map(alternating)


PLAIN = st.builds(Variable, NAMES)
OPERATORS = st.sampled_from([":-", "-", ":?", "?", ":+", "+"])
VARIABLE = st.recursive(
    PLAIN, lambda inner: st.builds(Variable, NAMES, OPERATORS, words(inner)), max_leaves=6
)
PARTS = st.lists(LITERALS | VARIABLE, max_size=5).map(alternating)


@given(PARTS)
def test_what_is_written_is_read_again(parts: tuple[Part, ...]) -> None:
    assert parse(as_text(parts)) == parts


@given(st.text(), st.dictionaries(NAMES, st.text()))
def test_doubled_dollars_keep_any_text_as_it_is(text: str, variables: dict[str, str]) -> None:
    assert expand(text.replace("$", "$$"), variables) == text


def outcome(text: str, variables: dict[str, str]) -> str:
    """Return the text expanded, or why it is refused."""
    try:
        return expand(text, variables)
    except ExpandError as error:
        return str(error)


@given(
    st.text(alphabet="${}:-?+AB_1 x", max_size=30),
    st.dictionaries(NAMES, st.text(alphabet="ab$ {}")),
)
def test_any_text_is_expanded_or_refused(text: str, variables: dict[str, str]) -> None:
    assert "\n" not in outcome(text, variables)


@given(st.text(), NAMES)
def test_a_value_is_put_in_unread(value: str, name: str) -> None:
    assert expand(f"${name}|${{{name}}}", {name: value}) == f"{value}|{value}"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$SET-${SET}", "value-value"),
        ("${_a1}$_a1.", "xx."),
        ("$EMPTY${EMPTY}", ""),
        ("$DOLLAR", "$SET"),
        ("$$SET $$$SET $$", "$SET $value $"),
        ("${SET:-d}${SET-d}", "valuevalue"),
        ("${EMPTY:-d}|${EMPTY-d}", "d|"),
        ("${NO:-d}|${NO-d}", "d|d"),
        ("${NO:-}|${NO-}", "|"),
        ("${NO:-a:-b}", "a:-b"),
        ("${SET:?m}${SET?m}", "valuevalue"),
        ("${EMPTY?m}", ""),
        ("${SET:+r}|${EMPTY:+r}|${NO:+r}", "r||"),
        ("${SET+r}|${EMPTY+r}|${NO+r}", "r|r|"),
        ("${NO:-${ALSO:-deep}}", "deep"),
        ("${NO:-a${SET}b$EMPTY-${NO2-c}}d", "avalueb-cd"),
        ("${NO:-$$x}", "$x"),
        ("${NO:-{a}}", "{a}"),  # the first brace ends it, as in Compose; the second is text
        ("${SET:-${NO:?never looked at}}", "value"),
    ],
)
def test_every_form_of_compose(text: str, result: str) -> None:
    assert expand(text, VARIABLES) == result


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a$NO", "variable NO is not set; set it or write ${NO:-default}"),
        ("${NO}", "variable NO is not set; set it or write ${NO:-default}"),
        ("${NO:?give one}", "variable NO is not set: give one"),
        ("${NO?give\n$SET}", "variable NO is not set: give value"),
        ("${EMPTY:?}", "variable EMPTY is empty"),
        ("costs $5", '"$5" is not a variable; write $$ for a dollar sign'),
        ("5$", '"$" is not a variable; write $$ for a dollar sign'),
        ("${SET", '"${SET" is not closed; write $$ for a dollar sign'),
        ("${SET:-a", '"${SET:-a" is not closed; write $$ for a dollar sign'),
        ("${}", '"${}" is not a variable; write $$ for a dollar sign'),
        ("${SET!}", '"${SET!}" is not a variable; write $$ for a dollar sign'),
        ("${SET:-${}}", '"${}}" is not a variable; write $$ for a dollar sign'),
    ],
)
def test_what_cannot_be_expanded_says_why(text: str, why: str) -> None:
    with pytest.raises(ExpandError, match=f"^{re.escape(why)}$"):
        expand(text, VARIABLES)


def test_nesting_has_an_end() -> None:
    def nested(levels: int) -> str:
        return "${NO:-" * levels + "x" + "}" * levels

    assert expand(nested(DEPTH_MAX), {}) == "x"
    with pytest.raises(ExpandError, match=f"nested more than {DEPTH_MAX} deep"):
        expand(nested(DEPTH_MAX + 1), {})


def test_growth_has_an_end() -> None:
    big = {"BIG": "x" * (CHARS_MAX // 2)}
    assert len(expand("$BIG$BIG", big)) == CHARS_MAX
    with pytest.raises(ExpandError, match=f"longer than {CHARS_MAX} characters"):
        expand("$BIG$BIG.", big)


def test_growth_of_the_whole_stack_has_an_end() -> None:
    text = """
    services:
      web:
        image: app
        command: ["$BIG", "$BIG", "$BIG"]
    """
    expected = "services.web.command[2]: the stack passes 1048576 characters with its variables"
    assert problems(text, BIG="x" * (CHARS_MAX // 2)) == [f"a.yaml:5: {expected}"]


def test_a_variable_can_be_a_number_a_truth_value_or_a_port() -> None:
    found = services(
        """
        services:
          web:
            image: app
            ports: ["$PORT:80"]
            environment: {DEBUG: "${DEBUG:-true}"}
            deploy: {replicas: "${N}", resources: {limits: {cpus: $CPUS}}}
        """,
        PORT="8080",
        N="3",
        CPUS="0.5",
    )["web"]

    assert found.replicas == 3
    assert found.workload.limits.cpu_millis == 500
    assert found.workload.ports[0].published == 8080
    assert found.workload.environment == {"DEBUG": "true"}


def test_keys_and_extensions_are_left_alone() -> None:
    assert workload("environment: {$A: b}").environment == {"$A": "b"}
    assert workload("x-note: ${NOT_SET}").image == "app:1"


def test_a_name_that_begins_with_x_is_no_extension_where_people_choose_names() -> None:
    found = services(
        """
        services:
          x-web:
            image: app
            environment: {x-a: "$A"}
            labels: {x-b: "$A"}
        """,
        A="1",
    )["x-web"]
    assert found.workload.environment == {"x-a": "1"}
    assert found.workload.labels == {"x-b": "1"}


def test_a_missing_variable_is_named_with_its_place_and_nothing_else_is_said_of_it() -> None:
    text = """
    services:
      web:
        image: app:${TAG}
        ports: ["${PORT}:80"]
        deploy:
          replicas: ${N}
          resources: {limits: {cpus: $C}}
    """
    hint = "is not set; set it or write"
    assert problems(text) == [
        f"a.yaml:4: services.web.image: variable TAG {hint} ${{TAG:-default}}",
        f"a.yaml:5: services.web.ports[0]: variable PORT {hint} ${{PORT:-default}}",
        f"a.yaml:7: services.web.deploy.replicas: variable N {hint} ${{N:-default}}",
        f"a.yaml:8: services.web.deploy.resources.limits.cpus: variable C {hint} ${{C:-default}}",
    ]
