"""`python -m node_agent --config FILE`: runs one host's agent; `hafen serve` starts it."""

import shared.without_rich  # noqa: F401 - before structlog is imported

# isort: split
from node_agent.serve import serve
from shared.process import main

if __name__ == "__main__":
    main("node-agent", serve)
