//! Properties of framing: the same bytes, in any parts, give the same lines, and few bytes are
//! kept.

use protocol::limits::HEAD_BYTES;
use protocol::{Frame, Framed, Framer};

/// A line, or the start of one that is too long.
type Line = Result<Vec<u8>, [u8; HEAD_BYTES]>;

/// Bytes in parts of these lengths, in turn, give the same lines as all bytes at once, and the
/// framer never keeps more than `bytes_max` bytes.
pub fn any_cutting_gives_the_same_lines(bytes: &[u8], bytes_max: usize, pieces: &[u8]) {
    assert_eq!(framed(bytes, bytes_max, pieces), split(bytes, bytes_max));
}

fn framed(bytes: &[u8], bytes_max: usize, pieces: &[u8]) -> Vec<Line> {
    let mut framer = Framer::new(bytes_max);
    let (mut unread, mut rest, mut lines) = (Vec::new(), bytes, Vec::new());
    let mut lengths = pieces.iter().map(|length| usize::from(*length).max(1)).cycle();
    while !rest.is_empty() {
        let length = lengths.next().unwrap_or(rest.len()).min(rest.len());
        let (piece, behind) = rest.split_at(length);
        unread.extend_from_slice(piece);
        rest = behind;
        let mut is_incomplete = false;
        while !is_incomplete {
            let Framed { consumed, frame } = framer.next(&unread);
            match frame {
                Frame::Line(line) => lines.push(Ok(line.to_vec())),
                Frame::TooLong(head) => lines.push(Err(head)),
                Frame::Incomplete => is_incomplete = true,
            }
            unread.drain(..consumed);
        }
        assert!(unread.len() < bytes_max.max(HEAD_BYTES), "{} bytes are kept", unread.len());
        let whole = bytes.len() - rest.len();
        let is_mid_line = whole > 0 && !bytes[..whole].ends_with(b"\n");
        assert_eq!(framer.is_mid_line(&unread), is_mid_line);
    }
    lines
}

/// The lines of all bytes at once. Bytes without a `\n` after them are not a line.
fn split(bytes: &[u8], bytes_max: usize) -> Vec<Line> {
    let line = |line: &[u8]| match line.strip_suffix(b"\n")? {
        content if line.len() <= bytes_max.max(HEAD_BYTES) => Some(Ok(content.to_vec())),
        _ => line.first_chunk().map(|head| Err(*head)),
    };
    bytes.split_inclusive(|byte| *byte == b'\n').filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_for_any_bytes(
            // Some lines are about as long as a head.
            bytes in prop_oneof![1..3_u32, 20..40_u32].prop_flat_map(|others| {
                let byte = prop_oneof![1 => Just(b'\n'), others => any::<u8>()];
                prop::collection::vec(byte, 0..400)
            }),
            bytes_max in 0..3 * HEAD_BYTES,
            pieces in proptest::collection::vec(0..60_u8, 0..6),
        ) {
            any_cutting_gives_the_same_lines(&bytes, bytes_max, &pieces);
        }
    }
}
