//! Private messages straight from client to client: `DirectMessage:from;to;ticket;text`, answered by
//! `DirectResponse:0` or `DirectResponse:2;reason`.
//!
//! **Invariant**: a message is shown only if its ticket proves that a server told its sender, by this
//! name, where this participant is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use protocol::chat::{MessageText, Name, ticket};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::Event;
use super::connection::Connection;

/// How long a message may take straight, before it goes through the log.
const DIRECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection may take to say who it is and what it wants.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many connections are served at once.
const CONNECTIONS_MAX: usize = 16;

/// The longest line that is read: a message with its names and its ticket.
const LINE_BYTES_MAX: u64 = 2 * 1024;

/// Takes private messages until it is dropped.
#[derive(Debug)]
pub(super) struct DirectListener {
    pub(super) address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl DirectListener {
    /// Listens at `ip` for messages to `name`, whose key has this hash.
    pub(super) async fn start(
        ip: IpAddr,
        name: Name,
        key_hash: [u8; 32],
        events: Sender<Event>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((ip, 0)).await.context("listen for private messages")?;
        let address = listener.local_addr()?;
        let receiver = Arc::new(Receiver { name, key_hash, events });
        let accepting = tokio::spawn(async move {
            let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                };
                let receiver = Arc::clone(&receiver);
                tokio::spawn(async move {
                    let _permit = permit;
                    let _ = timeout(ACCEPT_TIMEOUT, receiver.serve(stream)).await;
                });
            }
        });
        Ok(Self { address, _accepting: AbortOnDropHandle::new(accepting) })
    }
}

/// Who takes messages.
struct Receiver {
    name: Name,
    key_hash: [u8; 32],
    events: Sender<Event>,
}

impl Receiver {
    async fn serve(&self, stream: TcpStream) -> anyhow::Result<()> {
        let (mut stream, mut line) = (BufReader::new(stream), String::new());
        (&mut stream).take(LINE_BYTES_MAX).read_line(&mut line).await?;
        let answer = match self.accept(line.trim_end_matches('\n'), now()) {
            Ok(event) => {
                self.events.send(event).await?;
                "DirectResponse:0\n".to_owned()
            }
            Err(error) => format!("DirectResponse:2;{error}\n"),
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
        Ok(())
    }

    fn accept(&self, line: &str, now: u64) -> anyhow::Result<Event> {
        let body = line.strip_prefix("DirectMessage:").context("no private message")?;
        let mut fields = body.splitn(4, ';');
        let mut next = || fields.next().context("too few fields");
        let (from, to, proof, text): (Name, Name, _, _) =
            (next()?.parse()?, next()?.parse()?, next()?, next()?);
        ensure!(to == self.name, "this is not {to}");
        let is_right = ticket::is_right(proof, &self.key_hash, &from, &to, now);
        ensure!(is_right, "the ticket does not prove that {from} sends this");
        let text = MessageText::new(text)?.as_str().to_owned();
        Ok(Event::Direct { from, to, text })
    }
}

/// Sends a private message straight.
///
/// # Errors
/// It is not known that it was taken.
pub(super) async fn send(
    address: SocketAddr,
    ticket: &str,
    (from, to): (&Name, &Name),
    text: &MessageText<'_>,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(address, DIRECT_TIMEOUT, DIRECT_TIMEOUT).await?;
    let line = format!("DirectMessage:{from};{to};{ticket};{}\n", text.as_str());
    connection.send_line(line.as_bytes()).await?;
    match connection.line(DIRECT_TIMEOUT).await? {
        Some(answer) if answer == b"DirectResponse:0" => Ok(()),
        Some(answer) => bail!("{}", String::from_utf8_lossy(&answer)),
        None => bail!("closed without an answer"),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn only_a_message_with_a_right_ticket_is_taken() {
        let [ana, leo, eva] = ["ana", "leo", "eva"].map(|name| name.parse::<Name>().unwrap());
        let (events, mut shown) = mpsc::channel(9);
        let key = [7; 32];
        let ip = [127, 0, 0, 1].into();
        let listener = DirectListener::start(ip, leo.clone(), key, events).await.unwrap();
        let text = MessageText::new("psst; a:b").unwrap();
        let right = ticket::make(&key, &ana, &leo, now() + 60);
        let late = ticket::make(&key, &ana, &leo, now() - 60);
        for (ticket, from, to, wrong) in [
            (right.as_str(), &eva, &leo, "does not prove that eva"),
            (right.as_str(), &ana, &eva, "this is not eva"),
            (late.as_str(), &ana, &leo, "does not prove that ana"),
        ] {
            let sent = send(listener.address, ticket, (from, to), &text).await;
            let error = sent.unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        send(listener.address, &right, (&ana, &leo), &text).await.unwrap();
        let event = Event::Direct { from: ana, to: leo, text: "psst; a:b".to_owned() };
        assert_eq!(shown.try_recv(), Ok(event));
        assert!(shown.try_recv().is_err());
    }
}
