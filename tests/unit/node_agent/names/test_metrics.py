"""A name server's counts, as figures."""

from node_agent.names.metrics import rendered


def test_each_kind_of_question_is_a_sample() -> None:
    assert rendered({"local": 7, "forwarded": 2}).splitlines()[1:] == [
        "# TYPE hafen_names_questions_total counter",
        'hafen_names_questions_total{kind="forwarded"} 2',
        'hafen_names_questions_total{kind="local"} 7',
    ]
