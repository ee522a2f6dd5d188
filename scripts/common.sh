# shellcheck shell=bash
# What the scripts here share; sourced by them, with their arguments. Goes to the project's
# directory, and answers --help with the comment that the script opens with.
set -euo pipefail

help() { sed -n '2,/^$/{s/^# \{0,1\}//p}' "$0"; }

# Ends the script for a wrong command line.
usage() {
    printf '%s: %s; see --help\n' "${0##*/}" "$*" >&2
    exit 2
}

# Ends the script for anything else.
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# options NAME…: ends the script for an option of its own command line (ARGUMENTS) that is none of
# these, before minutes of building. Values are judged by the program that gets them.
options() {
    local argument
    for argument in "${arguments[@]}"; do
        [[ $argument != -* || " $* " == *" ${argument%%=*} "* ]] ||
            usage "there is no option $argument"
    done
}
# shellcheck disable=SC2034 # used by options
arguments=("$@")

for argument in "$@"; do
    case $argument in
        -h | --help)
            help
            exit 0
            ;;
    esac
done
# Where relative paths of the command line start.
# shellcheck disable=SC2034 # used by some of the scripts
started_in=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
