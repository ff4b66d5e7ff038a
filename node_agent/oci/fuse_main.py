"""A program of its own, the fuse: ends an exclusive container in time, whoever else is dead.

Run as `python -I -S fuse_main.py DIRECTORY DEADLINE`; it must not import anything of ours. It
becomes two processes that nobody waits for, and answers their ids on standard output.

The keeper has a timer in the kernel that sends it SIGKILL at DEADLINE: nanoseconds on the boot
clock, which goes on while the machine sleeps. Whoever may extend the container's life sends a later
moment, eight bytes in the machine's order, to the datagram socket `fuse.sock` in DIRECTORY. The
keeper moves its timer on, and never back.

The other is process 1 of a new pid namespace, in which the container's processes are put. The
kernel kills it when the keeper dies of whatever cause, and all in the namespace with it. None of
this needs a process to run in time: not the agent, and not the keeper, which may even be stopped.
"""

import ctypes
import os
import sys

# Not `signal`, `socket`, `contextlib` or `typing`: those take longer to load than all else here.
from _signal import (  # type: ignore[import-not-found]
    SIG_IGN,
    SIGCHLD,
    SIGHUP,
    SIGINT,
    SIGKILL,
    SIGTERM,
    pause,
    signal,
)
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, socket, socketpair

SOCKET = "fuse.sock"
# From the kernel's time.h, sched.h and prctl.h.
BOOT_CLOCK, ABSOLUTE = 7, 1
NEW_PID_NAMESPACE = 0x20000000
DEATH_SIGNAL, DUMPABLE = 1, 4
SECOND_NS = 1_000_000_000

_libc = ctypes.CDLL(None, use_errno=True)


# struct sigevent and struct itimerspec. In the first, the third number is the signal; the fourth
# stays 0: by signal. In the second, the first two are an interval and stay 0.
SignalEvent = ctypes.c_int * 16
TimerSetting = ctypes.c_long * 4


class Timer:
    """Ends this process at a moment of the boot clock, by SIGKILL, whatever state it is in."""

    def __init__(self, deadline_ns: int) -> None:
        self._id = ctypes.c_void_p()
        self._deadline_ns = 0
        event = SignalEvent(0, 0, SIGKILL)
        done = _libc.timer_create(BOOT_CLOCK, ctypes.byref(event), ctypes.byref(self._id))
        _check(done, "timer_create")
        self.move(deadline_ns)

    def move(self, deadline_ns: int) -> None:
        """Move the moment on; an earlier one than before changes nothing."""
        if deadline_ns <= self._deadline_ns:
            return
        setting = TimerSetting(0, 0, *divmod(deadline_ns, SECOND_NS))
        _check(
            _libc.timer_settime(self._id, ABSOLUTE, ctypes.byref(setting), None), "timer_settime"
        )
        self._deadline_ns = deadline_ns


def main(directory: str, deadline: str) -> int:
    """Leave whoever called, in the keeper; the caller waits for the answer, not for us."""
    os.setsid()
    if os.fork() != 0:
        return 0
    # First of all: whatever goes wrong from here on, this ends in time.
    timer = Timer(int(deadline))
    for number in (SIGTERM, SIGINT, SIGHUP):
        signal(number, SIG_IGN)
    survive_shortage()
    orders = listen(directory)
    init = fork_init(orders)
    os.write(1, f"{os.getpid()} {init}\n".encode())
    let_go_of_caller()
    while True:
        order = orders.recv(16)
        if len(order) == ctypes.sizeof(ctypes.c_uint64):
            timer.move(int.from_bytes(order, sys.byteorder))


def listen(directory: str) -> socket:
    """Return the socket for later moments; only its owner may write to it."""
    os.chdir(directory)  # the path of a socket may have no more than 108 characters
    os.umask(0o177)
    orders = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    orders.bind(SOCKET)
    os.chdir("/")
    return orders


def fork_init(orders: socket) -> int:
    """Make the namespace and its process 1, and return when the kernel binds its life to ours."""
    _check(_libc.unshare(NEW_PID_NAMESPACE), "unshare")
    ours, its = socketpair(AF_UNIX, SOCK_STREAM)
    init = os.fork()
    if init == 0:
        ours.close()
        orders.close()
        be_init(its)
    its.close()
    if ours.recv(1) != b"?":
        raise SystemExit("the container's process 1 ended at once")
    ours.send(b"!")
    ours.close()
    return init


def be_init(keeper: socket) -> None:
    """Be process 1: the kernel reaps its children, and ends it with the keeper."""
    _check(_libc.prctl(DEATH_SIGNAL, SIGKILL, 0, 0, 0), "prctl")
    # Processes in the container see this one. It has the host's files: nobody may follow it there.
    _check(_libc.prctl(DUMPABLE, 0, 0, 0, 0), "prctl")
    signal(SIGCHLD, SIG_IGN)
    let_go_of_caller()
    # If the keeper died before the kernel knew what to do then, there is nobody to answer.
    keeper.send(b"?")
    if keeper.recv(1) != b"!":
        os._exit(1)
    keeper.close()
    while True:
        pause()


def survive_shortage() -> None:
    """Be the last to be ended when memory runs out; safety does not depend on it."""
    try:
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(score, b"-1000")
        os.close(score)
    except OSError as error:
        sys.stderr.write(f"oom_score_adj: {error}\n")


def let_go_of_caller() -> None:
    """Give the caller the end of its pipes."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
