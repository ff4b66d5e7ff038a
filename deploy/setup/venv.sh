#!/bin/sh
# Make .venv with pinned, hashed packages and the command `hafen` in it; quick when nothing has changed.
#
#   deploy/setup/venv.sh          what hafen needs to run
#   deploy/setup/venv.sh dev      and what its tests and linters need
#   deploy/setup/venv.sh bench    and what the pictures of its benchmarks need
set -eu
cd "$(dirname "$0")/../.."

kind=${1-runtime}
venv=.venv
stamp=$venv/.stamp-$kind
case $kind in
runtime) files='requirements/build.txt requirements/runtime.txt' ;;
dev) files='requirements/build.txt requirements/runtime.txt requirements/dev.txt' ;;
bench) files='requirements/build.txt requirements/bench.txt' ;;
*) echo "venv.sh: runtime, dev or bench, not $kind" >&2; exit 2 ;;
esac

# The stamp holds what was installed: a changed pin, a moved tree or another Python installs again.
# shellcheck disable=SC2086
state=$(pwd && python3 -V && cat pyproject.toml $files | sha256sum)
[ -x $venv/bin/hafen ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ] && exit 0

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "venv.sh: hafen needs Python 3.11 or newer; python3 is $(python3 -V)" >&2
    exit 4
}
echo "venv.sh: installing $kind packages into $venv" >&2
rm -f "$stamp"
[ -x $venv/bin/pip ] || python3 -m venv --clear $venv
for file in $files; do
    $venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r "$file" >&2
done
# No isolation: the build would fetch a setuptools of its own that no hash has seen.
$venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e . >&2
echo "$state" >"$stamp"
