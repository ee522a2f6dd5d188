#!/usr/bin/env bash
# usage: mixed-versions.sh REV [--runs N]
#
# Servers of the git revision REV and of this tree share a volume, and are
# killed in turn while clients of this tree store. An independent count compares
# what they stored and announced with the files that were sent.
#
#   REV       a commit, branch or tag whose server is built, once, in
#             versions/ of cargo's target directory
#   --runs N  how many lotteries to hold [3]
#
# Exit code 0: all of it was right. 101: something was not; it is named, and
# the files of that lottery are kept. 2: the command line is wrong.

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
options --runs
[[ $# == 1 || ($# == 3 && $2 == --runs && $3 =~ ^[1-9][0-9]*$) ]] ||
    usage "takes REV, and perhaps --runs N"
commit=$(git rev-parse --verify --quiet "$1^{commit}") || usage "there is no revision $1"

versions=${CARGO_TARGET_DIR:-$PWD/target}/versions
OTHER_SERVER=$versions/server-$commit
if [[ ! -x $OTHER_SERVER ]]; then
    source=$versions/source
    rm -rf "$source"
    mkdir -p "$source"
    git archive "$commit" | tar --extract --directory "$source"
    cargo build --manifest-path "$source/Cargo.toml" --package server --locked \
        --target-dir "$versions/target"
    cp "$versions/target/debug/server" "$OTHER_SERVER"
fi
export OTHER_SERVER
for ((run = 1; run <= ${3:-3}; run++)); do
    printf '\n== lottery %s\n' "$run"
    cargo test --package system -- --ignored mixed_versions
done
