//! Tables and text for a terminal, as wide as that is.

use std::io::{self, IsTerminal as _};

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

/// How tables look: a line below the headings, and no others.
pub const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// How many columns there are where what is written to is no terminal.
const COLUMNS_DEFAULT: u16 = 100;

/// How many columns standard output has, as the tables' library sees it.
#[must_use]
pub fn width() -> u16 {
    let width = io::stdout().is_terminal().then(|| Table::new().width()).flatten();
    width.unwrap_or(COLUMNS_DEFAULT)
}

/// As [`width`], of standard error.
#[must_use]
pub fn error_width() -> u16 {
    Table::new().use_stderr().width().unwrap_or(COLUMNS_DEFAULT)
}

/// How wide the widest line is.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

/// The words of `text` in lines of up to `width` columns.
#[must_use]
pub fn wrapped(text: &str, width: u16) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width).add_row([text]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 0));
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped() {
        assert_eq!(wrapped("one two three", 80), "one two three\n");
        assert_eq!(wrapped("one two three\nfour", 8), "one two\nthree\nfour\n");
    }
}
