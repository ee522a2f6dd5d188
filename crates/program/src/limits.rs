//! The limits of what programs log. Those of what they do are their own.

use std::time::Duration;

/// How many warnings of one kind are logged in a [`FLOOD_PERIOD`].
pub(crate) const WARNINGS_MAX: u32 = 50;

/// How long warnings of one kind are counted together.
pub(crate) const FLOOD_PERIOD: Duration = Duration::from_secs(60);
