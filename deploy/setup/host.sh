#!/bin/sh
# Install the Debian packages that hafen calls, and only those that are missing.
#
#   deploy/setup/host.sh           install
#   deploy/setup/host.sh --list    print the names of all packages it wants
#   deploy/setup/host.sh --tests   install what the tests need besides, too
#   deploy/setup/host.sh --bench   install what the benchmarks need besides, too
#
# Exit code 4: this machine or this user cannot do it; the one line on standard error says why.
set -eu

# What each package is for stands beside it; a package that nothing calls does not belong here.
PACKAGES='
busybox-static                  # the example image
ca-certificates                 # registries, for skopeo
conmon                          # holds a container stdio and exit status
coreutils                       # nice, cp
crun                            # runs containers
etcd-client                     # etcdctl, for people
etcd-server                     # the cluster state
golang-github-containers-common # the seccomp profile and the image policy
haproxy                         # the gateway
iproute2                        # ip, ss
mount                           # mount, umount
nftables                        # nft
skopeo                          # fetches images
tini                            # the init of a virtual host, and of containers that ask for one
umoci                           # unpacks images
util-linux                      # unshare, nsenter, setpriv
'
# No host calls these.
TEST_PACKAGES='
buildah                         # what people build with
pebble                          # an ACME server
runc                            # the other runtime, which must do as well
'
BENCH_PACKAGES='
wrk                             # sends more requests than Python can
'
# Debian starts these as system services when they are installed; hafen runs its own instances.
SERVICES='etcd haproxy'
POLICY=/usr/sbin/policy-rc.d

fail() {
    echo "host.sh: $1" >&2
    exit 4
}

wanted() {
    echo "$PACKAGES$MORE" | sed 's/#.*//' | tr -s ' \n' '\n' | sed '/^$/d'
    # A Python from elsewhere brings venv along; Debian's keeps it in a package of its own.
    /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

missing() {
    wanted | while read -r package; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || echo "$package"
    done
}

# Keep new packages from starting services, unless the machine already has a policy of its own.
forbid_starts() {
    [ -e "$POLICY" ] && return
    trap 'rm -f "$POLICY"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\n# Written by hafen host.sh for the time of one installation.\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

# The policy stops the start, not the enabling: without this they would take our ports at the next boot.
disable_services() {
    [ -d /run/systemd/system ] || return 0
    for service in $SERVICES; do
        case " $1 " in
        *" $service "* | *" $service-server "*) systemctl disable --quiet "$service.service" ;;
        esac
    done
}

install_missing() {
    packages=$(missing | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    [ "$(id -u)" -eq 0 ] || fail "run as root to install: $packages"
    echo "host.sh: installing $packages" >&2
    forbid_starts
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q -o DPkg::Lock::Timeout=120 update >&2
    # Unquoted on purpose: a list of names, none of which has a blank.
    # shellcheck disable=SC2086
    apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends $packages >&2
    disable_services "$packages"
}

MORE=
[ "${1-}" = --tests ] && MORE=$TEST_PACKAGES
[ "${1-}" = --bench ] && MORE=$BENCH_PACKAGES
[ "${1-}" = --list ] && { wanted; exit 0; }
[ "$(uname -s)" = Linux ] || fail "hosts run Linux; this is $(uname -s)"
command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail "needs apt (Debian or Ubuntu); elsewhere install by hand: $(wanted | tr '\n' ' ')"
install_missing
