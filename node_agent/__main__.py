"""`python -m node_agent --config FILE`: runs one host's agent; `hafen serve` starts it."""

from node_agent.serve import serve
from shared.process import main

if __name__ == "__main__":
    main("node-agent", serve)
