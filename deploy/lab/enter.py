"""A program of its own: move into cgroups, then become another program.

Run as `python -I -S enter.py [--cgroup DIRECTORY]... -- ARGV...`. It must not import anything of
ours: it starts in the time that the interpreter takes. Membership is inherited, so all that ARGV
starts stays inside and can be found and killed there.
"""

import os
import sys


def main(arguments: list[str]) -> int:
    """Move and become; return only if ARGV cannot be run."""
    separator = arguments.index("--")
    for directory in arguments[1:separator:2]:
        join(directory)
    argv = arguments[separator + 1 :]
    # The caller's directory may not exist on the other side.
    os.chdir("/")
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - an argument list; a shell has no part in it
    except FileNotFoundError:
        sys.stderr.write(f"{argv[0]}: no such program\n")
        return 127


def join(directory: str) -> None:
    """Move this process into a cgroup."""
    with open(os.path.join(directory, "cgroup.procs"), "w", encoding="ascii") as file:  # noqa: PTH118, PTH123 - pathlib alone would double the time to start
        file.write("0")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
