//! Finds an agency's bets: the one bet of the environment, the agency's file, or generated bets.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use protocol::AgencyId;
use tracing::warn;

use crate::bets::{Bets, ReadError};
use crate::generate::{self, GeneratedBets};
use crate::settings::Config;

/// An agency's bets.
#[derive(Debug)]
pub struct Input {
    /// The bets.
    pub bets: Bets,
    /// Where the bets are from, for messages.
    pub source: String,
    /// Whether it is the one bet of the environment.
    pub is_single: bool,
}

/// Why an agency has no valid bets. Nothing has been sent.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file does not exist.
    #[error(
        "{0} is not there: put the agency's bets there, set CLI_BETS_DIR to their directory, or \
         set CLI_GENERATE_ROWS to generate bets"
    )]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("read {0}: {1}")]
    Io(PathBuf, io::Error),
    /// Lines of the file are not bets.
    #[error("{0} has lines that are no bets; nothing was sent\n{1}")]
    Bad(PathBuf, crate::bets::BadLines),
}

/// The bets of `agency`: the environment's bet if it has one, else the file. If the file does not
/// exist and the settings ask for generated bets, those.
///
/// # Errors
/// See [`InputError`].
pub fn load(config: &Config, agency: AgencyId) -> Result<Input, InputError> {
    if let Some(bets) = &config.bet {
        let source = "the environment".to_owned();
        return Ok(Input { bets: bets.clone(), source, is_single: true });
    }
    let path = config.bets_dir.join(generate::file_name(agency));
    match read_file(&path) {
        Err(InputError::Missing(_)) if config.generate_rows > 0 => {
            Ok(generate_bets(config, agency))
        }
        read => Ok(Input { bets: read?, source: path.display().to_string(), is_single: false }),
    }
}

fn read_file(path: &Path) -> Result<Bets, InputError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => InputError::Missing(path.to_owned()),
        _ => InputError::Io(path.to_owned(), error),
    })?;
    Bets::read(BufReader::new(file)).map_err(|error| match error {
        ReadError::Io(error) => InputError::Io(path.to_owned(), error),
        ReadError::Bad(lines) => InputError::Bad(path.to_owned(), lines),
    })
}

/// The same bets as `client generate` makes with its defaults and this number of rows.
fn generate_bets(config: &Config, agency: AgencyId) -> Input {
    let is_last = generate::is_last(agency, config.agencies);
    let generated = GeneratedBets {
        agency,
        rows: config.generate_rows,
        winners: if is_last { 0 } else { generate::WINNERS },
        winner_number: generate::WINNER_NUMBER.parse().expect("it is a bet's number"),
        seed: generate::SEED,
    };
    warn!(
        action = "generate",
        result = "success",
        cantidad = generated.rows,
        warning = "these bets are generated: there is no file of bets and CLI_GENERATE_ROWS is set"
    );
    let mut text = Vec::new();
    generate::write_bets(&generated, &mut text).expect("writing to a Vec cannot fail");
    let bets = Bets::read(text.as_slice()).expect("generated bets are valid");
    Input { bets, source: "the generated bets".to_owned(), is_single: false }
}
