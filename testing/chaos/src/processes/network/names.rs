//! Names of servers whose addresses come and go, as the clients' look-ups find them: a file in
//! the place of `/etc/hosts`, for the processes of this program's own mount namespace.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use crate::processes::mounts;

/// Names are looked up in the file alone; no name server is asked.
const FILES_ONLY: &[u8] = b"passwd: files\ngroup: files\nhosts: files\n";

/// All names of all runs. Cheap to clone: all clones are one.
#[derive(Debug, Clone)]
pub struct Names(Arc<Mutex<HostsFile>>);

#[derive(Debug)]
struct HostsFile {
    hosts: File,
    names: BTreeMap<String, Vec<Ipv4Addr>>,
    // Held: the files that are shown.
    _files: [NamedTempFile; 2],
}

impl Names {
    /// Names, where names of one's own are granted.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn take() -> anyhow::Result<Option<Self>> {
        let make = || tempfile::Builder::new().prefix("loteria-").tempfile();
        let (hosts, switch) = (make().context("make hosts")?, make().context("make hosts")?);
        switch.as_file().write_all_at(FILES_ONLY, 0).context("write nsswitch.conf")?;
        let is_shown = mounts::bind_over(hosts.path(), "/etc/hosts")
            && mounts::bind_over(switch.path(), "/etc/nsswitch.conf");
        if !is_shown {
            return Ok(None);
        }
        let hosts_file = HostsFile {
            hosts: hosts.reopen().context("open hosts")?,
            names: BTreeMap::new(),
            _files: [hosts, switch],
        };
        Ok(Some(Self(Arc::new(Mutex::new(hosts_file)))))
    }

    /// From now on `name` has these addresses; it is unknown if there are none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) -> io::Result<()> {
        let mut hosts_file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts_file.names.insert(name.to_owned(), addresses.to_owned());
        let mut text = b"127.0.0.1 localhost\n".to_vec();
        for (name, addresses) in &hosts_file.names {
            for address in addresses {
                writeln!(text, "{address} {name}")?;
            }
        }
        // The file stays the same one, since it is what is mounted. A client that reads it meanwhile
        // may see a wrong address: that is one more without a listener.
        hosts_file.hosts.write_all_at(&text, 0)?;
        hosts_file.hosts.set_len(text.len() as u64)
    }
}
