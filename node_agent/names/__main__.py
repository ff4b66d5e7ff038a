"""`python -m node_agent.names --address A --folder F`: a node's name server.

Its agent starts it.
"""

import shared.without_rich  # noqa: F401 - before structlog is imported

# isort: split
from node_agent.names.serve import main

if __name__ == "__main__":
    main()
