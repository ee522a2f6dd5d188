//! Hints that there are new messages, as broadcast datagrams, so that other instances look at once and
//! not within half a second.
//!
//! On a port of their own: a server of the reference system takes what comes on the port of the draw
//! for the draw.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::announce;
use crate::limits::{DATAGRAM_BYTES_MAX, DATAGRAMS_AT_ONCE, MESSAGE_LOOK_PAUSE};
use crate::store::messages::MessageStore;

/// The datagram.
const MESSAGES: &[u8] = b"messages";

/// Sends and receives hints.
#[derive(Debug)]
pub struct MessageHints {
    socket: UdpSocket,
    to: SocketAddrV4,
}

impl MessageHints {
    /// Beside announcements of the draw that go to `announce_to`: one port higher, or lower if that is
    /// the highest one. Must be called within a runtime.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn beside(announce_to: SocketAddrV4) -> io::Result<Self> {
        let port = announce_to.port().checked_add(1).unwrap_or(announce_to.port() - 1);
        Ok(Self { socket: announce::bind(port)?, to: SocketAddrV4::new(*announce_to.ip(), port) })
    }

    /// Tells the other instances whenever `said` says so, and has `store` look whenever they do, until
    /// `shutdown`.
    pub async fn exchange<M: MessageStore>(
        self,
        store: M,
        said: Arc<Notify>,
        shutdown: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = said.notified() => {
                    // One that is lost, or cannot be sent, delays the others: they look by themselves.
                    let _ = self.socket.send_to(MESSAGES, self.to).await;
                }
                heard = self.hear() => if heard { store.look() },
            }
            // A flood of datagrams must not take more time than messages do.
            sleep(MESSAGE_LOOK_PAUSE).await;
        }
    }

    /// Waits for datagrams; says whether one of them is a hint.
    async fn hear(&self) -> bool {
        let (mut datagram, mut heard) = ([0; DATAGRAM_BYTES_MAX], false);
        if self.socket.readable().await.is_err() {
            return false;
        }
        for _ in 0..DATAGRAMS_AT_ONCE {
            match self.socket.try_recv_from(&mut datagram) {
                Ok((bytes, _)) => heard |= datagram.get(..bytes) == Some(MESSAGES),
                Err(_) => break,
            }
        }
        heard
    }
}
