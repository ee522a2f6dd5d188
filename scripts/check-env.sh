#!/usr/bin/env bash
# usage: check-env.sh
#
# Compares .env.example with docker-compose.yaml: the same variables, and the
# same defaults. Exits 0 if they agree, else 1 with the difference.

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
[[ $# == 0 ]] || usage "takes no arguments"

# A default that is itself a variable counts as empty: that variable has its own line.
used() {
    sed '/^ *#/d' docker-compose.yaml | grep -oE '\$\{[A-Z_]+(:-[^{}$]*)?' |
        sed 's/^..//; s/:-/=/' | sort -u
}
told() { grep -E '^[A-Z_]+=' .env.example | sort; }

diff -u --label docker-compose.yaml --label .env.example <(used) <(told) ||
    fail "NAME=default differs between docker-compose.yaml and .env.example"
