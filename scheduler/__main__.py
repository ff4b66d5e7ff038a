"""`python -m scheduler --config FILE`: runs one scheduler; `hafen serve` starts it."""

from scheduler.scheduler import serve
from shared.process import main

if __name__ == "__main__":
    main("scheduler", serve)
