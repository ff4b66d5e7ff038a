"""`include` and `profiles`: which services a project has."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.compose.assemble import INCLUDE_DEPTH_MAX
from deploy.compose.library import FILES_MAX
from shared.errors import SpecError
from tests.unit.deploy.compose.given import problems, problems_beside, understood


def test_an_included_project_has_its_own_folder_and_variables() -> None:
    beside = {
        "db/compose.yaml": """
            services: {db: {image: "pg:${TAG}", volumes: ["./conf:/conf", "data:/data"]}}
            volumes: {data: }
            """,
        "db/.env": "TAG=15\n",
    }
    found = understood(
        "include: [db/compose.yaml]\nservices: {web: {image: app, depends_on: [db]}}",
        beside=beside,
    )
    web, db = found.decoded.services
    assert [one.service for one in web.depends_on] == ["db"]
    assert db.workload.image == "pg:15"
    assert [mount.source for mount in db.workload.mounts] == ["/shop/db/conf", "shop_data"]


def test_the_long_form_says_files_folder_and_variables() -> None:
    beside = {
        "a/one.yaml": "services: {db: {image: 'pg:${TAG}', volumes: ['./x:/x']}}",
        "b/two.yaml": "services: {db: {environment: {A: $OTHER}}}",
        "b/vars": "TAG=1\nOTHER=first\n",
        "b/more": "OTHER=later\n",
    }
    text = """
    include:
      - path: [a/one.yaml, b/two.yaml]
        project_directory: c
        env_file: [b/vars, b/more]
    services: {web: {image: app}}
    """
    db = understood(text, beside=beside, variables={"TAG": "given"}).decoded.services[1]
    assert db.workload.image == "pg:given"
    assert db.workload.environment == {"A": "later"}
    assert db.workload.mounts[0].source == "/shop/c/x"


def test_later_files_change_what_an_earlier_one_includes() -> None:
    beside = {"db.yaml": "services: {db: {image: pg}}"}
    first = "include: [db.yaml]\nservices: {web: {image: app}}"
    second = "services: {db: {image: mysql}}"
    found = understood(first, second, beside=beside).decoded.services
    assert [spec.workload.image for spec in found] == ["app", "mysql"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "include: [db.yaml]\nservices: {db: {image: other}}",
            "include[0]: services.db is in a.yaml:2 already, and says something else",
        ),
        ("include: [self.yaml]", "include[0]: self.yaml includes itself"),
        ("include: [no.yaml]", 'include[0]: cannot read "no.yaml": no such file or directory'),
        ("include: {path: db.yaml}", "include: expected a list, got a mapping"),
        ("include: [{env_file: a}]", "include[0]: path is missing: which file to include"),
        (
            "include: ['https://example.com/a.yaml']",
            "include[0]: hafen includes files of this computer only; fetch it first",
        ),
    ],
)
def test_what_cannot_be_included_is_said(text: str, why: str) -> None:
    beside = {
        "db.yaml": "services: {db: {image: pg}}",
        "self.yaml": "include: [self.yaml]\nservices: {a: {image: b}}",
    }
    assert any(line.endswith(why) for line in problems_beside(beside, text))


def test_the_same_may_be_included_twice() -> None:
    beside = {
        "db.yaml": "services: {db: {image: pg}}",
        "a.yaml": "include: [db.yaml]\nservices: {a: {image: a}}",
    }
    text = "include: [db.yaml, a.yaml]\nservices: {web: {image: app}}"
    names = [spec.name for spec in understood(text, beside=beside).decoded.services]
    assert names == ["web", "db", "a"]


def test_depth_and_number_of_files_have_an_end() -> None:
    deep = {f"{n}.yaml": f"include: [{n + 1}.yaml]" for n in range(INCLUDE_DEPTH_MAX + 2)}
    lines = problems_beside(deep, "include: [0.yaml]\nservices: {web: {image: a}}")
    assert any(f"more than {INCLUDE_DEPTH_MAX} deep" in line for line in lines)

    many = {f"{n}.env": "A=1" for n in range(FILES_MAX + 1)}
    files = ", ".join(many)
    lines = problems_beside(many, f"services: {{web: {{image: a, env_file: [{files}]}}}}")
    assert lines == [
        (
            f'a.yaml:1: services.web.env_file[{FILES_MAX}]: cannot read "{FILES_MAX}.env": '
            f"{FILES_MAX} files are the most"
        )
    ]


PROFILES = """
services:
  web: {image: app}
  debug: {image: debug, profiles: [debug, all-of-it], depends_on: [web]}
  admin: {image: admin, profiles: [admin], depends_on: [debug]}
"""


@pytest.mark.parametrize(
    ("profiles", "names"),
    [
        ((), ["web"]),
        (("debug",), ["web", "debug"]),
        (("all-of-it",), ["web", "debug"]),
        (("other",), ["web"]),
        (("*",), ["web", "debug", "admin"]),
        (("admin", "debug"), ["web", "debug", "admin"]),
    ],
)
def test_services_without_a_profile_or_with_an_active_one_are_deployed(
    profiles: tuple[str, ...], names: list[str]
) -> None:
    found = understood(PROFILES, profiles=profiles).decoded.services
    assert [spec.name for spec in found] == names


def test_waiting_for_an_inactive_service_is_refused() -> None:
    assert problems_beside({}, PROFILES, profiles=("admin",)) == [
        (
            'a.yaml:5: services.admin.depends_on[0]: "debug" is not active; '
            "say --profile with one of its profiles"
        )
    ]
    assert problems("services: {a: {image: a, profiles: [x]}}") == [
        "a.yaml:1: services: every service has a profile and none is active; say --profile"
    ]


FILES = ("a.yaml", "b.yaml", "c.yaml", "d.yaml")
GRAPHS = st.fixed_dictionaries(
    {
        name: st.tuples(
            st.lists(st.sampled_from(FILES), max_size=3),
            st.lists(
                st.tuples(st.sampled_from("xyz"), st.sampled_from(FILES), st.sampled_from("xyz")),
                max_size=3,
            ),
        )
        for name in FILES
    }
)


@settings(deadline=None, max_examples=60)  # reading YAML takes its time
@given(GRAPHS)
def test_files_that_name_each_other_in_every_way_come_to_an_end(
    graph: dict[str, tuple[list[str], list[tuple[str, str, str]]]],
) -> None:
    beside = {}
    for name, (includes, extends) in graph.items():
        services = {
            f"{name[0]}{service}": {
                "image": "app",
                "extends": {"file": file, "service": f"{file[0]}{other}"},
            }
            for service, file, other in extends
        }
        whole = {"include": includes, "services": {f"{name[0]}x": {"image": name}, **services}}
        beside[name] = json.dumps(whole)
    assert outcome(beside)


def outcome(beside: dict[str, str]) -> list[str]:
    """Return the names of the services, or the lines of the refusal."""
    try:
        found = understood(beside["a.yaml"], beside=beside).decoded.services
    except SpecError as error:
        return str(error).splitlines()
    return [spec.name for spec in found]
