//! A TCP server for tests, on port 0: reads packets, follows a script of failures, sends answers.
//!
//! Knows no packet: an [`Answerer`] executes them.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Answers packets.
pub trait Answerer: Send + Sync + 'static {
    /// Notes a packet, before it is executed.
    fn received(&self, packet: &str);

    /// Executes a packet. Returns its answer with the `\n`, an empty one if the packet has no
    /// answer, or `None` to close the connection.
    fn answer(&self, packet: &str) -> impl Future<Output = Option<String>> + Send;
}

/// What a server does wrong with one packet.
#[derive(Debug, Clone)]
pub enum Failure {
    /// It does nothing, and nothing more on this connection.
    Hang,
    /// It closes the connection and does nothing.
    Close,
    /// It resets the connection and does nothing.
    Reset,
    /// It executes the packet and closes the connection before its answer.
    CloseAfter,
    /// It executes the packet, answers, and closes the connection.
    CloseBehind,
    /// It does nothing and answers this.
    Say(&'static str),
}

/// Failures, each for the first packet with this start.
pub type Script = Vec<(&'static str, Failure)>;

struct Server<A> {
    answerer: A,
    takes_one_packet: bool,
    /// The rest of the script.
    script: Mutex<Script>,
}

/// Serves on a free port of `ip` until the runtime ends. If it `takes_one_packet`, it reads one
/// packet of each connection and closes it after the answer.
pub async fn serve(
    ip: IpAddr,
    answerer: impl Answerer,
    script: Script,
    takes_one_packet: bool,
) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server { answerer, takes_one_packet, script: Mutex::new(script) });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.connection(stream).await });
        }
    });
    address
}

impl<A: Answerer> Server<A> {
    async fn connection(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while let Ok(1..) = stream.read_line(&mut line).await {
            let Some(packet) = line.strip_suffix('\n') else { return };
            self.answerer.received(packet);
            let fault = self.fault(packet);
            let is_last = self.takes_one_packet || matches!(fault, Some(Failure::CloseBehind));
            let answer = match fault {
                None | Some(Failure::CloseBehind) => self.answerer.answer(packet).await,
                Some(Failure::Hang) => std::future::pending().await,
                Some(Failure::Close) => None,
                Some(Failure::Reset) => {
                    SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
                    None
                }
                Some(Failure::CloseAfter) => {
                    self.answerer.answer(packet).await;
                    None
                }
                Some(Failure::Say(text)) => Some(format!("{text}\n")),
            };
            let Some(answer) = answer else { return };
            if stream.write_all(answer.as_bytes()).await.is_err() || is_last {
                return;
            }
            line.clear();
        }
    }

    fn fault(&self, packet: &str) -> Option<Failure> {
        let mut script = self.script.lock().unwrap();
        let place = script.iter().position(|(start, _)| packet.starts_with(start))?;
        Some(script.remove(place).1)
    }
}
