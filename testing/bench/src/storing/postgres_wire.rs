//! As much of PostgreSQL's protocol (version 3) as a trusted user with plain queries needs.
//!
//! A message is its type, its length without the type in four bytes, and its body.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, bail};

/// Connects as `postgres`, and waits until the server is ready.
///
/// # Errors
/// It does not let us in.
pub fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).context("connect to PostgreSQL")?;
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let mut packet = length_of(body);
    packet.extend(body);
    stream.write_all(&packet).context("introduce ourselves to PostgreSQL")?;
    tag(&answer(&mut stream)?)?;
    Ok(stream)
}

/// Runs `sql`, and gives its tag: `INSERT 0 100`.
///
/// # Errors
/// The server says what is wrong with it.
pub fn ask(stream: &mut TcpStream, sql: &str) -> anyhow::Result<String> {
    stream.write_all(&query(sql)).context("send a query")?;
    tag(&answer(stream)?)
}

/// The packet of one query.
#[must_use]
pub fn query(sql: &str) -> Vec<u8> {
    let body = [sql.as_bytes(), b"\0"].concat();
    [vec![b'Q'], length_of(&body), body].concat()
}

/// How many bytes the first whole answer has: up to the message that says "ready".
#[must_use]
pub fn answer_bytes(unread: &[u8]) -> Option<usize> {
    let mut end = 0;
    for (kind, body) in messages(unread) {
        end += 5 + body.len();
        if kind == b'Z' {
            return Some(end);
        }
    }
    None
}

/// The tag of an answer; empty if it has none.
///
/// # Errors
/// The answer is an error.
pub fn tag(answer: &[u8]) -> anyhow::Result<String> {
    let mut tag = String::new();
    for (kind, body) in messages(answer) {
        let text = String::from_utf8_lossy(body).replace('\0', " ");
        match kind {
            b'E' => bail!("PostgreSQL: {text}"),
            b'C' => text.trim_end().clone_into(&mut tag),
            _ => {}
        }
    }
    Ok(tag)
}

fn answer(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let (mut unread, mut block) = (Vec::new(), [0; 16 * 1024]);
    while answer_bytes(&unread).is_none() {
        let count = stream.read(&mut block).context("read an answer")?;
        unread.extend(block.iter().take(count));
        if count == 0 {
            tag(&unread)?;
            bail!("PostgreSQL ended the connection");
        }
    }
    Ok(unread)
}

fn length_of(body: &[u8]) -> Vec<u8> {
    (body.len() as u32 + 4).to_be_bytes().to_vec()
}

/// The whole messages at the beginning of `bytes`.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&kind, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk()?;
        let body = rest.get(..u32::from_be_bytes(*length).checked_sub(4)? as usize)?;
        bytes = rest.get(body.len()..)?;
        Some((kind, body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_when_the_server_is_ready() {
        assert_eq!(query("x"), b"Q\0\0\0\x06x\0");
        let answer = b"C\0\0\0\x0fINSERT 0 2\0Z\0\0\0\x05I";
        assert_eq!(answer_bytes(answer), Some(answer.len()));
        assert_eq!(answer_bytes(&answer[..answer.len() - 1]), None);
        assert_eq!(tag(answer).unwrap(), "INSERT 0 2");
        assert!(tag(b"E\0\0\0\x08SBAD").unwrap_err().to_string().contains("BAD"));
    }
}
