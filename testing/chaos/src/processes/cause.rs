//! Has a fault happen. What takes a while goes on by itself, and ends when the faults are over.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::checks;
use super::client_controller::ClientCommand;
use super::environment::ProcessEnvironment;
use super::fault::{DISK_FULL, Fault};
use super::server_controller::Command;

/// Causes `fault`.
///
/// # Errors
/// It cannot be done.
pub async fn cause(fault: &Fault, environment: &mut ProcessEnvironment) -> anyhow::Result<()> {
    match fault.clone() {
        Fault::KillAllServers { down } => return kill_all(environment, down).await,
        Fault::SecondClient { agency, batch } => {
            return environment.start_second_client(agency, batch);
        }
        Fault::MoveServer { place, down, stale } => {
            return move_server(environment, place, down, stale).await;
        }
        Fault::ChangeName { members, has_dead, lasts } => {
            return change_name(environment, &members, has_dead, lasts);
        }
        Fault::FillDisk { left, lasts } => return fill_disk(environment, left, lasts),
        Fault::KillServer { place, holding, down, false_starts } => {
            tell_server(environment, place, Command::Kill { holding, down, false_starts });
        }
        Fault::TearServer { place, bytes, down } => {
            let stored = std::fs::metadata(environment.volume.bets()).map_or(0, |file| file.len());
            tell_server(environment, place, Command::Tear { limit: stored + bytes, down });
        }
        Fault::StopServer { place, down } => {
            tell_server(environment, place, Command::Stop { down })
        }
        Fault::PauseServer { place, pause, holding } => {
            tell_server(environment, place, Command::Pause { pause, holding });
        }
        Fault::EndClient { agency, kill, down, batch } => {
            tell_client(environment, agency, ClientCommand::End { kill, down, batch });
        }
        Fault::PauseClient { agency, pause } => {
            tell_client(environment, agency, ClientCommand::Pause(pause));
        }
    }
    Ok(())
}

/// A controller that is gone has failed, which is told when it is taken back.
fn tell_server(environment: &ProcessEnvironment, place: usize, command: Command) {
    environment.commands.get(place).map(|server| server.send(command));
}

/// One that has ended with its winners needs no more commands.
fn tell_client(environment: &ProcessEnvironment, agency: u32, command: ClientCommand) {
    environment.clients.get(agency as usize - 1).map(|client| client.send(command));
}

/// Kills all servers, looks at what they left, and starts them again.
async fn kill_all(environment: &ProcessEnvironment, down: Duration) -> anyhow::Result<()> {
    let (mut dead, mut starts) = (Vec::new(), Vec::new());
    for server in &environment.commands {
        let (is_dead, hears_dead) = oneshot::channel();
        let (start, hears_start) = oneshot::channel();
        let command = Command::KillUntil { dead: is_dead, start: hears_start };
        if server.send(command).is_ok() {
            dead.push(hears_dead);
            starts.push(start);
        }
    }
    for dead in dead {
        let _ = dead.await;
    }
    checks::look_at_remains(environment).context("look at what killed servers left")?;
    sleep(down).await;
    drop(starts);
    Ok(())
}

/// What stands before the server moves at once, the server itself when it is back.
async fn move_server(
    environment: &mut ProcessEnvironment,
    place: usize,
    down: Duration,
    stale: Duration,
) -> anyhow::Result<()> {
    environment.entry_points.move_away(place).await?;
    let ip = environment.next_address(place);
    tell_server(environment, place, Command::Move { down, ip });
    show_name_after(environment, down + stale);
    Ok(())
}

fn change_name(
    environment: &ProcessEnvironment,
    members: &[usize],
    has_dead: bool,
    lasts: Duration,
) -> anyhow::Result<()> {
    let name_entry = environment.entry_points.name_entry();
    if name_entry.name().is_some() {
        environment.tallies.faults.add("name with other addresses");
        name_entry.show_only(members, has_dead).context("write the servers' name")?;
        show_name_after(environment, lasts);
    }
    Ok(())
}

fn show_name_after(environment: &ProcessEnvironment, time: Duration) {
    let (name_entry, faults_over) =
        (environment.entry_points.name_entry().clone(), environment.faults_over.clone());
    let findings = environment.findings.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = sleep(time) => {}
            () = faults_over.cancelled() => {}
        }
        if let Err(error) = name_entry.show() {
            findings.add(format!("the servers' name could not be written: {error}"));
        }
    });
}

fn fill_disk(environment: &ProcessEnvironment, left: u64, lasts: Duration) -> anyhow::Result<()> {
    let Some(disk) = environment.disk.clone() else { return Ok(()) };
    environment.tallies.faults.add(DISK_FULL);
    disk.fill(left).context("fill the disk")?;
    let (disk, faults_over, findings) =
        (Arc::clone(&disk), environment.faults_over.clone(), environment.findings.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = sleep(lasts) => {}
            () = faults_over.cancelled() => {}
        }
        if let Err(error) = disk.free() {
            findings.add(format!("the disk could not be freed: {error}"));
        }
    });
    Ok(())
}
