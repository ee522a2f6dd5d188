//! How fast bytes become packets, rows and digests, beside copying the same bytes.
//!
//! `cargo bench -p protocol`. Every group names the bytes that come in as its throughput.
//!
//! What is measured gets its inputs in turn, and there are so many different ones that no branch
//! predictor knows them by heart: read again and again, one packet would take half the time that
//! it takes a server, whose packets are all new.

mod rows;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::{AgencyId, Digest, Frame, Framer, Request, RowReader, WireBets};

/// How many bets a packet has: alone, as the reference client sends them, as ours does, and many.
const BETS: [u64; 4] = [1, 20, 100, 500];

/// How many bets all packets of one size have together at least.
const DIFFERENT_BETS: u64 = 20_000;

/// How many rows are folded at once: some blocks of what a server reads from its log.
const ROWS: u64 = 60_000;

/// Measures `work` on each of `inputs` in turn.
fn beside_memcpy<I: AsRef<[u8]>>(
    c: &mut Criterion,
    name: &str,
    inputs: &[I],
    mut work: impl FnMut(&[u8]),
) {
    let lengths = inputs.iter().map(|input| input.as_ref().len());
    let mut copy = vec![0; lengths.clone().max().unwrap_or_default()];
    let mut turns = inputs.iter().cycle();
    let mut next = || black_box(turns.next().expect("there are inputs").as_ref());
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes((lengths.sum::<usize>() / inputs.len()) as u64));
    group.bench_function("work", |b| b.iter(|| work(next())));
    group.bench_function("memcpy", |b| {
        b.iter(|| {
            let from = next();
            black_box(&mut copy).get_mut(..from.len()).expect("room").copy_from_slice(from);
        });
    });
    group.finish();
}

/// The bets of different packets, so many in each, as `dress` makes them.
fn packets(bets: u64, dress: rows::Dress) -> Vec<String> {
    (0..DIFFERENT_BETS / bets).map(|nth| rows::wire(nth * bets, bets, dress)).collect()
}

fn parse(c: &mut Criterion) {
    for (form, head) in [("StoreRows", "StoreRows:3;1:"), ("StoreBatch", "StoreBatch:3:")] {
        for bets in BETS {
            let packets: Vec<_> =
                packets(bets, rows::plain).iter().map(|bets| format!("{head}{bets}")).collect();
            beside_memcpy(c, &format!("parse/{form}/{bets}"), &packets, |line| {
                let _ = black_box(Request::parse(line));
            });
        }
    }
}

fn write(c: &mut Criterion) {
    let agency = AgencyId::new(3).expect("an agency's number");
    for (form, dress) in [("plain", rows::plain as rows::Dress), ("quoted", rows::with_comma)] {
        let packets = packets(100, dress);
        let bets = packets.iter().map(|bets| WireBets::parse(bets).expect("valid bets"));
        let (mut turns, mut out) = (bets.collect::<Vec<_>>().into_iter().cycle(), Vec::new());
        beside_memcpy(c, &format!("write_rows/{form}/100"), &packets, |_| {
            out.clear();
            turns.next().expect("there are packets").write_rows(agency, &mut out);
            black_box(&out);
        });
    }
}

/// What an instance does with each row of its log, when it starts and when others append.
fn fold(c: &mut Criterion) {
    for (form, csv) in rows::forms(ROWS) {
        let (mut reader, mut digests) = (RowReader::default(), [Digest::default(); 8]);
        beside_memcpy(c, &format!("fold_rows/{form}"), &[csv], |csv| {
            let mut lines = csv;
            while !lines.is_empty() {
                let (bytes, row) = reader.read_first(lines);
                let row = row.expect("a row");
                if let Some(digest) = digests.get_mut(row.agency as usize) {
                    *digest = digest.fold(row.wire);
                }
                lines = lines.get(bytes..).unwrap_or_default();
            }
            black_box(&digests);
        });
    }
}

fn digest(c: &mut Criterion) {
    let wire = rows::wire(0, ROWS, rows::plain);
    let bets: Vec<&str> = wire.split(':').collect();
    beside_memcpy(c, "digest", &[&wire], |_| {
        let digest = bets.iter().fold(Digest::default(), |d, bet| d.fold(bet.as_bytes()));
        black_box(digest);
    });
}

fn frame(c: &mut Criterion) {
    for bets in [1, 100] {
        let packet = format!("StoreRows:3;1:{}\n", rows::wire(0, bets, rows::plain));
        let stream = packet.repeat(64 * 1024 / packet.len());
        beside_memcpy(c, &format!("frame/{bets}"), &[stream], |mut unread| {
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
