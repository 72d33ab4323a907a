#!/usr/bin/env bash
# Installs the Debian packages that building or testing pgbridge needs.
#
#   packages.sh build    to build it and to run the demo
#   packages.sh test     the same and what the tests need besides
#   packages.sh bench    what to compare with: pglogical and Bucardo
#
# Only what is missing is installed; nothing happens, fast, when everything is there. Servers that come with the packages
# are neither started now nor at the next boot, and no PostgreSQL cluster is created: demo and tests start private ones.
# Exit codes: 0 everything is there, 64 usage, 69 something is missing and could not be installed.
set -euo pipefail

# One package per word. After "=" stands a program that does as well, so that a cmake or a gcc from elsewhere is respected.
# gcc only recommends libc6-dev and cmake only recommends make, and recommendations are not installed here.
PACKAGES_BUILD=(
    cmake=cmake make=make gcc=gcc libc6-dev pkg-config=pkg-config
    librabbitmq-dev libpq-dev libjson-c-dev libssl-dev libcyaml-dev libyaml-dev libmicrohttpd-dev libsystemd-dev
    postgresql-15 rabbitmq-server
)
# prometheus brings promtool.
PACKAGES_TEST=(
    libcmocka-dev amqp-tools clang=clang libclang-rt-14-dev prometheus=promtool jq=jq curl=curl openssl=openssl
    python3-pika faketime
)
PACKAGES_BENCH=(jq=jq postgresql-15-pglogical postgresql-plperl-15 bucardo)

packages_say() {
    printf 'packages: %s\n' "$*" >&2
}

# Sets MISSING to those of the wanted packages that are not installed.
packages_find_missing() {
    local -A installed=()
    local wish package state
    if command -v dpkg-query >/dev/null; then
        # Unknown packages make dpkg-query fail; it still lists the known ones.
        while read -r package state; do
            [[ $state != installed ]] || installed[$package]=yes
        done < <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${@%%=*}" 2>/dev/null || true)
    fi
    MISSING=()
    for wish in "$@"; do
        package=${wish%%=*}
        [[ -z ${installed[$package]:-} ]] || continue
        [[ $wish != *=* ]] || ! command -v "${wish#*=}" >/dev/null || continue
        MISSING+=("$package")
    done
}

POLICY=/usr/sbin/policy-rc.d
POLICY_SAVED=/usr/sbin/policy-rc.d.before-pgbridge
CLUSTER_SETTING=/etc/postgresql-common/createcluster.d/pgbridge-install.conf

# Freshly installed servers must not start. The machine's own policy, if it has one, still decides about all others.
services_hold() {
    [[ -e $POLICY_SAVED || ! -e $POLICY ]] || mv "$POLICY" "$POLICY_SAVED"
    cat >"$POLICY" <<POLICY_END
#!/bin/sh
# Temporary, while packages for pgbridge are installed: servers that come with them stay down.
case \$1 in
    postgresql*|rabbitmq-server*|epmd*|prometheus*|bucardo*) exit 101 ;;
esac
[ ! -x $POLICY_SAVED ] || exec $POLICY_SAVED "\$@"
exit 0
POLICY_END
    chmod 755 "$POLICY"
    mkdir -p "${CLUSTER_SETTING%/*}"
    echo "create_main_cluster = false" >"$CLUSTER_SETTING"
}

services_release() {
    rm -f "$POLICY" "$CLUSTER_SETTING"
    [[ ! -e $POLICY_SAVED ]] || mv "$POLICY_SAVED" "$POLICY"
}

# Prints the units of these servers that the machine has.
services_list() {
    local unit
    for unit in postgresql rabbitmq-server epmd prometheus bucardo; do
        printf '%s\n' "$unit.service" "$unit.socket"
    done | while read -r unit; do
        [[ ! -e /lib/systemd/system/$unit ]] || printf '%s\n' "$unit"
    done
}

# What came only for its programs must not come up at the next boot either. Takes the units that were there before.
services_disable_new() {
    local unit
    command -v systemctl >/dev/null || return 0
    for unit in $(services_list); do
        [[ " $* " == *" $unit "* ]] || systemctl disable --quiet "$unit" >/dev/null 2>&1 || true
    done
}

# Runs apt-get up to three times: mirrors and locks fail for a moment. Its output is shown only when it fails for good.
apt_run() {
    local attempt
    for attempt in 1 2 3; do
        if DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 \
            -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" >"$APT_LOG" 2>&1 </dev/null; then
            return 0
        fi
        ((attempt == 3)) || sleep $((attempt * 2))
    done
    tail -n 20 "$APT_LOG" >&2
    return 1
}

packages_install() {
    local -a units
    packages_say "installing $*"
    mapfile -t units < <(services_list)
    APT_LOG=$(mktemp)
    trap 'services_release; rm -f "$APT_LOG"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    services_hold
    # An update that fails may still leave usable lists; the installation tells.
    apt_run update || packages_say "apt-get update failed, trying with the lists that are there"
    if ! apt_run install --no-install-recommends "$@"; then
        packages_say "could not install $*; try it by hand: apt-get install $*"
        exit 69
    fi
    services_disable_new "${units[@]}"
}

packages_main() {
    case ${1:-} in
        build) packages_find_missing "${PACKAGES_BUILD[@]}" ;;
        test) packages_find_missing "${PACKAGES_BUILD[@]}" "${PACKAGES_TEST[@]}" ;;
        bench) packages_find_missing "${PACKAGES_BUILD[@]}" "${PACKAGES_BENCH[@]}" ;;
        *)
            packages_say "usage: packages.sh build|test|bench"
            exit 64
            ;;
    esac
    ((${#MISSING[@]})) || exit 0
    if ! command -v apt-get >/dev/null; then
        packages_say "this is not a Debian system: install what corresponds to ${MISSING[*]}"
        exit 69
    fi
    if ((EUID != 0)); then
        packages_say "missing ${MISSING[*]}; install them with: sudo apt-get install --no-install-recommends ${MISSING[*]}"
        exit 69
    fi
    packages_install "${MISSING[@]}"
}

packages_main "$@"
