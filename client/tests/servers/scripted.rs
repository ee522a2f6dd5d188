//! A TCP server for tests, on port 0: reads packets, follows a script of failures, sends answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::reference;
use crate::support::Lottery;

/// What a server does wrong with one packet.
#[derive(Debug, Clone, Copy)]
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

struct Server {
    lottery: Lottery,
    /// It is a server of the reference system, which reads one packet of each connection and closes
    /// it after the answer.
    is_legacy: bool,
    /// The rest of the script.
    script: Mutex<Script>,
}

/// Serves on a free port until the runtime ends.
pub async fn serve(lottery: Lottery, is_legacy: bool, script: Script) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server { lottery, is_legacy, script: Mutex::new(script) });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.connection(stream).await });
        }
    });
    address
}

impl Server {
    async fn connection(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while let Ok(1..) = stream.read_line(&mut line).await {
            let Some(packet) = line.strip_suffix('\n') else { return };
            self.lottery.set(|volume| volume.packets.push(packet.to_owned()));
            let failure = self.failure(packet);
            let answer = match failure {
                Some(Failure::Hang) => std::future::pending().await,
                Some(Failure::Close) => None,
                Some(Failure::Reset) => {
                    SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
                    None
                }
                Some(Failure::Say(text)) => Some(format!("{text}\n")),
                None | Some(Failure::CloseAfter | Failure::CloseBehind) => match self.is_legacy {
                    true => reference::answer(&self.lottery, packet).await,
                    false => Some(self.lottery.answer(packet).await),
                },
            };
            let is_sent = !matches!(failure, Some(Failure::CloseAfter));
            let Some(answer) = answer.filter(|_| is_sent) else { return };
            let is_last = self.is_legacy || matches!(failure, Some(Failure::CloseBehind));
            if stream.write_all(answer.as_bytes()).await.is_err() || is_last {
                return;
            }
            line.clear();
        }
    }

    fn failure(&self, packet: &str) -> Option<Failure> {
        let mut script = self.script.lock().unwrap();
        let place = script.iter().position(|(start, _)| packet.starts_with(start))?;
        Some(script.remove(place).1)
    }
}
