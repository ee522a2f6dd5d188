//! A mount namespace of its own for the whole program, where the system grants one: a small disk
//! that is full, and names whose addresses change, without a trace outside and without being root.
//!
//! **Invariant**: nothing is ever mounted outside such a namespace. Whatever is mounted goes with
//! the last process in it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tells the program which namespace it was started from: another one than its own.
const OUTSIDE: &str = "LOTERIA_CHAOS_MOUNTS_OUTSIDE";

/// How to get one: as root, and as anybody where the system allows it.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Whether this process may mount.
#[must_use]
pub fn are_here() -> bool {
    std::env::var_os(OUTSIDE).is_some_and(|outside| Some(outside) != namespace())
}

/// What the system calls the namespace of this process.
fn namespace() -> Option<OsString> {
    fs::read_link("/proc/self/ns/mnt").ok().map(PathBuf::into_os_string)
}

/// Starts this program anew in a namespace of its own, with the same `arguments`, the first of
/// which is the program's name. Comes back if it is there already, or if there is none to be had.
pub fn enter(arguments: &[OsString]) {
    if are_here() {
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
    is_right(&mut probe)
}

/// Has the file at `path` show what is in the file `shown`, for the processes of this namespace.
pub fn show_instead(shown: &Path, path: &str) -> bool {
    are_here() && is_right(Command::new("mount").arg("--bind").arg(shown).arg(path))
}

/// Mounts a disk of `bytes` at `path`.
pub fn mount_disk(path: &Path, bytes: u64) -> bool {
    let size = format!("size={bytes}");
    let mut mount = Command::new("mount");
    are_here() && is_right(mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path))
}

/// Takes the disk at `path` away, at once for what looks, and for good when nobody uses it.
pub fn unmount(path: &Path) {
    // If that fails, it goes with the namespace.
    let _ = is_right(Command::new("umount").arg("--lazy").arg(path));
}

fn is_right(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
