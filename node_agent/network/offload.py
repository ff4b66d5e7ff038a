"""Whether network cards fill in the checksums of what a link sends: asked of the kernel, and set.

Blocking. A card that cannot do it for packets wrapped into others sends them with wrong ones: the
far kernel drops TCP and UDP, and ICMP, whose checksums no card makes, passes.
"""

import array
import fcntl
import socket
import struct
from typing import Final

# From linux/sockios.h and linux/ethtool.h.
_ETHTOOL: Final = 0x8946
_GET_TX_CHECKSUMS, _SET_TX_CHECKSUMS = 0x16, 0x17
_NAME_BYTES, _REQUEST_BYTES = 16, 40


def leaves_checksums(link: str) -> bool:
    """Say whether a link leaves checksums to what is below it.

    Raises:
        OSError: there is no such link, or it does not know.
    """
    return bool(_ask(link, _GET_TX_CHECKSUMS))


def make_checksums(link: str) -> None:
    """Let the kernel fill in all checksums of what a link sends.

    Raises:
        OSError: it refused.
    """
    _ask(link, _SET_TX_CHECKSUMS, 0)


def _ask(link: str, command: int, value: int = 0) -> int:
    said = array.array("I", [command, value])
    address, _ = said.buffer_info()
    request = struct.pack(f"{_NAME_BYTES}sP", link.encode(), address).ljust(_REQUEST_BYTES, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        fcntl.ioctl(kernel, _ETHTOOL, request)
    return said[1]
