//! What a connection has to say: answers that are not sent yet, and sending them.
//!
//! **Invariant**: nothing else is ever said in the middle of an answer. Without a slot no more than
//! [`REST_ANSWERS_BYTES`] wait to be sent, and only answers to refused lines wait for other lines.

use std::io::{self, IoSlice};

use protocol::{Response, WINNERS_HEAD};
use rustix::net::{SendFlags, Shutdown};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::input::{Fault, Held};
use crate::limits::{ANSWER_BYTES_MAX, REFUSAL_BYTES_MAX, REST_ANSWERS_BYTES, WRITE_TIMEOUT};

/// Answers that are not sent yet.
#[derive(Debug, Default)]
pub struct Output {
    answers: Vec<u8>,
    /// Whether one of them says what was executed.
    has_result: bool,
    /// Whether what was begun to be sent is not sent whole.
    is_cut: bool,
}

impl Output {
    /// Adds an answer, to be sent behind those before.
    pub fn push(&mut self, response: &Response) {
        self.answers.reserve_exact(REST_ANSWERS_BYTES.saturating_sub(self.answers.len()));
        response.write(&mut self.answers);
    }

    /// How many bytes it has taken for answers.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.answers.capacity()
    }

    /// Adds the answer to what was executed, if it has one, which must not wait for other lines.
    pub fn push_result(&mut self, response: Option<&Response>) {
        if let Some(response) = response {
            self.push(response);
            self.has_result = true;
        }
    }

    /// Whether more answers may be added before these are sent, in a slot or without one.
    pub fn may_gather(&self, in_slot: bool) -> bool {
        let most = if in_slot { ANSWER_BYTES_MAX } else { REST_ANSWERS_BYTES - REFUSAL_BYTES_MAX };
        self.answers.len() <= most
    }

    /// Whether these answers may wait until another line may be refused, in a slot or without one.
    pub fn may_wait(&self, in_slot: bool) -> bool {
        !self.has_result && self.may_gather(in_slot)
    }

    /// Sends the answers that wait, and gives their buffer back.
    ///
    /// # Errors
    /// The client has gone, does not read, or others need the slot that is held meanwhile.
    pub async fn send(&mut self, stream: &TcpStream, held: &Held) -> Result<(), Fault> {
        if !self.answers.is_empty() {
            let Self { answers, is_cut, .. } = self;
            write_all(stream, &mut [IoSlice::new(answers)], held, is_cut).await?;
            (self.answers, self.has_result) = (Vec::new(), false);
        }
        Ok(())
    }

    /// Sends the answers that wait and the end of the stream behind them. Both leave in one segment:
    /// `MSG_MORE` keeps the bytes until the end is sent.
    ///
    /// # Errors
    /// As [`Output::send`].
    pub async fn send_last(&mut self, stream: &TcpStream, held: &Held) -> Result<(), Fault> {
        // If this fails, `send` reports the error.
        let sent = rustix::net::send(stream, &self.answers, SendFlags::MORE).unwrap_or(0);
        self.answers.drain(..sent);
        self.send(stream, held).await?;
        rustix::net::shutdown(stream, Shutdown::Write).map_err(io::Error::from)?;
        Ok(())
    }

    /// Sends winners from where they are: many may wait for one agency's, which may be many, and
    /// no connection holds them but the record. No other answers wait then.
    ///
    /// # Errors
    /// As [`Output::send`].
    pub async fn send_winners(
        &mut self,
        stream: &TcpStream,
        documents: &str,
        held: &Held,
    ) -> Result<(), Fault> {
        let answer = [WINNERS_HEAD, documents, "\n"];
        let mut pieces = answer.map(|piece| IoSlice::new(piece.as_bytes()));
        write_all(stream, &mut pieces, held, &mut self.is_cut).await
    }

    /// Says why the connection is closed for others, behind the answers that wait, if that fits the
    /// socket and no answer is cut by it.
    pub fn tell_busy(&mut self, stream: &TcpStream) {
        if !self.is_cut {
            let reason = "busy too many packets are unfinished, connect again";
            self.push(&Response::Error(reason.to_owned()));
            let _ = stream.try_write(&self.answers);
        }
    }
}

/// Writes all of `pieces`; the client has to take some of them within [`WRITE_TIMEOUT`], again
/// and again. Answers to packets fit the socket at once but for clients that do not read.
async fn write_all(
    stream: &TcpStream,
    mut pieces: &mut [IoSlice<'_>],
    held: &Held,
    is_cut: &mut bool,
) -> Result<(), Fault> {
    *is_cut = true;
    while !pieces.is_empty() {
        match stream.try_write_vectored(pieces) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(bytes) => IoSlice::advance_slices(&mut pieces, bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Boxed: few of the many connections wait for this.
                let mut waiting = Box::pin(writable(stream));
                held.stall(waiting.as_mut()).await??;
            }
            Err(error) => return Err(error.into()),
        }
    }
    *is_cut = false;
    Ok(())
}

async fn writable(stream: &TcpStream) -> io::Result<()> {
    timeout(WRITE_TIMEOUT, stream.writable()).await?
}

/// What waiting until a client reads takes, in bytes.
#[cfg(test)]
pub fn waiting_bytes(stream: &TcpStream) -> usize {
    size_of_val(&writable(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Input;
    use crate::slots::{Pool, Slots};
    use std::net::Ipv4Addr;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    /// What a client reads when `documents` are sent to it, which it does not read until others
    /// have needed the slot, and what came of the sending.
    async fn read_by_a_slow_client(documents: &str) -> (String, Result<(), Fault>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let [ordinary, large, whole] = [7, 70, 7].map(|bytes| Pool::new(1, bytes, true));
        let slots = Slots { ordinary, large, whole };
        let (mut output, mut held) = (Output::default(), Held::default());
        Input::default().make_room(&stream, &mut held, &slots).await.unwrap();
        let sending = async {
            let sent = output.send_winners(&stream, documents, &held).await;
            drop(held);
            sent
        };
        let (sent, _) = tokio::join!(sending, slots.ordinary.claim());
        let mut read = Vec::new();
        let telling = async {
            // There is room as soon as the client reads.
            stream.writable().await.unwrap();
            output.tell_busy(&stream);
            drop(stream);
        };
        let ((), bytes) = tokio::join!(telling, client.read_to_end(&mut read));
        bytes.unwrap();
        (String::from_utf8(read).unwrap(), sent)
    }

    #[tokio::test(start_paused = true)]
    async fn why_a_connection_ends_is_told_but_not_in_the_middle_of_an_answer() {
        const BUSY: &str = "Error:busy too many packets are unfinished, connect again\n";
        let (read, sent) = read_by_a_slow_client("12345678").await;
        assert!(sent.is_ok(), "{sent:?}");
        assert_eq!(read, format!("WinnersResponse:12345678\n{BUSY}"));
        let (read, sent) = read_by_a_slow_client(&"12345678;".repeat(2_000_000)).await;
        assert!(matches!(sent, Err(Fault::GaveWay)), "{sent:?}");
        assert!(read.starts_with("WinnersResponse:12345678;") && !read.contains("Error"));
    }
}
