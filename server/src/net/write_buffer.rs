//! Writing one answer. It is in memory only until the client's side has taken it.

use std::io::{self, IoSlice};

use protocol::{Response, WINNERS_HEAD};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::limits::{CHAT_PART_BYTES, LONG_PACKET_TIMEOUT, WRITE_TIMEOUT};
use crate::chat::ChatAnswer;

/// Writes `response` whole. The winners of an agency may be many, and many connections may wait for
/// them: they are written from where the draw has them, without a copy.
///
/// # Errors
/// The stream's, or the client takes nothing within [`WRITE_TIMEOUT`].
pub async fn write_answer(
    stream: &mut (impl AsyncWrite + Unpin),
    response: &Response,
) -> io::Result<()> {
    if let Response::Winners(documents) = response {
        return write_all(stream, [WINNERS_HEAD, documents, "\n"].map(str::as_bytes)).await;
    }
    let mut answer = Vec::new();
    response.write(&mut answer);
    write_all(stream, [&answer, b"", b""]).await
}

/// Writes an answer to a participant, some packets at a time.
///
/// # Errors
/// As [`write_answer`]; lines that were read for this answer alone have to be taken sooner.
pub async fn write_chat(
    stream: &mut (impl AsyncWrite + Unpin),
    answer: &ChatAnswer,
) -> io::Result<()> {
    let write = async {
        let mut part = Vec::new();
        for packet in answer.packets() {
            packet.write(&mut part);
            if part.len() >= CHAT_PART_BYTES {
                write_all(stream, [&part, b"", b""]).await?;
                part.clear();
            }
        }
        write_all(stream, [&part, b"", b""]).await
    };
    if answer.is_urgent { timeout(LONG_PACKET_TIMEOUT, write).await? } else { write.await }
}

async fn write_all(stream: &mut (impl AsyncWrite + Unpin), pieces: [&[u8]; 3]) -> io::Result<()> {
    let mut pieces = pieces.map(IoSlice::new);
    let mut left = pieces.as_mut_slice();
    // Removes empty pieces: writing none is no progress.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match timeout(WRITE_TIMEOUT, stream.write_vectored(left)).await?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    // Plain TCP keeps nothing back; what encrypts does.
    stream.flush().await
}
