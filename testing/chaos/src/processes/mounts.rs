//! A mount namespace of its own for the whole program, where the system grants one: a small disk
//! that is full, and names whose addresses change, without a trace outside and without being root.
//!
//! **Invariant**: nothing is ever mounted outside such a namespace. Whatever is mounted goes with
//! the last process in it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says to the program which namespace it was started from: another one than its own.
const OUTSIDE: &str = "LOTERIA_CHAOS_MOUNTS_OUTSIDE";

/// How to get one: as root, and as anybody where the system allows it.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Whether this process may mount.
#[must_use]
pub fn is_own_namespace() -> bool {
    std::env::var_os(OUTSIDE).is_some_and(|outside| Some(outside) != namespace())
}

/// What the system calls the namespace of this process.
fn namespace() -> Option<OsString> {
    fs::read_link("/proc/self/ns/mnt").ok().map(PathBuf::into_os_string)
}

/// Starts this program anew in a namespace of its own, with the same `arguments`, the first of
/// which is the program's name. Comes back if it is there already, or if there is none to be had.
pub fn enter(arguments: &[OsString]) {
    if is_own_namespace() {
        return;
    }
    let (Ok(program), Some(outside)) = (std::env::current_exe(), namespace()) else { return };
    let Some(way) = WAYS.into_iter().find(|way| may_mount(way)) else { return };
    // It only comes back with an error: then it goes on without.
    let _ = Command::new("unshare")
        .args(way)
        .arg("--")
        .arg(program)
        .args(arguments.get(1..).unwrap_or_default())
        .env(OUTSIDE, outside)
        .exec();
}

/// Whether a namespace that is made so can mount anything at all.
fn may_mount(way: &[&str]) -> bool {
    let mut probe = Command::new("unshare");
    probe.args(way).args(["--", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    succeeds(&mut probe)
}

/// Has the file at `path` show what is in the file `shown`, for the processes of this namespace.
pub fn bind_over(shown: &Path, path: &str) -> bool {
    is_own_namespace() && succeeds(Command::new("mount").arg("--bind").arg(shown).arg(path))
}

/// Runs `command` without output; returns whether its exit code is 0.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Some times what the bets of any run take.
const DISK_BYTES: u64 = 4 * 1024 * 1024;

/// A mounted disk; it goes when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk at the directory `path`, which is there; none where that is not granted.
    #[must_use]
    pub fn mount(path: &Path) -> Option<Self> {
        let size = format!("size={DISK_BYTES}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path);
        (is_own_namespace() && succeeds(&mut mount)).then(|| Self { path: path.to_owned() })
    }

    /// The file that takes the space.
    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Takes all space but `left` bytes.
    ///
    /// # Errors
    /// The disk does something else than being full.
    pub fn fill(&self, left: u64) -> io::Result<()> {
        let mut file = File::options().append(true).create(true).open(self.filler())?;
        // A short write comes before the error: then there is no room for another byte.
        let full = io::copy(&mut io::repeat(0), &mut file).and_then(|_| file.flush());
        if let Err(error) = full
            && error.kind() != io::ErrorKind::StorageFull
        {
            return Err(error);
        }
        let bytes = file.metadata()?.len();
        file.set_len(bytes.saturating_sub(left))
    }

    /// Gives all space back.
    ///
    /// # Errors
    /// The space cannot be given back.
    pub fn free(&self) -> io::Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Gone at once for new users, and for good with the last one; else with the namespace.
        let _ = succeeds(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}
