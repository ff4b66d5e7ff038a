"""`python -m scheduler --config FILE`: runs one scheduler; `hafen serve` starts it."""

import shared.without_rich  # noqa: F401 - before structlog is imported

# isort: split
from scheduler.scheduler import serve
from shared.process import main

if __name__ == "__main__":
    main("scheduler", serve)
