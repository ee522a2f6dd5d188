//! `client talk`: two people, no server. One listens, the other connects; each first says who it is,
//! then one text a line. What is typed before the other has come is sent then.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use protocol::chat::{Kind, Message, MessageText, Name};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Event, Input};
use crate::cli::{Talk, TalkRole};

/// How long the other may take to say its name.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is tried to reach one who does not listen yet.
const RETRY: Duration = Duration::from_millis(500);

/// The longest line: a text, or a name.
const LINE_BYTES_MAX: u64 = 2 * 1024;

/// Talks until one of the two ends it.
pub(super) async fn run(
    arguments: &Talk,
    events: Sender<Event>,
    mut typed: Receiver<Input>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let talked = async {
        let stream = meet(arguments.role(), &events).await?;
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        write.write_all(format!("TalkHello:{}\n", arguments.name).as_bytes()).await?;
        let hello = timeout(HELLO_TIMEOUT, next(&mut read)).await.context("wait for a name")??;
        let hello = hello.context("the other has gone before a word")?;
        let name = hello.strip_prefix("TalkHello:").context("the other is no `client talk`")?;
        let other: Name = name.parse().context("the other's name")?;
        let _ = events.send(Event::Note(format!("{other} is here"))).await;
        let listening = async {
            while let Some(line) = next(&mut read).await? {
                let text = line.strip_prefix("TalkMessage:").context("no message")?;
                let text = MessageText::new(text)?;
                let _ = events.send(said(&other, text.as_str())).await;
            }
            anyhow::Ok(())
        };
        let talking = async {
            while let Some(input) = typed.recv().await {
                match input {
                    Input::Say(text) => {
                        let line = format!("TalkMessage:{}\n", text.as_str());
                        write.write_all(line.as_bytes()).await?;
                        let _ = events.send(said(&arguments.name, text.as_str())).await;
                    }
                    Input::Who => {
                        let both = vec![arguments.name.clone(), other.clone()];
                        let _ = events.send(Event::Who(both)).await;
                    }
                    Input::Help => drop(events.send(Event::Help).await),
                    Input::Private(..) => {
                        let note = "you are two: everything is private".to_owned();
                        let _ = events.send(Event::Note(note)).await;
                    }
                    Input::Wrong(reason) => drop(events.send(Event::Note(reason)).await),
                    Input::Exit => break,
                }
            }
            write.shutdown().await.context("say goodbye")
        };
        tokio::select! {
            heard = listening => heard?,
            sent = talking => return sent,
        }
        let _ = events.send(Event::Note(format!("{other} has left"))).await;
        Ok(())
    };
    tokio::select! {
        talked = talked => talked,
        () = shutdown.cancelled() => Ok(()),
    }
}

fn said(from: &Name, text: &str) -> Event {
    let (from, to, text) = (from.to_string(), String::new(), text.to_owned());
    Event::Line(Message { position: 0, time: 0, kind: Kind::Message, from, to, text })
}

/// The connection to the other one.
async fn meet(role: TalkRole, events: &Sender<Event>) -> anyhow::Result<TcpStream> {
    match role {
        TalkRole::Listen(address) => {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("listen on {address} (--listen)"))?;
            let here: SocketAddr = listener.local_addr()?;
            let note = format!("waiting for the other: client talk --connect {here} --name …");
            let _ = events.send(Event::Note(note)).await;
            Ok(listener.accept().await?.0)
        }
        TalkRole::Connect(address) => {
            let note = format!("looking for the other at {address}");
            let _ = events.send(Event::Note(note)).await;
            loop {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => {
                        let _ = events.send(Event::Debug(format!("{address}: {error}"))).await;
                        sleep(RETRY).await;
                    }
                }
            }
        }
    }
}

/// The next line; `None` if the other has ended the connection.
async fn next(read: &mut BufReader<OwnedReadHalf>) -> anyhow::Result<Option<String>> {
    let mut line = String::new();
    if read.take(LINE_BYTES_MAX).read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    match line.strip_suffix('\n') {
        Some(line) => Ok(Some(line.to_owned())),
        None => bail!("a line that is too long, or without an end"),
    }
}
