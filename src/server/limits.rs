//! How many connections the server accepts.

use rustix::process::{Resource, getrlimit};

/// The maximum number of connections, if the system allows that many open files.
const MAX_CONNECTIONS: u64 = 20_000;
/// The maximum number of further connections that are accepted until `Connections` has decided which ones to keep.
const MAX_SPARE_CONNECTIONS: u64 = 256;
/// The number of open files to reserve for everything but connections, such as the database and the log.
const OTHER_FILES: u64 = 100;

/// How many connections the limit on open files allows.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// The connections that are kept.
    pub slots: usize,
    /// The connections that are accepted. Actix accepts no further ones while this many are open.
    pub accepted: usize,
}

impl ClientLimits {
    /// Returns the limits of this process, if each connection needs `files_each` files.
    pub fn new(files_each: u64) -> Self {
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::for_files(open_files, files_each)
    }

    fn for_files(open_files: u64, files_each: u64) -> Self {
        let possible = open_files.saturating_sub(OTHER_FILES) / files_each;
        let spare = (possible / 10).clamp(1, MAX_SPARE_CONNECTIONS);
        let slots = possible.saturating_sub(spare).clamp(1, MAX_CONNECTIONS);
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            slots: number(slots),
            accepted: number(slots + spare),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_open_files_limits_the_connections() {
        for (open_files, files_each, slots, accepted) in [
            (u64::MAX, 1, 20_000, 20_256),
            (1024, 1, 832, 924),
            (1024, 2, 416, 462),
            (400, 1, 270, 300),
            (110, 1, 9, 10),
            (64, 1, 1, 2),
        ] {
            let limits = ClientLimits::for_files(open_files, files_each);
            assert_eq!(limits, ClientLimits { slots, accepted });
        }
    }
}
