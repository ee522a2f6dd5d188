//! Every limit of a connection, and what all connections can claim together.

use std::time::Duration;

use protocol::limits::LINE_BYTES_MAX;

use crate::limits::{MESSAGES_BYTES_MAX, PROGRAM_BYTES, STORE_BYTES_MAX};

/// How many connections are served at once, if the system grants so many descriptors: 10,000 that
/// wait for winners, and some beside them that store.
pub const CONNECTIONS_MAX: usize = 10_240;

/// Descriptors that are kept back from connections: files, sockets, standard streams.
pub const DESCRIPTORS_RESERVED: usize = 64;

/// What a connection has read and not executed yet, in bytes. Clients send packets of this length
/// if nothing else is set.
pub const BUFFER_BYTES: usize = 8 * 1024;

/// How many connections may have a packet that is longer than [`BUFFER_BYTES`] at once: as many as
/// the store's queue has room for.
pub const LONG_PACKETS_MAX: usize = 64;

/// How long a connection waits for the permit of a long packet, and how long the packet may take to
/// arrive once it has the permit.
pub const LONG_PACKET_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a line may take from its first byte to its `\n`.
pub const LINE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection may rest between packets. Waiting for the draw is not resting.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// How long a client may leave the bytes unread that are written to it.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of an answer to a participant is made at once, in bytes, and one line more.
pub const CHAT_PART_BYTES: usize = 1_024;

/// The first delay of a connection that sends what stores nothing, after the first such packet.
/// Each further one doubles it.
pub const DELAY_MIN: Duration = Duration::from_millis(1);

/// The longest delay. With 1,000 connections that flood the server this leaves 1,000 packets a
/// second to execute, which take about a twentieth of a processor.
pub const DELAY_MAX: Duration = Duration::from_secs(1);

/// What the system may keep of a connection in each direction, in bytes, before it has the other
/// side wait: a packet. It takes up to twice as much for its own book-keeping.
pub const SYSTEM_BUFFER_BYTES: usize = LINE_BYTES_MAX;

/// The time after which a quiet peer is probed.
pub const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// The time between probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How many probes may stay unanswered before the connection counts as dead.
pub const KEEPALIVE_PROBES: u32 = 4;

/// How long an instance waits after the system refused a new connection, unless one ends first.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The least time between two warnings that no more connections can be accepted.
pub const ACCEPT_WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What a connection takes without its read buffer, in bytes: its task, the answer being written,
/// what it waits for, and what the allocator loses between those of many. Measured with 10,000 of
/// them, and rounded up.
pub const CONNECTION_BYTES: usize = 4 * 1024;

/// What all connections can claim together, in bytes, whatever their clients do.
pub const CONNECTIONS_BYTES_MAX: usize =
    CONNECTIONS_MAX * (CONNECTION_BYTES + BUFFER_BYTES) + LONG_PACKETS_MAX * LINE_BYTES_MAX;

const MIB: usize = 1024 * 1024;

const _: () = assert!(
    PROGRAM_BYTES + STORE_BYTES_MAX + MESSAGES_BYTES_MAX + CONNECTIONS_BYTES_MAX <= 160 * MIB,
    "what an instance takes, whatever its clients do"
);
const _: () = assert!(
    PROGRAM_BYTES + STORE_BYTES_MAX + CONNECTIONS_MAX * CONNECTION_BYTES <= 64 * MIB,
    "what an instance takes while all connections wait for winners, without a read buffer, \
     before anything is said"
);
const _: () = assert!(BUFFER_BYTES < LINE_BYTES_MAX, "some packets need a permit");
