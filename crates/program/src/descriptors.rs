//! The limit of descriptors (files, sockets, pipes) that this process may have open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to `wanted` descriptors, or as far as the system allows. Returns how many of
/// the `wanted` descriptors are allowed now. Never lowers the limit.
#[must_use]
pub fn raise(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(wanted, |most| most.min(wanted));
    let Some(current) = limit.current.filter(|current| *current < wanted) else {
        return wanted;
    };
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_or(current, |()| wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_up_to_the_systems_maximum_and_never_lowered() {
        let before = getrlimit(Resource::Nofile);
        assert_eq!(raise(1), 1);
        assert_eq!(getrlimit(Resource::Nofile).current, before.current);
        let wanted = before.maximum.unwrap_or(100_000);
        assert_eq!(raise(wanted), wanted);
        assert_eq!(getrlimit(Resource::Nofile).current, Some(wanted));
        if before.maximum.is_some() {
            assert_eq!(raise(u64::MAX), wanted);
        }
    }
}
