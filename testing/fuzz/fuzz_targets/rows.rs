//! Lines of `bets.csv`.

#![no_main]

use fuzz::protocol::rows;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    rows::lines_are_rows_one_by_one(bytes);
    rows::a_line_is_one_row_or_damaged(bytes);
    rows::records_are_rows(bytes);
});
