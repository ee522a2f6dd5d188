//! Reading a file in blocks of whole lines.

use std::io;
use std::ops::Range;

use memchr::memrchr;

use crate::disk::{DiskFile, read_exactly};
use crate::limits::BLOCK_BYTES;

/// Hands `range` of `file` to `visit`, in blocks of whole lines; says where the last whole line
/// ends. What follows it is not handed out. `block` is lent for what is read; it grows to
/// [`BLOCK_BYTES`] at the most.
///
/// # Errors
/// As the system reports them; `UnexpectedEof` if the file is shorter than the range.
pub fn for_each_block(
    file: &impl DiskFile,
    range: Range<u64>,
    block: &mut Vec<u8>,
    mut visit: impl FnMut(&[u8]),
) -> io::Result<u64> {
    let bytes = range.end.saturating_sub(range.start);
    let most = usize::try_from(bytes).unwrap_or(usize::MAX).min(BLOCK_BYTES);
    if block.len() < most {
        block.reserve_exact(most - block.len());
        block.resize(most, 0);
    }
    let (mut start, mut kept) = (range.start, 0_usize);
    while start + (kept as u64) < range.end {
        let from = start + kept as u64;
        let left = usize::try_from(range.end - from).unwrap_or(usize::MAX);
        let filled = block.len().min(kept.saturating_add(left));
        read_exactly(file, block.get_mut(kept..filled).unwrap_or_default(), from)?;
        let read = block.get(..filled).unwrap_or_default();
        let whole = match memrchr(b'\n', read) {
            Some(at) => at + 1,
            None if filled == BLOCK_BYTES => filled,
            None => 0,
        };
        visit(read.get(..whole).unwrap_or_default());
        block.copy_within(whole..filled, 0);
        start += whole as u64;
        kept = filled - whole;
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::write_all;

    fn blocks(content: &[u8], range: Range<u64>) -> (Vec<u8>, u64, usize) {
        let fresh = blocks_in(&mut Vec::new(), content, range.clone());
        let lent = blocks_in(&mut vec![b'\n'; BLOCK_BYTES], content, range);
        assert_eq!(fresh, lent, "whatever stood in the block that was lent");
        fresh
    }

    fn blocks_in(lent: &mut Vec<u8>, content: &[u8], range: Range<u64>) -> (Vec<u8>, u64, usize) {
        let file = tempfile::tempfile().unwrap();
        write_all(&file, content, 0).unwrap();
        let (mut all, mut count) = (Vec::new(), 0);
        let end = for_each_block(&file, range, lent, |block| {
            assert!(block.ends_with(b"\n") || block.is_empty() || block.len() == BLOCK_BYTES);
            all.extend_from_slice(block);
            count += 1;
        });
        (all, end.unwrap(), count)
    }

    #[test]
    fn hands_out_whole_lines_only() {
        assert_eq!(blocks(b"a\nbc\nd", 0..6), (b"a\nbc\n".to_vec(), 5, 1));
        assert_eq!(blocks(b"a\nbc\nd", 2..5), (b"bc\n".to_vec(), 5, 1));
        assert_eq!(blocks(b"", 0..0), (Vec::new(), 0, 0));
    }

    #[test]
    fn lines_that_cross_blocks_stay_whole() {
        let content = b"0123456789\n".repeat(BLOCK_BYTES / 4);
        let (all, end, count) = blocks(&content, 0..content.len() as u64);
        assert!(all == content && end == content.len() as u64 && count > 2);
    }

    #[test]
    fn a_line_longer_than_a_block_comes_in_pieces() {
        let mut content = vec![b'x'; BLOCK_BYTES + 5];
        content.extend_from_slice(b"\nlast\n");
        let (all, end, _) = blocks(&content, 0..content.len() as u64);
        assert!(all == content && end == content.len() as u64);
    }
}
