//! The limits of logging. Each program has its other limits in its own `limits`.

use std::time::Duration;

/// The most warnings that one place in the code logs in a [`WARNING_PERIOD`].
pub(crate) const WARNINGS_MAX: u32 = 50;

/// The period of the limit.
pub(crate) const WARNING_PERIOD: Duration = Duration::from_secs(60);
