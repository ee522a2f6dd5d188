//! Claims under a small limit of open files. The limit is that of the process, so this test has its
//! own program.

use std::fs;

use client::claim::{Claim, Claimant};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const FREED: u32 = 300;
const DESCRIPTORS: u64 = 64;

#[test]
fn any_number_of_freed_claims_takes_few_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    for agency in 1..=FREED {
        let record = format!("{} host-{agency}\n", FREED + 1 - agency);
        fs::write(directory.path().join(format!("agency-{agency}.claim")), record).unwrap();
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum }).unwrap();
    let choose = |host| {
        let claimant = Claimant { host, preferred: None };
        Claim::choose(directory.path(), FREED, claimant).unwrap()
    };
    let (longest_free, own) = (choose("new"), choose("host-7"));
    assert_eq!((longest_free.agency().get(), own.agency().get()), (FREED, 7));
}
