//! `server health`: asks an instance whether it answers, for the health checks of containers. Reads
//! no file of the volume and writes none.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use anyhow::{Context, bail};
use protocol::{AgencyId, Request, Response};

use crate::limits::{HEALTH_ANSWER_BYTES_MAX, HEALTH_STEP_TIMEOUT};
use crate::settings::Config;

/// Asks the instance with these settings for the status of agency 1. For the answer, the instance
/// needs its queue, its locks and its files.
///
/// # Errors
/// The instance is unreachable, did not answer in time, or cannot answer.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let ip = if config.ip.is_unspecified() { Ipv4Addr::LOCALHOST } else { config.ip };
    let address = SocketAddr::V4(SocketAddrV4::new(ip, config.port));
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_STEP_TIMEOUT)
        .with_context(|| format!("connect to {address}, of SERVER_IP and SERVER_PORT"))?;
    stream.set_read_timeout(Some(HEALTH_STEP_TIMEOUT))?;
    stream.set_write_timeout(Some(HEALTH_STEP_TIMEOUT))?;
    let mut packet = Vec::new();
    let agency = AgencyId::new(1).context("1 is an agency")?;
    Request::AgencyStatus { agency }.write(&mut packet);
    stream.write_all(&packet).context("ask")?;
    let mut line = String::new();
    let read = BufReader::new(stream.take(HEALTH_ANSWER_BYTES_MAX)).read_line(&mut line);
    match read {
        // It depends on the system which of them means a timeout.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            let seconds = HEALTH_STEP_TIMEOUT.as_secs();
            bail!(
                "{address} has not answered in {seconds} s: it is paused, or stuck, or has as \
                   many connections as it serves"
            )
        }
        read => read.context("be answered")?,
    };
    match Response::parse(line.trim_end().as_bytes()) {
        Ok(Response::AgencyStatus { .. }) => Ok(()),
        Ok(Response::Error(reason)) => bail!("{address} runs and cannot serve: {reason}"),
        _ => bail!("{address} answered {line:?} instead of a status: is it another program?"),
    }
}
