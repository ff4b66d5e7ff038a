"""What skopeo's last words mean.

Pure. Three answers help a person: the image is not there, we may not have it, or nobody answers.
"""

import re
from typing import Final

from node_agent.oci.reference import Reference

_MESSAGE: Final = re.compile(r'msg="((?:[^"\\]|\\.)*)"')
_LENGTH_MAX: Final = 300

# In small letters. "requested access to the resource is denied" is also what Docker Hub says of an
# image that is not there.
_NO_SUCH: Final = ("manifest unknown", "name unknown", "not found", "404")
_NOT_ALLOWED: Final = ("unauthorized", "authentication required", "denied", "forbidden", "403")
_UNREACHABLE: Final = (
    "connection refused",
    "connection reset",
    "dial tcp",
    "no such host",
    "i/o timeout",
    "timeout exceeded",
    "no route to host",
    "network is unreachable",
    "http response to https client",
    "x509:",
    "tls:",
    "pinging container registry",
)


def explain(reference: Reference, errors: str) -> str:
    """Return one line that names the image and says why it cannot be had.

    Args:
        reference: the image.
        errors: all that skopeo wrote to standard error.
    """
    answer = _last_message(errors)
    lowered = answer.lower()
    if any(word in lowered for word in _UNREACHABLE):
        return f"{reference}: cannot reach registry {reference.registry}: {answer}"
    if any(word in lowered for word in _NOT_ALLOWED):
        return (
            f"{reference}: not allowed at {reference.registry}"
            f" (private, or no such image there): {answer}"
        )
    if any(word in lowered for word in _NO_SUCH):
        return f"{reference}: no such image at {reference.registry}: {answer}"
    return f"{reference}: {answer}"


def _last_message(errors: str) -> str:
    """Return the last message of a log, on one line."""
    messages = _MESSAGE.findall(errors)
    lines = [line for line in errors.splitlines() if line.strip()]
    text = messages[-1] if messages else (lines[-1] if lines else "no answer")
    plain = " ".join(text.replace('\\"', '"').replace("\\n", " ").split())
    return plain if len(plain) <= _LENGTH_MAX else "..." + plain[-_LENGTH_MAX:]
