#!/usr/bin/env bash
# usage: compose-run.sh [options]
#
# Runs one whole lottery in containers: builds the images, starts servers and
# agencies, waits until every agency has ended, prints what came out, and takes
# everything down again. What was stored and announced is counted independently:
# against the files of bets, in bets.csv and in draw.json. Each agency must be
# the number of its replica: the reference's own end-to-end test reads the
# winners from the logs in the order of the replicas. Exits 0 only if every
# agency succeeded and all of it agrees, 1 if not, 2 for a wrong command line.
#
#   --bets DIR         the directory of agency-<n>.csv [BETS_DIR, else
#                      resources/bets]
#   --clients N        how many agencies [CLIENTS, else 5]
#   --servers N        how many servers [SERVERS, else 3]
#   --volume DIR       keep what is stored in DIR, which may be that of an
#                      earlier run [a new directory that is removed in the end]
#   --prebuilt         take programs that are compiled on this machine
#                      (scripts/prebuild.sh)
#   --again            start it a second and a third time, the third with new
#                      containers: the same winners must come out, and bets.csv
#                      must stay as it is
#   --keep             leave the containers and the volume, and print how to
#                      reach them
#   --timeout SECONDS  how long the agencies may take [600]
#
# Everything else comes from the environment or from .env: see .env.example. It
# runs beside a `docker compose up` of the same directory without touching it:
# under a project name of its own, and, unless the environment sets
# DOCKER_SUBNET or DOCKET_SUBNET, on a subnet that Docker chooses. Needs Linux,
# bash 5 and Docker with Compose v2.

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

# --- The command line ---------------------------------------------------------------------------

volume='' prebuilt='' is_ours='' again='' keep='' timeout=600
number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || usage "$1 takes a number from 1, not '$2'"; }
directory() { (cd "$started_in" && cd "$1" && pwd); }
while (($#)); do
    option=$1
    case $option in
        --bets | --clients | --servers | --volume | --timeout)
            (($# > 1)) || usage "$option takes a value"
            value=$2
            shift
            ;;
    esac
    case $option in
        --bets)
            BETS_DIR=$(directory "$value" 2>/dev/null) || usage "--bets: no directory '$value'"
            export BETS_DIR
            ;;
        --clients) number "$option" "$value" && export CLIENTS=$value ;;
        --servers) number "$option" "$value" && export SERVERS=$value ;;
        --volume)
            (cd "$started_in" && mkdir -p "$value") || usage "--volume: cannot make '$value'"
            volume=$(directory "$value")
            ;;
        --timeout) number "$option" "$value" && timeout=$value ;;
        --prebuilt) prebuilt=yes ;;
        --again) again=yes ;;
        --keep) keep=yes ;;
        *) usage "no such option: '$option'" ;;
    esac
    shift
done

docker compose version >/dev/null 2>&1 || fail "needs Docker with Compose v2"
docker info >/dev/null 2>&1 || fail "Docker does not answer: is it running, and may you use it?"

# --- Life cycle ---------------------------------------------------------------------------------

project=loteria-run-$$
mkdir -p target
work=$(mktemp -d "$PWD/target/compose-run.XXXXXX")
chmod 755 "$work"

export COMPOSE_PROJECT_NAME=$project
export SHARED_VOLUME_DIR=${volume:-$work/volume}
# These lines are read below.
export LOG_FORMAT=text LOGGING_LEVEL=INFO
[[ -z $prebuilt ]] || export BINARIES=prebuilt
mkdir -p "$SHARED_VOLUME_DIR"

files=(--file docker-compose.yaml)
if [[ -z ${DOCKER_SUBNET-}${DOCKET_SUBNET-} ]]; then
    printf 'networks:\n  lottery:\n    ipam: !reset null\n' >"$work/any-subnet.yaml"
    files+=(--file "$work/any-subnet.yaml")
fi
compose() { docker compose "${files[@]}" "$@"; }

# Shows a command's output while it runs on a terminal, else only if it fails.
quietly() {
    if [[ -t 2 ]]; then
        "$@" >&2
    else
        "$@" >"$work/output" 2>&1 || {
            cat "$work/output" >&2
            return 1
        }
    fi
}

clean_up() {
    local code=$?
    trap - EXIT
    if [[ -n $keep ]]; then
        echo "kept: $SHARED_VOLUME_DIR, and the containers of"
        printf '  COMPOSE_PROJECT_NAME=%s docker compose ps --all\n' "$project"
        echo "take them down with"
        printf '  COMPOSE_PROJECT_NAME=%s docker compose down --volumes --rmi local\n' "$project"
        find "$work" -mindepth 1 -maxdepth 1 ! -name volume -delete
        rmdir --ignore-fail-on-non-empty "$work"
    else
        quietly compose down --volumes --rmi local --timeout 8 || code=1
        rm -rf "$work" || code=1
    fi
    # Whoever compiled them before goes on with them.
    [[ -z $is_ours ]] || rm -rf prebuilt || code=1
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

problems=0
problem() {
    printf 'problem: %s\n' "$*"
    problems=$((problems + 1))
}

# --- Running ------------------------------------------------------------------------------------

containers() { compose ps --all --quiet "$@"; }
name_of() { docker inspect --format '{{slice .Name 1}}' "$1" | sed "s/^$project-//"; }

# The log of a container in this run. What Docker calls its start may be later than its first line.
log_of() { docker logs --since "$began" "$1"; }

# numbers ACTION FIELD: the number in FIELD of each line of a log that is of ACTION.
numbers() { sed -nE "s/.*action: $1 .*$2: ([0-9]+).*/\\1/p"; }

# run RESULT [OPTION...]: starts what is not running and waits until all agencies have ended. Writes
# a line for each into RESULT: agency, exit code, container, bets, documents of the winners.
run() {
    local result=$1 clients=() codes=() at log
    shift
    began=$(date --utc +%FT%T.%NZ)
    quietly compose up --detach "$@" || {
        compose --ansi never logs volume server | tail -n 20
        fail "the lottery did not start"
    }
    mapfile -t clients < <(containers client)
    mapfile -t codes < <(timeout "$timeout" docker wait "${clients[@]}" || true)
    ((${#codes[@]} == ${#clients[@]})) || problem "agencies still run after $timeout s"
    for at in "${!clients[@]}"; do
        log=$(log_of "${clients[at]}" 2>&1 >"$work/documents")
        printf '%s %s %s %s %s\n' \
            "$(numbers claim agency <<<"$log" | grep . || echo 0)" \
            "${codes[at]:--}" "$(name_of "${clients[at]}")" \
            "$(numbers bets_read cantidad <<<"$log" | grep . || echo 0)" \
            "$(paste -sd ' ' "$work/documents")"
        [[ ${codes[at]:--} == 0 ]] || tail -n 5 <<<"$log" >>"$work/failed"
    done | sort -n >"$result"
    if [[ -s $work/failed ]]; then
        problem "agencies failed; their last lines:"
        cat "$work/failed"
        compose --ansi never logs --no-log-prefix server |
            grep -E ' (WARNING|ERROR|CRITICAL) ' | tail -n 20 || true
        rm "$work/failed"
    fi
}

# --- Counting -----------------------------------------------------------------------------------

# Rows and winners' documents in a file of bets, an agency's own or bets.csv: "rows document …".
# The fields that count are found from the end, where names with commas in quotes do not disturb.
count() {
    awk -F, -v number="$number" '
        { gsub(/[\r"]/, "") }
        $0 != "" { rows++; if ($NF + 0 == number + 0) winners = winners " " $(NF - 2) }
        END { print rows + 0 winners }' "$1"
}

# What the draw's record says of an agency, in the same form.
drawn() {
    tr -d ' \n' <"$SHARED_VOLUME_DIR/draw.json" |
        grep -oE "\"agency\":$1,\"rows\":[0-9]+,\"digest\":\"[0-9a-f]+\",\"winners\":\[[^]]*\]" |
        sed -E 's/.*"rows":([0-9]+),.*\[(.*)\]/\1 \2/; s/"//g; s/,/ /g; s/ $//'
}

# same AGENCY WHERE FOUND STORED
same() {
    [[ $3 == "$4" ]] || problem "agency $1: $2 '$3', bets.csv '$4' (rows and winners)"
}

# The counts of winners as the reference's own end-to-end test reads them: one digit each, in the
# order of the containers' names. Compose 2.26 writes the sequence that clears a terminal's line
# before each line, and rarely before another line than its own, which would change the order.
logged_winners() {
    compose logs --since "$began" | sed 's/\x1b\[2K//g' | grep consulta | LC_ALL=C sort |
        grep -oE "cant_ganadores.{0,3}"
}

# counted_winners RESULT: the same in the order of the agencies, from the winners' documents.
counted_winners() {
    LC_ALL=C sort -k 1,1 "$1" | awk '{ printf "cant_ganadores: %.1s\n", NF - 4 }'
}

# check RESULT: compares what each agency told with its file, with bets.csv and with draw.json, and
# its number with that of its replica.
check() {
    local agency code container bets documents source stored expected=1 total=0
    while read -r agency code container bets documents; do
        [[ $code == 0 ]] || problem "$container (agency $agency) ended with exit code $code"
        ((agency == expected++)) || problem "agency $agency was replayed, not $((expected - 1))"
        [[ $container == "client-$agency" ]] || problem "$container replayed agency $agency"
        awk -F, -v agency="$agency" '$1 == agency' "$SHARED_VOLUME_DIR/bets.csv" >"$work/stored"
        stored=$(count "$work/stored")
        source=$bets_dir/agency-$agency.csv
        total=$((total + ${stored%% *}))
        [[ $code == 0 ]] || continue
        # Bets that were made up stand in no file.
        [[ ! -f $source ]] || same "$agency" "its file has" "$(count "$source")" "$stored"
        same "$agency" "its client told" "$bets${documents:+ $documents}" "$stored"
        same "$agency" "draw.json says" "$(drawn "$agency")" "$stored"
    done <"$1"
    stored=$(wc -l <"$SHARED_VOLUME_DIR/bets.csv")
    ((total == stored)) || problem "$stored rows are in bets.csv, $total of them of these agencies"
    diff <(logged_winners) <(counted_winners "$1") ||
        problem "the winners in the logs, in the order of the replicas, are not those counted"
}

print_agencies() {
    local agency code container bets documents line='%7s  %-12s %9s %8s  %4s  %s\n'
    # shellcheck disable=SC2059 # one format for the whole table
    {
        printf "\n$line" agency container bets winners exit documents
        while read -r agency code container bets documents; do
            printf "$line" "$agency" "$container" "$bets" "$(wc -w <<<"$documents")" "$code" \
                "$(cut -c 1-60 <<<"$documents")"
        done <"$1"
    }
}

print_servers() {
    local server log
    printf '\n%-12s %8s %9s\n' server batches bets
    for server in $(containers server); do
        log=$(log_of "$server" 2>&1 | numbers apuestas_almacenadas cantidad)
        printf '%-12s ' "$(name_of "$server")"
        awk 'NF { batches++; bets += $1 } END { printf "%8d %9d\n", batches, bets }' <<<"$log"
    done | sort
}

# --- The whole ----------------------------------------------------------------------------------

if [[ -n $prebuilt ]]; then
    [[ -e prebuilt ]] || is_ours=yes
    quietly scripts/prebuild.sh
fi
quietly compose build
built=$SECONDS
run "$work/first"
took=$((SECONDS - built))

# Not head: it ends before all is written, and then so does Compose, with an error.
some_client=$(containers client | sed -n 1p)
some_server=$(containers server | sed -n 1p)
mounted='{{range .Mounts}}{{if eq .Destination "/bets"}}{{.Source}}{{end}}{{end}}'
bets_dir=$(docker inspect --format "$mounted" "$some_client")
number=$(docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$some_server" |
    sed -n 's/^LOTTERY_WINNER_NUMBER=//p')

check "$work/first"
print_agencies "$work/first"
print_servers
printf '\n%s bets of %s in bets.csv · winners: %s · built in %s s, ran for %s s\n' \
    "$(wc -l <"$SHARED_VOLUME_DIR/bets.csv")" "$bets_dir" \
    "$(awk '{ printf "%s%d", (NR > 1 ? " " : ""), NF - 4 }' "$work/first")" "$built" "$took"

# again WHAT [OPTION...]
again() {
    local what=$1 before after
    shift
    before=$(sha256sum <"$SHARED_VOLUME_DIR/bets.csv")
    run "$work/next" "$@"
    after=$(sha256sum <"$SHARED_VOLUME_DIR/bets.csv")
    [[ $before == "$after" ]] || problem "$what: bets.csv has changed"
    diff "$work/first" "$work/next" ||
        problem "$what: other results than the first time"
    echo "$what: done"
}
if [[ -n $again ]]; then
    again "a second time, in the same containers"
    again "a third time, in new containers" --force-recreate
fi

if [[ -z $keep ]]; then
    stopping=$EPOCHREALTIME
    quietly compose stop || problem "containers did not stop"
    printf 'stopped in %s s\n' \
        "$(awk -v from="$stopping" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }')"
    while read -r container code; do
        [[ $code == 0 ]] || problem "${container#"/$project-"} ended with exit code $code"
    done < <(containers volume server |
        xargs docker inspect --format '{{.Name}} {{.State.ExitCode}}')
fi

if ((problems)); then
    fail "$problems problems"
fi
echo "every agency succeeded"
