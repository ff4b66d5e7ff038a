"""How a process of hafen begins."""

import gc
import subprocess
import sys

import shared.model
from shared.model.base import Record


def test_the_collector_need_not_know_of_records() -> None:
    records = [
        each
        for each in vars(shared.model).values()
        if isinstance(each, type) and issubclass(each, Record)
    ]
    assert records
    assert [each for each in records if each.__struct_config__.gc] == []


def test_what_was_imported_is_collected_no_more() -> None:
    script = (
        "import gc, shared.process as p; p.settle_memory();"
        " print(gc.get_freeze_count(), len(gc.get_objects()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    frozen, looked_through = map(int, done.stdout.split())
    assert frozen > 100 * looked_through
    assert gc.isenabled()
