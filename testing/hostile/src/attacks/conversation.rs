//! A connection on which every line must be answered as PROTOCOL.md says.

use std::collections::VecDeque;
use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use harness::raw_connection::RawConnection;
use oracle::model::{Agencies, Effect, Wanted};
use oracle::packet;
use tokio::time::timeout;

use super::{ANSWER_TIMEOUT, connect};
use crate::attack::Report;

/// A connection, and what its answers have to be. No other connection may change the agencies that
/// it names.
pub struct Conversation {
    address: SocketAddr,
    connection: RawConnection,
    /// What is stored, by what was sent so far.
    pub agencies: Agencies,
    /// Lines that are not sent yet.
    unsent: Vec<u8>,
    /// The lines that have an answer which has not come.
    owed: VecDeque<(Wanted, Vec<u8>)>,
    /// Whether the server closes the connection after these answers.
    pub is_last: bool,
    /// What was sent.
    pub counts: Report,
}

impl Conversation {
    /// # Errors
    /// There is no connection.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            address,
            connection: connect(address, None).await?.into(),
            agencies: Agencies::default(),
            unsent: Vec::new(),
            owed: VecDeque::new(),
            is_last: false,
            counts: Report { connections: 1, ..Report::default() },
        })
    }

    /// Continues with a new connection, which the server does not delay yet. No answer may be owed.
    /// Gives the old one.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn reopen(&mut self) -> anyhow::Result<RawConnection> {
        let next = connect(self.address, None).await?.into();
        self.counts.connections += 1;
        Ok(std::mem::replace(&mut self.connection, next))
    }

    /// Adds a line, given without its `\n`, to those that are sent next.
    pub fn add(&mut self, line: &[u8]) {
        if let Effect::Answers(wanted) = self.agencies.take(line) {
            self.owed.push_back((wanted, line.to_vec()));
        }
        self.is_last |= packet::ends_connection(line);
        self.unsent.extend_from_slice(line);
        self.unsent.push(b'\n');
        self.counts.lines += 1;
        self.counts.bytes += line.len() as u64 + 1;
    }

    /// Sends the lines that were added, and reads all answers to them.
    ///
    /// # Errors
    /// An answer is missing, is not the one that is owed, or is one too many.
    pub async fn exchange(&mut self) -> anyhow::Result<()> {
        self.connection.send(std::mem::take(&mut self.unsent)).await?;
        while let Some((wanted, line)) = self.owed.pop_front() {
            let line = || line.get(..200).unwrap_or(&line).escape_ascii().to_string();
            let answer = timeout(ANSWER_TIMEOUT, self.connection.line()).await;
            let answer = answer.with_context(|| format!("wait for the answer to {}", line()))?;
            let answer = answer.with_context(|| format!("read the answer to {}", line()))?;
            ensure!(wanted.fits(&answer), "{answer:?} to \"{}\", not {wanted:?}", line());
        }
        if !self.is_last {
            ensure!(self.is_silent()?, "more answers than lines");
            return Ok(());
        }
        let rest = self.reopen().await?.end().await?;
        ensure!(rest.is_empty(), "a connection goes on with {:?}", String::from_utf8_lossy(&rest));
        self.is_last = false;
        Ok(())
    }

    /// [`Conversation::add`] and [`Conversation::exchange`].
    ///
    /// # Errors
    /// As the latter.
    pub async fn ask<L: AsRef<[u8]>>(&mut self, lines: &[L]) -> anyhow::Result<()> {
        lines.iter().for_each(|line| self.add(line.as_ref()));
        self.exchange().await
    }

    /// Whether nothing comes that is not owed.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn is_silent(&mut self) -> anyhow::Result<bool> {
        self.connection.is_silent()
    }

    /// What was sent and stored.
    pub fn report(self) -> Report {
        Report { stored: self.agencies.heads().collect(), ..self.counts }
    }
}
