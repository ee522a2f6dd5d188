#!/usr/bin/env bash
# usage: chaos-containers.sh [--seed N] [--minutes M] [--runs N] [--prebuilt]
#                            [--json]
#
# Attacks whole lotteries in containers, and checks every promise: while
# agencies send, containers are killed, stopped, paused, cut off from the
# network, added and removed at seeded moments. Then each lottery has to come to
# its end by itself. A run takes about a minute.
#
#   --seed N      the seed of the first run; a failed run's seed holds that run
#                 again [1]
#   --minutes M   start no more runs after M minutes [10 runs, however long they
#                 take]
#   --runs N      hold at most N runs
#   --prebuilt    take programs that are compiled on this machine
#                 (scripts/prebuild.sh)
#   --json        end standard output with one JSON line; the table goes to
#                 standard error
#
# Exit code 0: every promise was kept in every run. 1: one was not; it is named
# with its seed, and the volume and all logs of its run are kept. 2: the command
# line is wrong. 77: there is no Docker.
#
# It runs beside a `docker compose up` of the same directory without touching
# it: under a project name of its own, and, unless the environment sets
# DOCKER_SUBNET or DOCKET_SUBNET, on a subnet that Docker chooses. Everything is
# taken down at the end, also after Ctrl-C.

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

# Before minutes of building; the program says the same of its options.
options=()
while (($#)); do
    option=$1
    shift
    case $option in
        --seed)
            [[ ${1-} =~ ^[0-9]{1,19}$ ]] || usage "--seed takes a number from 0"
            ;;
        --minutes)
            [[ ${1-} =~ ^([1-9][0-9]{0,3}|10000)$ ]] ||
                usage "--minutes takes a number from 1 to 10000"
            ;;
        --runs)
            [[ ${1-} =~ ^[1-9][0-9]{0,8}$ ]] || usage "--runs takes a number from 1"
            ;;
        --json) options+=(--json) && continue ;;
        --prebuilt) export BINARIES=prebuilt && continue ;;
        *) usage "no such option: '$option'" ;;
    esac
    options+=("$option" "$1")
    shift
done

if ! docker info >/dev/null 2>&1 || ! docker compose version >/dev/null 2>&1; then
    echo "skipped: there is no Docker with Compose v2 here, or it does not answer" >&2
    exit 77
fi

export COMPOSE_PROJECT_NAME=loteria-chaos-$$ COMPOSE_PROGRESS=quiet
attack=
# shellcheck disable=SC2317 # the traps call it
clean_up() {
    local code=$?
    trap - EXIT INT TERM
    if [[ -n $attack ]]; then
        kill "$attack" || true
        wait "$attack" || true
    fi
    docker compose down --volumes --rmi local --timeout 8 >&2 || code=1
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

[[ ${BINARIES-} != prebuilt ]] || scripts/prebuild.sh >&2
docker compose build >&2
# Waited for in the background, for a signal to be heard at once. Unoptimised is enough to drive
# Docker, and the tests have built that already.
cargo run --quiet --package chaos -- --containers "$COMPOSE_PROJECT_NAME" "${options[@]}" &
attack=$!
wait "$attack" && code=0 || code=$?
attack=
exit "$code"
