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

/// How a server handles its connections.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// The failures.
    pub script: Script,
    /// It reads one packet of each connection and closes it after the answer.
    pub takes_one_packet: bool,
    /// It sends answers byte by byte.
    pub in_pieces: bool,
}

struct Server<A> {
    answerer: A,
    behaviour: Behaviour,
    /// The rest of the script.
    script: Mutex<Script>,
}

/// Serves on a free port of `ip` until the runtime ends.
pub async fn serve(ip: IpAddr, answerer: impl Answerer, behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = Mutex::new(behaviour.script.clone());
    let server = Arc::new(Server { answerer, behaviour, script });
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
            let is_last =
                self.behaviour.takes_one_packet || matches!(fault, Some(Failure::CloseBehind));
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
            if self.send(&mut stream, answer.as_bytes()).await.is_err() || is_last {
                return;
            }
            line.clear();
        }
    }

    async fn send(&self, stream: &mut BufReader<TcpStream>, answer: &[u8]) -> std::io::Result<()> {
        let piece = if self.behaviour.in_pieces { 1 } else { answer.len().max(1) };
        for piece in answer.chunks(piece) {
            stream.write_all(piece).await?;
            stream.flush().await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn fault(&self, packet: &str) -> Option<Failure> {
        let mut script = self.script.lock().unwrap();
        let place = script.iter().position(|(start, _)| packet.starts_with(start))?;
        Some(script.remove(place).1)
    }
}
