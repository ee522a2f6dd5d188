//! How fast the winners are found, beside copying the same bytes. `cargo bench -p server`.
//!
//! What else the store does with rows is measured where it is done, in `protocol`.

#[path = "../../crates/protocol/benches/rows/mod.rs"]
mod rows;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lottery::Winners;
use protocol::BetNumber;

/// How many rows are looked through at once: about one block of what is read from the log.
const ROWS: u64 = 6_000;

/// A short number is part of many fields, of which few are bets on it.
const NUMBERS: [u16; 3] = [7574, 75, 7];

fn winners(c: &mut Criterion) {
    for (form, csv) in rows::forms(ROWS) {
        let mut group = c.benchmark_group(format!("winners/{form}"));
        group.throughput(Throughput::Bytes(csv.len() as u64));
        for number in NUMBERS {
            let number = BetNumber::new(number).expect("a bet's number");
            group.bench_function(number.to_string(), |b| {
                b.iter(|| {
                    let mut winners = Winners::new(number, 5);
                    winners.take(black_box(&csv));
                    winners.into_documents()
                });
            });
        }
        let mut copy = vec![0; csv.len()];
        group.bench_function("memcpy", |b| b.iter(|| black_box(&mut copy).copy_from_slice(&csv)));
        group.finish();
    }
}

criterion_group! {
    name = store;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = winners
}
criterion_main!(store);
