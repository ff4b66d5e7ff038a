"""The `echo` image: deploy.lab.echo with as much of this machine's Python as it needs.

A rollout is tried with websockets, bodies that come back, and a server that ends well. Busybox can
do none of them: its httpd starts a process for each CGI request, which 300 requests a second on two
cores do not leave room for, has no upgrade, and drops what is under way on SIGTERM. A compiled
server would need a compiler where the lab runs, or a binary in the repository that nobody can read.
So the image is made of what is there anyway: the interpreter, the shared libraries that ldd names,
and only those modules of the standard library that one run of the server has loaded, compiled: some
15 MB, 6 MB packed, the same layer for all versions. Busybox is in it for healthchecks and people.

One interpreter gives one archive, byte for byte.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from deploy.lab import echo, images
from shared.errors import HostError

NAME: Final = "hafen.local/echo"
SICK: Final = "sick"
CRASH: Final = "crash"
TAGS: Final = ("1", "2", SICK, CRASH)
# For a Compose file's healthcheck.
HEALTHCHECK: Final = ("wget", "-q", "-O", "/dev/null", "http://127.0.0.1/health")
_CRASH_AFTER_S: Final = 3
# The distribution's is stripped and small; one that was built by hand may have 20 MB of symbols.
_SYSTEM_PYTHON: Final = Path("/usr/bin/python3")
_ROOT: Final = Path(echo.__file__).parents[2]
_OURS: Final = "srv"
# Its slowest level takes four times as long for a tenth less.
_GZIP_LEVEL: Final = 3
_TRIAL_S: Final = 30.0
_START: Final = "import sys; from deploy.lab.echo import main; sys.exit(main(sys.argv[1:]))"
# Run by the interpreter that goes into the image. TLS and OpenSSL's hashes are kept out: they bring
# 6 MB along, and both have a way without. A module is compiled to the place that it has in the
# image, and checked against no source: there is none.
_TRIAL: Final = """
import sys
sys.modules.update(dict.fromkeys(["ssl", "_hashlib"]))
root, ours, made = sys.argv[1:]
sys.path.insert(0, root)
from deploy.lab.echo import main
main(["--port", "0", "--crash-after", "0.01"])
found = {m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
import json, os, py_compile
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
files = {os.path.realpath(sys.executable): "/usr/bin/python3"}
for path in sorted(found):
    if path.startswith(root + "/"):
        at = ours + path[len(root):]
    else:
        at = path
    if path.endswith(".py"):
        target = f"{made}/{len(files)}.pyc"
        py_compile.compile(path, target, at, doraise=True, invalidation_mode=mode)
        files[target] = at + "c"
    else:
        files[path] = at
print(json.dumps({"files": files, "prefix": sys.base_prefix}))
"""


def build_echo(target: Path, tag: str) -> str:
    """Write the archive of the `echo` image with one of the TAGS to `target`; return its full name.

    1 and 2 answer with their version; SICK runs, and its /health never says that it is well; CRASH
    answers and ends by itself after 3 s, with code 1.

    Raises:
        HostError: this machine lacks busybox, or its Python cannot be taken along.
    """
    layer, prefix = _layer()
    options = {SICK: ["--sick"], CRASH: ["--crash-after", str(_CRASH_AFTER_S)]}.get(tag, [])
    run = {
        "Cmd": ["/usr/bin/python3", "-S", "-B", "-c", _START, "--version", tag, *options],
        "Env": ["PATH=/bin:/usr/bin", f"PYTHONPATH=/{_OURS}", f"PYTHONHOME={prefix}"],
        "WorkingDir": "/",
        "ExposedPorts": {"80/tcp": {}},
    }
    name = f"{NAME}:{tag}"
    target.write_bytes(images.archive(layer, name, run, level=_GZIP_LEVEL))
    return name


@cache
def _layer() -> tuple[bytes, str]:
    """Return the layer of all versions, and where its Python's modules are."""
    python = _SYSTEM_PYTHON if _SYSTEM_PYTHON.exists() else Path(sys.executable)
    with tempfile.TemporaryDirectory(prefix="hafen-echo-") as folder:
        trial = _run(str(python), "-I", "-S", "-B", "-c", _TRIAL, str(_ROOT), f"/{_OURS}", folder)
        told = json.loads(trial.splitlines()[-1])
        found = {Path(at): Path(path).read_bytes() for path, at in told["files"].items()}
        programs = [path for path in told["files"] if not path.endswith((".py", ".pyc"))]
    for library in sorted(libraries(_run("ldd", *programs).splitlines())):
        found[Path(library)] = Path(library).read_bytes()
    folders = {parent for path in found for parent in path.parents} - {Path("/")}
    base = images.base(())
    known = {f"/{info.name}" for info, _ in base}
    members = [
        *base,
        *(images.directory(str(each)[1:]) for each in sorted(folders) if str(each) not in known),
        *(images.file(str(path)[1:], found[path], 0o755) for path in sorted(found)),
        images.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644),
    ]
    return images.tar(members), told["prefix"]


def libraries(lines: Iterable[str]) -> set[str]:
    """Return the files that ldd names in its answer."""
    words = (line.split() for line in lines)
    paths = ((row[2:3] if "=>" in row else row[:1]) for row in words)
    return {path for row in paths for path in row if path.startswith("/") and path[-1] != ":"}


def _run(*argv: str) -> str:
    """Return what a program prints.

    Raises:
        HostError: it failed; with its last line.
    """
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TRIAL_S,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise HostError(f"the echo image cannot be made, {argv[0]} failed: {last}")
    return done.stdout
