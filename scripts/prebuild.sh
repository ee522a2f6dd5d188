#!/usr/bin/env bash
# usage: prebuild.sh
#
# Compiles the server and the client as static programs with this machine's
# Rust, into ./prebuilt, from where Compose takes them with BINARIES=prebuilt:
# for machines that cannot have the Rust image, and for quicker builds. Needs
# Linux, and glibc's static libraries (Debian: libc6-dev, Fedora: glibc-static).

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
[[ $# == 0 ]] || usage "takes no arguments"

target=$(rustc -vV | sed -n 's/^host: //p')
[[ $target == *-linux-* ]] ||
    fail "images need programs for Linux, and this is $target: use BINARIES=build"
results=$(cargo metadata --no-deps --format-version 1 |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# As in the Dockerfile, where the flags and the explicit target are explained.
RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --locked --release --target "$target" -p server -p client
mkdir -p prebuilt/claims
cp "$results/$target/release/server" "$results/$target/release/client" prebuilt/
echo "prebuilt/server and prebuilt/client are there"
