//! How fast bytes become packets, rows and digests, beside copying the same bytes.
//!
//! `cargo bench -p protocol`. Every group names the bytes that come in as its throughput.

mod rows;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::{Digest, Frame, Framer, Request, RowReader};

/// How many bets a packet has: alone, as the reference client sends them, as ours does, and many.
const BETS: [u64; 4] = [1, 20, 100, 500];

/// How many rows are folded at once: about one block of what a server reads from its log.
const ROWS: u64 = 6_000;

fn beside_memcpy(c: &mut Criterion, name: &str, bytes: &[u8], mut work: impl FnMut(&[u8])) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("work", |b| b.iter(|| work(black_box(bytes))));
    let mut copy = vec![0; bytes.len()];
    group.bench_function("memcpy", |b| b.iter(|| black_box(&mut copy).copy_from_slice(bytes)));
    group.finish();
}

fn parse(c: &mut Criterion) {
    for (form, head) in [("StoreRows", "StoreRows:3;1:"), ("StoreBatch", "StoreBatch:3:")] {
        for bets in BETS {
            let packet = format!("{head}{}", rows::wire(bets));
            beside_memcpy(c, &format!("parse/{form}/{bets}"), packet.as_bytes(), |line| {
                let _ = black_box(Request::parse(line));
            });
        }
    }
}

fn write(c: &mut Criterion) {
    for (form, bets) in [("plain", rows::wire(500)), ("quoted", rows::wire_with_commas(500))] {
        let packet = format!("StoreRows:3;1:{bets}");
        let Ok(Request::StoreRows { agency, bets, .. }) = Request::parse(packet.as_bytes()) else {
            panic!("the packet is one");
        };
        let mut out = Vec::new();
        beside_memcpy(c, &format!("write_rows/{form}"), packet.as_bytes(), |_| {
            out.clear();
            bets.write_rows(agency, &mut out);
            black_box(&out);
        });
    }
}

/// What an instance does with each row of its log, when it starts and when others append.
fn fold(c: &mut Criterion) {
    for (form, csv) in rows::forms(ROWS) {
        let (mut reader, mut digests) = (RowReader::default(), [Digest::default(); 8]);
        beside_memcpy(c, &format!("fold_rows/{form}"), &csv, |csv| {
            let mut start = 0;
            for end in memchr::memchr_iter(b'\n', csv) {
                let row = reader.read(csv.get(start..end).unwrap_or_default()).expect("a row");
                if let Some(digest) = digests.get_mut(row.agency as usize) {
                    *digest = digest.fold(row.wire);
                }
                start = end + 1;
            }
            black_box(&digests);
        });
    }
}

fn digest(c: &mut Criterion) {
    let wire = rows::wire(ROWS);
    let bets: Vec<&str> = wire.split(':').collect();
    beside_memcpy(c, "digest", wire.as_bytes(), |_| {
        let digest = bets.iter().fold(Digest::default(), |d, bet| d.fold(bet.as_bytes()));
        black_box(digest);
    });
}

fn frame(c: &mut Criterion) {
    for bets in [1, 100] {
        let packet = format!("StoreRows:3;1:{}\n", rows::wire(bets));
        let stream = packet.repeat(64 * 1024 / packet.len());
        beside_memcpy(c, &format!("frame/{bets}"), stream.as_bytes(), |mut unread| {
            let mut framer = Framer::default();
            loop {
                let framed = framer.next(unread);
                if framed.frame == Frame::Incomplete {
                    break;
                }
                unread = unread.get(framed.consumed..).unwrap_or_default();
                black_box(&framed);
            }
        });
    }
}

criterion_group! {
    name = protocol;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = parse, write, fold, digest, frame
}
criterion_main!(protocol);
