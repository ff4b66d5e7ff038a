#!/bin/sh
# Make .venv with pinned, hashed packages and the command `hafen` in it; quick when nothing has changed.
#
#   deploy/setup/venv.sh          what hafen needs to run
#   deploy/setup/venv.sh dev      and what its tests and linters need
#   deploy/setup/venv.sh bench    and what the pictures of its benchmarks need
#
# HAFEN_PYTHON names the Python to use. Else it is the system's where that will do: it is kept up to date by
# the distribution, open to every user, and faster than what version managers build.
set -eu
cd "$(dirname "$0")/../.."

kind=${1-runtime}
venv=.venv
stamp=$venv/.stamp-$kind
code='shared node_agent scheduler deploy'
case $kind in
runtime) files='requirements/build.txt requirements/runtime.txt' ;;
dev) files='requirements/build.txt requirements/runtime.txt requirements/dev.txt' code="$code tests bench" ;;
bench) files='requirements/build.txt requirements/bench.txt' code="$code tests bench" ;;
*) echo "venv.sh: runtime, dev or bench, not $kind" >&2; exit 2 ;;
esac

# Our own code, as pip does with packages: who may not write beside it, or is told not to by
# PYTHONDONTWRITEBYTECODE, would compile it again in every process, half a second for each part of a host.
# Only changed files are compiled; what cannot be written stays as it is, and Python does without.
compile() {
    # shellcheck disable=SC2086
    $venv/bin/python -m compileall -qq $code || true
}

system=/usr/bin/python3
fits='import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
python=${HAFEN_PYTHON:-}
[ -n "$python" ] || { $system -c "$fits" 2>/dev/null && python=$system; } || python=python3

# The stamp holds what was installed: a changed pin, a moved tree or another Python installs again.
# shellcheck disable=SC2086
state=$(pwd && echo "$python" && $python -V && cat pyproject.toml $files | sha256sum)
[ -x $venv/bin/hafen ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ] && { compile; exit 0; }

$python -c "$fits" || {
    echo "venv.sh: hafen needs Python 3.11 or newer, with venv; $python is $($python -V)" >&2
    exit 4
}
echo "venv.sh: installing $kind packages into $venv" >&2
rm -f "$stamp"
is_of='import sys; print(sys.base_prefix, sys.version)'
[ "$($venv/bin/python -c "$is_of" 2>/dev/null)" = "$($python -c "$is_of")" ] && [ -x $venv/bin/pip ] ||
    $python -m venv --clear $venv
for file in $files; do
    $venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r "$file" >&2
done
# No isolation: the build would fetch a setuptools of its own that no hash has seen. compat: a line with
# the folder's name; setuptools' own way imports a finder into every Python that starts, 15 to 20 ms of each.
$venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index \
    --config-settings editable_mode=compat -e . >&2
echo "$state" >"$stamp"
compile
