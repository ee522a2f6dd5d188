//! Has a fault happen. What takes a while goes on by itself, and ends when it is calm.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::client_seat::ClientCommand;
use super::fault::{DISK_FULL, Fault};
use super::server_seat::Command;
use super::stage::Stage;
use super::verdict;

/// Causes `fault`.
///
/// # Errors
/// It cannot be done.
pub async fn cause(fault: &Fault, stage: &mut Stage) -> anyhow::Result<()> {
    match fault.clone() {
        Fault::KillAllServers { down } => return kill_all(stage, down).await,
        Fault::Twin { agency, batch } => return stage.start_twin(agency, batch),
        Fault::MoveServer { place, down, stale } => {
            return move_server(stage, place, down, stale).await;
        }
        Fault::ChangeName { members, has_dead, lasts } => {
            return change_name(stage, &members, has_dead, lasts);
        }
        Fault::FillDisk { left, lasts } => return fill_disk(stage, left, lasts),
        Fault::KillServer { place, holding, down, false_starts } => {
            tell_server(stage, place, Command::Kill { holding, down, false_starts });
        }
        Fault::TearServer { place, bytes, down } => {
            let stored = std::fs::metadata(stage.volume.bets()).map_or(0, |file| file.len());
            tell_server(stage, place, Command::Tear { limit: stored + bytes, down });
        }
        Fault::StopServer { place, down } => tell_server(stage, place, Command::Stop { down }),
        Fault::PauseServer { place, pause, holding } => {
            tell_server(stage, place, Command::Pause { pause, holding });
        }
        Fault::EndClient { agency, kill, down, batch } => {
            tell_client(stage, agency, ClientCommand::End { kill, down, batch });
        }
        Fault::PauseClient { agency, pause } => {
            tell_client(stage, agency, ClientCommand::Pause(pause));
        }
    }
    Ok(())
}

/// A seat that is gone has failed, which is told when it is taken back.
fn tell_server(stage: &Stage, place: usize, command: Command) {
    stage.commands.get(place).map(|server| server.send(command));
}

/// One that has ended with its winners needs no more commands.
fn tell_client(stage: &Stage, agency: u32, command: ClientCommand) {
    stage.clients.get(agency as usize - 1).map(|client| client.send(command));
}

/// Kills all servers, looks at what they left, and starts them again.
async fn kill_all(stage: &Stage, down: Duration) -> anyhow::Result<()> {
    let (mut dead, mut starts) = (Vec::new(), Vec::new());
    for server in &stage.commands {
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
    verdict::look_at_remains(stage).context("look at what killed servers left")?;
    sleep(down).await;
    drop(starts);
    Ok(())
}

/// What stands before the server moves at once, the server itself when it is back.
async fn move_server(
    stage: &mut Stage,
    place: usize,
    down: Duration,
    stale: Duration,
) -> anyhow::Result<()> {
    stage.front.move_away(place).await?;
    let ip = stage.next_address(place);
    tell_server(stage, place, Command::Move { down, ip });
    show_name_after(stage, down + stale);
    Ok(())
}

fn change_name(
    stage: &Stage,
    members: &[usize],
    has_dead: bool,
    lasts: Duration,
) -> anyhow::Result<()> {
    let listing = stage.front.listing();
    if listing.name().is_some() {
        stage.tallies.faults.add("name with other addresses");
        listing.show_only(members, has_dead).context("write the servers' name")?;
        show_name_after(stage, lasts);
    }
    Ok(())
}

fn show_name_after(stage: &Stage, time: Duration) {
    let (listing, calm) = (stage.front.listing().clone(), stage.calm.clone());
    let findings = stage.findings.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = sleep(time) => {}
            () = calm.cancelled() => {}
        }
        if let Err(error) = listing.show() {
            findings.add(format!("the servers' name could not be written: {error}"));
        }
    });
}

fn fill_disk(stage: &Stage, left: u64, lasts: Duration) -> anyhow::Result<()> {
    let Some(disk) = stage.disk.clone() else { return Ok(()) };
    stage.tallies.faults.add(DISK_FULL);
    disk.fill(left).context("fill the disk")?;
    let (disk, calm, findings) = (Arc::clone(&disk), stage.calm.clone(), stage.findings.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = sleep(lasts) => {}
            () = calm.cancelled() => {}
        }
        if let Err(error) = disk.free() {
            findings.add(format!("the disk could not be freed: {error}"));
        }
    });
    Ok(())
}
