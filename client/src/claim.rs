//! Claims agency numbers for clients that are all started with the same settings.
//!
//! A claim is a `flock` on `agency-<n>.claim` in a directory that the clients share. The system
//! releases it when the process ends in any way. The file keeps a record of the last claim: its
//! host, and its place among all claims. A client takes the first of these numbers that no running
//! client has:
//! - the preferred number, which is that of its container (see `replica`);
//! - the number that its host had last, because a restarted container keeps its host name;
//! - a number that was never claimed, then the one that was claimed longest ago. So clients that
//!   end at once do not all claim the number 1.
//!
//! **Invariant**: numbers are read and claimed under the lock on `claims.lock`, by one client at a
//! time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use protocol::AgencyId;
use tracing::info;

use crate::limits::{CLAIM_PAUSE, CLAIM_RECORD_BYTES_MAX, CLAIM_TIMEOUT};

/// The client that claims a number.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'c> {
    /// The name of its machine or container.
    pub host: &'c str,
    /// The number that it takes if no running client has it. A number that is not one of
    /// 1..=agencies is ignored.
    pub preferred: Option<u32>,
}

/// An agency number that no other client has until this is dropped.
#[derive(Debug)]
pub struct Claim {
    agency: AgencyId,
    /// Its lock is the claim.
    _file: File,
}

/// The last claim of a number. An unreadable record counts as none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Record {
    /// The claim's place among the claims of all numbers, from 1; 0 if there was none.
    count: u64,
    host: String,
}

impl Record {
    /// The number with the lowest rank is claimed: the preferred one, then the host's own, then the
    /// one that was claimed longest ago.
    fn rank(&self, agency: AgencyId, claimant: Claimant<'_>) -> (bool, bool, u64, AgencyId) {
        let is_preferred = claimant.preferred == Some(agency.get());
        let is_own = self.count > 0 && self.host == claimant.host;
        (!is_preferred, !is_own, self.count, agency)
    }
}

impl Claim {
    /// Claims one of the numbers 1..=`agencies` in `directory`, which is created if it does not
    /// exist. Blocks for up to [`CLAIM_TIMEOUT`] while others claim.
    ///
    /// # Errors
    /// Every number is claimed, or the directory cannot be used.
    pub fn choose(directory: &Path, agencies: u32, claimant: Claimant<'_>) -> anyhow::Result<Self> {
        let claim = Self::choose_best(directory, agencies, claimant)
            .with_context(|| format!("claim a number in {}", directory.display()))?;
        claim.with_context(|| {
            format!(
                "all {agencies} agency numbers of {} are claimed by running clients: raise \
                 CLI_AGENCIES_AMOUNT or start fewer clients",
                directory.display()
            )
        })
    }

    /// Claims the number with the lowest rank; `None` if every number is claimed.
    fn choose_best(
        directory: &Path,
        agencies: u32,
        claimant: Claimant<'_>,
    ) -> anyhow::Result<Option<Self>> {
        fs::create_dir_all(directory)?;
        let lock = open(&directory.join("claims.lock"))?;
        lock_in_time(&lock)?;
        // The records of claimed numbers are not read, but the lock's file has the last count.
        let mut count = read_record(&lock)?.count;
        let mut best = None;
        for agency in AgencyId::all(agencies) {
            let Some(record) = free_record(directory, agency)? else { continue };
            count = count.max(record.count);
            let rank = record.rank(agency, claimant);
            best = Some(best.map_or(rank, |best| rank.min(best)));
        }
        let Some((.., agency)) = best else { return Ok(None) };
        let file = open(&directory.join(claim_name(agency)))?;
        // Nothing can have claimed it since, because this client has the lock on all claims.
        ensure!(try_lock(&file)?, "another client has it");
        let record = Record { count: count + 1, host: claimant.host.to_owned() };
        write_record(&file, &record)?;
        write_record(&lock, &record)?;
        Ok(Some(Self { agency, _file: file }))
    }

    /// The number.
    #[must_use]
    pub fn agency(&self) -> AgencyId {
        self.agency
    }
}

fn claim_name(agency: AgencyId) -> String {
    format!("agency-{agency}.claim")
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Tries to lock `file`; `false` if another process has the lock.
fn try_lock(file: &File) -> io::Result<bool> {
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn lock_in_time(file: &File) -> anyhow::Result<()> {
    let start = Instant::now();
    if try_lock(file)? {
        return Ok(());
    }
    info!(action = "claim", result = "in_progress", waits_for = "claims.lock");
    while !try_lock(file)? {
        let seconds = CLAIM_TIMEOUT.as_secs();
        let is_in_time = start.elapsed() <= CLAIM_TIMEOUT;
        ensure!(is_in_time, "another client has held claims.lock for {seconds} s");
        thread::sleep(CLAIM_PAUSE);
    }
    Ok(())
}

/// The record of the number `agency`, if no running client has it.
fn free_record(directory: &Path, agency: AgencyId) -> io::Result<Option<Record>> {
    let path = directory.join(claim_name(agency));
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        // It was never claimed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(Record::default()));
        }
        Err(error) => return Err(error),
    };
    if try_lock(&file)? { read_record(&file).map(Some) } else { Ok(None) }
}

/// The record of a claim's file: `count host`.
fn read_record(mut file: &File) -> io::Result<Record> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(CLAIM_RECORD_BYTES_MAX).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let record = text.trim_end().split_once(' ').and_then(|(count, host)| {
        Some(Record { count: count.parse().ok()?, host: host.to_owned() })
    });
    Ok(record.unwrap_or_default())
}

fn write_record(mut file: &File, record: &Record) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{} {}", record.count, record.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a=2` is a client of the host `a` that claims 2, `a/3=2` one that prefers 3, and `-2` is the
    /// end of the client that has 2.
    #[test]
    fn each_client_claims_the_best_free_number() {
        for (what, agencies, steps) in [
            ("clients that run at once have different numbers", 3, "a=1 b=2 c=3"),
            ("so have clients that end at once", 3, "a=1 -1 b=2 -2 c=3 -3 d=1 -1 e=2 -2 f=3"),
            ("a restarted client has its old number", 3, "a=1 b=2 -2 b=2"),
            ("but not if it is claimed", 2, "a=1 a=2"),
            ("the only free number is claimed", 4, "a=1 b=2 c=3 d=4 -3 e=3"),
            ("replicas have their numbers, in any order", 3, "a/3=3 b/1=1 c/2=2 -1 -2 -3 d/2=2"),
            ("so have replicas that end at once", 3, "a/2=2 -2 b/1=1 -1 c/3=3"),
            ("a claimed number is preferred when it is free", 2, "a=1 b/1=2 -2 -1 b/1=1"),
            ("until then, the host's own one is claimed", 3, "a=1 b/1=2 c/2=3 -3 c/2=3"),
            ("a number beyond the agencies is not preferred", 3, "a/4=1 b/0=2 c/4294967295=3"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let mut running = Vec::new();
            for step in steps.split(' ') {
                if let Some(ended) = step.strip_prefix('-') {
                    running.retain(|claim: &Claim| claim.agency().to_string() != ended);
                    continue;
                }
                let (client, number) = step.split_once('=').unwrap();
                let (host, preferred) = client.split_once('/').unwrap_or((client, ""));
                let claimant = Claimant { host, preferred: preferred.parse().ok() };
                let claim = Claim::choose(directory.path(), agencies, claimant).unwrap();
                assert_eq!(claim.agency().to_string(), number, "{what}: {step}");
                running.push(claim);
            }
        }
    }

    #[test]
    fn a_damaged_record_is_none_and_a_number_is_claimed_once() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("agency-1.claim"), b"\xff\xff").unwrap();
        let choose =
            |host| Claim::choose(directory.path(), 1, Claimant { host, preferred: Some(1) });
        let claim = choose("a").unwrap();
        assert_eq!(claim.agency().get(), 1);
        let error = choose("b").unwrap_err().to_string();
        assert!(error.starts_with("all 1 agency numbers"), "{error}");
    }
}
