# The images of the server and of the client: one static program each, and nothing else.
#
# BINARIES says where the programs come from: "build" compiles them here, "prebuilt" takes them
# from ./prebuilt, where scripts/prebuild.sh puts them. Only the stage that is asked for is looked
# at, so that "prebuilt" needs neither the Rust image nor a network.
ARG BINARIES=build

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY server server
COPY client client
# Not built, but members of the workspace: without them cargo would not read the manifest.
COPY cluster cluster
COPY testing testing
# The target is the builder's own machine (x86-64 and ARM alike), yet it has to be named: flags
# would hit procedural macros too otherwise, and those cannot be linked statically.
# Sources are touched because the cache of build results outlives this build, and cargo compares
# times only: those of another checkout may be older than results of different sources.
RUN --mount=type=cache,id=loteria-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=loteria-target,target=/source/target,sharing=locked \
    set -eu; \
    target=$(rustc -vV | sed -n 's/^host: //p'); \
    find crates server client -name '*.rs' -exec touch {} +; \
    RUSTFLAGS='-C target-feature=+crt-static' \
        cargo build --locked --release --target "$target" -p server -p client; \
    mkdir -p /programs/claims; \
    cp "target/$target/release/server" "target/$target/release/client" /programs/

FROM scratch AS prebuilt
COPY prebuilt /programs

FROM ${BINARIES} AS binaries

FROM scratch AS server
COPY --from=binaries --chmod=755 /programs/server /server
ENV SHARED_VOLUME=/shared-volume
USER 10001:10001
EXPOSE 12345/tcp 5000/udp
STOPSIGNAL SIGTERM
# The check may wait 6 s for each of its steps, as a batch may wait 5 s for a lock.
HEALTHCHECK --interval=3s --timeout=10s --retries=3 CMD ["/server", "health"]
ENTRYPOINT ["/server"]

FROM scratch AS client
COPY --from=binaries --chmod=755 /programs/client /client
# A named volume takes its owner from here.
COPY --from=binaries --chown=10001:10001 /programs/claims /claims
ENV CLI_BETS_DIR=/bets CLI_CLAIMS_DIR=/claims
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["/client"]
