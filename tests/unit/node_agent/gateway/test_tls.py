"""Which certificate is shown for which host, and the commands that bring HAProxy there."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from node_agent.gateway.tls import Has, adding, choose, digest, has, is_done, listed, removing
from shared.pair import Pair

FOLDER, LIST = "/run/x", "/run/x/list"
HOSTS = st.sets(st.sampled_from(["a.org", "b.org", "*.org", "c.a.org"]), min_size=1)


def pair(hosts: Iterable[str], chain: str, key: str, not_after_s: float) -> Pair:
    return Pair(
        chain=chain,
        key=key,
        hosts=tuple(sorted(hosts)),
        not_before_s=0.0,
        not_after_s=not_after_s,
        issuer="",
        fingerprint=chain,
    )


PAIRS = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(
        lambda hosts, ends, text: pair(hosts, f"{text}\n", "K\n", float(ends)),
        HOSTS,
        st.integers(0, 3),
        st.sampled_from("xyz"),
    ),
)


@given(PAIRS)
def test_every_host_has_one_certificate_and_it_is_one_that_ends_last(
    pairs: dict[str, Pair],
) -> None:
    found = choose(pairs)
    shown = [host for one in found.values() for host in one.hosts]
    assert sorted(shown) == sorted({host for pair in pairs.values() for host in pair.hosts})
    for one in found.values():
        for host in one.hosts:
            fitting = [pair for pair in pairs.values() if host in pair.hosts]
            last = max(pair.not_after_s for pair in fitting)
            assert one.pem in {p.key + p.chain for p in fitting if p.not_after_s == last}
    assert choose(dict(reversed(pairs.items()))) == found


@given(PAIRS, PAIRS)
def test_the_commands_bring_haproxy_from_one_choice_to_the_next(
    first: dict[str, Pair], then: dict[str, Pair]
) -> None:
    before, after = choose(first), choose(then)
    files = {f"{FOLDER}/{name}": one.pem for name, one in before.items()}
    lines = {f"{FOLDER}/{name}": one.hosts for name, one in before.items()}
    known = Has({name: digest(one.pem) for name, one in before.items()}, frozenset(before))
    sent = [c for name, one in after.items() for c in adding(FOLDER, LIST, name, one, known)]
    sent += [c for name in known.files.keys() - after for c in removing(FOLDER, LIST, name, known)]
    set_: dict[str, str] = {}
    for command in sent:
        head, _, payload = command.partition(" <<\n")
        words = head.split()
        if words[:3] == ["new", "ssl", "cert"]:
            assert words[3] not in files
            files[words[3]] = ""
        elif words[:3] == ["set", "ssl", "cert"]:
            assert words[3] in files
            set_[words[3]] = payload
        elif words[:3] == ["commit", "ssl", "cert"]:
            files[words[3]] = set_.pop(words[3])
        elif words[:3] == ["add", "ssl", "crt-list"]:
            path, *hosts = payload.split()
            lines[path] = tuple(hosts)
        elif words[:3] == ["del", "ssl", "crt-list"]:
            del lines[words[4]]
        else:
            assert words[:3] == ["del", "ssl", "cert"]
            assert words[3] not in lines
            del files[words[3]]
    assert files == {f"{FOLDER}/{name}": one.pem for name, one in after.items()}
    assert lines == {f"{FOLDER}/{name}": one.hosts for name, one in after.items()}


def test_what_haproxy_has_is_read_and_half_done_changes_count_as_unknown() -> None:
    certificates = (
        "# transaction\n*/run/x/a.pem\n# filename\n/run/x/a.pem\n/run/x/b.pem\n/etc/c.pem\n"
    )
    found = has(FOLDER, certificates, "# /run/x/list\n/run/x/b.pem b.org\n")
    assert found == Has({"a.pem": "", "b.pem": ""}, frozenset({"b.pem"}))


def test_a_list_names_each_host_and_no_key_is_ever_shown() -> None:
    own = pair(("a.org", "*.org"), "CHAIN\n", "KEY\n", 1.0)
    found = choose({"x": own})
    ((name, _),) = found.items()
    assert listed(FOLDER, found) == f"{FOLDER}/{name} *.org a.org\n"
    assert "KEY" not in repr(own) + repr(found)


def test_only_a_word_of_success_is_one() -> None:
    assert is_done("Committing /x.\nSuccess!\n")
    assert not is_done("Can't commit /x!\nThe given key doesn't match\n")
    assert not is_done("")
