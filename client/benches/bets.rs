//! How fast an agency's file is read and checked, compared by its digest and cut into packets,
//! beside copying the same bytes. `cargo bench -p client`.

#[path = "../../crates/protocol/benches/rows/mod.rs"]
mod rows;

use std::hint::black_box;
use std::time::Duration;

use client::bets::{BatchLimits, Bets};
use client::limits::{PACKET_BETS_DEFAULT, PACKET_BYTES_DEFAULT};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::{AgencyId, write_rows_packet};

/// How many bets the file has.
const ROWS: u64 = 10_000;

fn read(c: &mut Criterion) {
    for (form, csv) in rows::files(ROWS) {
        let mut group = c.benchmark_group(format!("read/{form}"));
        group.throughput(Throughput::Bytes(csv.len() as u64));
        group.bench_function("work", |b| {
            b.iter(|| Bets::read(black_box(csv.as_slice())).expect("bets"));
        });
        let mut copy = vec![0; csv.len()];
        group.bench_function("memcpy", |b| b.iter(|| black_box(&mut copy).copy_from_slice(&csv)));
        group.finish();
    }
}

fn packets(c: &mut Criterion) {
    let [(_, csv), ..] = rows::files(ROWS);
    let bets = Bets::read(csv.as_slice()).expect("bets");
    let limits = BatchLimits { bets: PACKET_BETS_DEFAULT, bytes: PACKET_BYTES_DEFAULT };
    let agency = AgencyId::new(3).expect("an agency's number");
    let mut group = c.benchmark_group("send");
    group.throughput(Throughput::Bytes(csv.len() as u64));
    group.bench_function("digest", |b| b.iter(|| bets.digest(black_box(ROWS))));
    group.bench_function("packets", |b| {
        let mut packet = Vec::new();
        b.iter(|| {
            let mut row = 1;
            while let Some(batch) = bets.batch(row, limits) {
                packet.clear();
                write_rows_packet(agency, Some(row), batch.wire, &mut packet);
                row = black_box(&batch).last_row() + 1;
            }
        });
    });
    let mut copy = vec![0; csv.len()];
    group.bench_function("memcpy", |b| b.iter(|| black_box(&mut copy).copy_from_slice(&csv)));
    group.finish();
}

criterion_group! {
    name = bets;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = read, packets
}
criterion_main!(bets);
