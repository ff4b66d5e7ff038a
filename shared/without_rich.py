"""Imported before all else by programs that run for long: for them there is no rich.

structlog looks for it, to colour tracebacks at a terminal, and so imports pygments and attrs, too:
0.1 to 0.2 s of processor time for each of the four programs that a host starts.
"""

import sys

# Python's own word for a module that there is not.
sys.modules["rich"] = None  # type: ignore[assignment]
