"""`python -m node_agent.names --address A --folder F`: a node's name server.

Its agent starts it.
"""

from node_agent.names.serve import main

if __name__ == "__main__":
    main()
