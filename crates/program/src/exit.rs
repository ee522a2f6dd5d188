//! The exit codes of all programs of this project.

use std::process::{ExitCode, Termination};

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: success.
    Right,
    /// 1: refused, failed, or done in part.
    Failed,
    /// 2: the command line, a setting or an input file is wrong; nothing was done.
    Usage,
}

impl Exit {
    /// The code as a shell sees it, 0 to 2.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Right => 0,
            Self::Failed => 1,
            Self::Usage => 2,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}
