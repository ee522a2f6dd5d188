//! Reading a whole file on several cores at once.
//!
//! **Invariant**: every line is in exactly one part, whole, and the parts come in the order of the
//! file, however many there are.

use std::io;
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread::{Builder, available_parallelism, scope};

use memchr::memchr;

use crate::disk::DiskFile;
use crate::limits::{SCAN_PART_BYTES_MIN, SCAN_SEEK_BYTES, SCAN_STACK_BYTES, SCAN_THREADS_MAX};
use crate::lines::for_each_block;

/// How many threads a scan of so many bytes is worth, on this machine.
pub fn threads_for(bytes: u64) -> u64 {
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
    (bytes / SCAN_PART_BYTES_MIN).clamp(1, cores.min(SCAN_THREADS_MAX))
}

/// Passes over the lines of `file` up to `end`, cut into up to `count` parts, each on a thread of
/// its own: `visit` gets what `start` made for the part, and its next block of whole lines. Gives
/// what came of the parts, in their order.
///
/// # Errors
/// As the system reports them.
pub fn scan<T: Send>(
    file: &impl DiskFile,
    end: u64,
    count: u64,
    start: impl Fn() -> T + Sync,
    visit: impl Fn(&mut T, &[u8]) + Sync,
) -> io::Result<Vec<T>> {
    let parts = parts(file, end, count)?;
    let scan_part = |part: &Range<u64>| -> io::Result<T> {
        let mut result = start();
        for_each_block(file, part.clone(), &mut Vec::new(), |lines| visit(&mut result, lines))?;
        Ok(result)
    };
    let Some((first, others)) = parts.split_first() else { return Ok(Vec::new()) };
    let scan_part = &scan_part;
    scope(|scope| {
        let spawn = |part| {
            let thread = Builder::new().name("scan".to_owned()).stack_size(SCAN_STACK_BYTES);
            (part, thread.spawn_scoped(scope, move || scan_part(part)))
        };
        let others: Vec<_> = others.iter().map(spawn).collect();
        let mut results = vec![scan_part(first)?];
        for (part, thread) in others {
            results.push(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic))?,
                // The system has no more threads; the scan does not wait for one.
                Err(_) => scan_part(part)?,
            });
        }
        Ok(results)
    })
}

/// Cuts `file` up to `end` into up to `count` parts of about the same length, at line ends.
fn parts(file: &impl DiskFile, end: u64, count: u64) -> io::Result<Vec<Range<u64>>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for part in 1..=count {
        let near = end / count * part;
        let cut = if part == count { end } else { line_end(file, near, end)? };
        if cut > start {
            parts.push(start..cut);
            start = cut;
        }
    }
    Ok(parts)
}

/// Where the line ends, its `\n` included, that the byte at `from` is part of; `end` at the most.
fn line_end(file: &impl DiskFile, mut from: u64, end: u64) -> io::Result<u64> {
    let mut bytes = vec![0; SCAN_SEEK_BYTES];
    while from < end {
        let read = file.read_at(&mut bytes, from)?;
        match memchr(b'\n', bytes.get(..read).unwrap_or_default()) {
            Some(at) => return Ok(end.min(from + at as u64 + 1)),
            None if read == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => from += read as u64,
        }
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::write_all;
    use proptest::prelude::*;

    /// What each of up to `count` parts had, as they came.
    fn scanned(content: &[u8], end: u64, count: u64) -> Vec<Vec<u8>> {
        let file = tempfile::tempfile().unwrap();
        write_all(&file, content, 0).unwrap();
        scan(&file, end, count, Vec::new, |part: &mut Vec<u8>, lines| part.extend(lines)).unwrap()
    }

    #[test]
    fn parts_end_with_lines_also_where_those_are_long() {
        let long = [&b"a\n"[..], &[b'x'; 3 * SCAN_SEEK_BYTES], b"\nb\n"].concat();
        let end = long.len() as u64;
        let parts = scanned(&long, end, 3);
        assert_eq!(
            parts,
            [[&b"a\n"[..], &[b'x'; 3 * SCAN_SEEK_BYTES], b"\n"].concat(), b"b\n".to_vec()]
        );
        assert!(scanned(b"", 0, 4).is_empty());
        assert_eq!(scanned(b"a\nb\nunfinished", 4, 2), [b"a\nb\n".to_vec()]);
    }

    #[test]
    fn an_error_of_any_part_is_the_scans() {
        let file = tempfile::tempfile().unwrap();
        write_all(&file, &b"a\n".repeat(100), 0).unwrap();
        for count in 1..4 {
            let shorter = scan(&file, 300, count, || (), |(), _| ());
            assert_eq!(shorter.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn a_short_file_is_not_worth_a_thread() {
        assert_eq!(threads_for(0), 1);
        assert_eq!(threads_for(2 * SCAN_PART_BYTES_MIN - 1), 1);
        assert!((1..=SCAN_THREADS_MAX).contains(&threads_for(u64::MAX)));
    }

    proptest! {
        #[test]
        fn every_line_is_in_one_part(lines in "([a-z]{0,9}\n){0,40}", count in 1..9_u64) {
            let parts = scanned(lines.as_bytes(), lines.len() as u64, count);
            prop_assert!(parts.len() as u64 <= count);
            prop_assert!(parts.iter().all(|part| part.ends_with(b"\n")));
            prop_assert_eq!(parts.concat(), lines.as_bytes());
        }
    }
}
