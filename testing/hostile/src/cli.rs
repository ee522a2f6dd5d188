//! The command line of `hostile`.

use clap::{Parser, ValueEnum as _};

use super::attack::{Attack, Scale};

/// How many files are open beside a crowd's connections, at the most.
const DESCRIPTORS_BESIDE: u64 = 100;

const MORE: &str = "\
For each attack a server is started on a volume of its own, and some agencies store batches in a \
closed loop. What they achieve is measured without and with the attack, in turn, some times over. \
In the end the server has to answer, every answer must have been an honest one, and the file must \
hold every row that was acknowledged and no row that was not sent.

Some attacks take 10,000 connections: the limit of open files (ulimit -n) has to allow for them, \
or with --quick for 1,200.

Examples:
  hostile
  hostile mutations --lines 30000000 --seed 7
  hostile --quick half-lines idle --json

Exit codes:
  0  the server held
  1  something did not: it is named, and the files are kept
  2  the command line is wrong, or the limit of open files is too low;
     nothing was started";

/// Attacks a server, and measures what its agencies notice
#[derive(Debug, Clone, Parser)]
#[command(name = "hostile", bin_name = "hostile", version, after_help = MORE)]
#[command(max_term_width = 100)]
pub struct HostileOptions {
    /// Which attacks; without any, all of them
    #[arg(value_enum, value_name = "ATTACK")]
    attacks: Vec<Attack>,

    /// What mutations are made from: the same seed, the same lines
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// How many mutated lines are sent in all
    #[arg(long, value_name = "N", default_value_t = 3_000_000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    lines: u64,

    /// Fewer connections, one short round, and throughput is not judged: all of it in seconds
    #[arg(long)]
    quick: bool,

    /// End standard output with one JSON line; the table goes to standard error
    #[arg(long)]
    pub json: bool,
}

impl HostileOptions {
    /// Which attacks to make, in order.
    #[must_use]
    pub fn attacks(&self) -> Vec<Attack> {
        match self.attacks.as_slice() {
            [] => Attack::value_variants().to_vec(),
            named => named.to_vec(),
        }
    }

    /// What to say if `limit` open files are too few.
    #[must_use]
    pub fn too_few_descriptors(&self, limit: Option<u64>) -> Option<String> {
        let needed = self.scale().crowd as u64 + DESCRIPTORS_BESIDE;
        (needed > limit?).then(|| {
            format!(
                "{needed} open files are needed and the limit is {}: raise it (ulimit -n \
                 {needed}, as root or by limits.conf), or take --quick, which needs fewer",
                limit.unwrap_or_default()
            )
        })
    }

    /// How much of each.
    #[must_use]
    pub fn scale(&self) -> Scale {
        if self.quick { Scale::quick(self.lines) } else { Scale::full(self.lines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together_and_attacks_have_names() {
        HostileOptions::command().debug_assert();
        let options = |arguments: &[&str]| {
            HostileOptions::try_parse_from(["hostile"].iter().chain(arguments))
        };
        assert_eq!(options(&[]).unwrap().attacks(), Attack::value_variants());
        let named = options(&["half-lines", "--quick"]).unwrap();
        assert_eq!(named.attacks(), [Attack::HalfLines]);
        assert!(!named.scale().is_judged);
        let refusal = options(&[]).unwrap().too_few_descriptors(Some(9_999));
        assert!(refusal.unwrap().starts_with("10100 open files are needed"));
        assert_eq!(named.too_few_descriptors(Some(9_999)), None);
        assert!(options(&["--lines", "0"]).is_err() && options(&["frogs"]).is_err());
    }

    #[test]
    fn the_script_knows_every_option() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/hostile.sh");
        let differences = harness::command::script_differences::<HostileOptions>(script.as_ref());
        assert_eq!(differences.unwrap(), [""; 0]);
    }
}
