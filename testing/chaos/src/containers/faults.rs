//! The faults: each is done to a container, lasts, and is undone.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::container::Container;
use super::environment::{ContainerEnvironment, LockedContainer};
use super::plan::{ContainerFault, Meanwhile, Who};
use super::run;

/// How long a server may take to end after SIGTERM, with what Docker takes for it.
const STOP_TIMEOUT: Duration = Duration::from_secs(7);

/// How often it is tried to pause a server while it holds a lock, and how it is seen that it does:
/// others hold one for a moment only.
const CATCHES_MAX: u32 = 12;
const LOOKS: u32 = 4;
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// What waits for a lock gives up after so long.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the draw may take to come, once a server misses it.
const DRAW_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a server that hears no datagrams may take to know of the draw. A second is promised,
/// but the machine may be busy.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a container that was started without a network stays so.
const ALONE: Duration = Duration::from_secs(1);

/// How often files and logs are looked at.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// Does it, and undoes it. Nothing is done to a client that has ended.
///
/// # Errors
/// Docker failed.
pub async fn cause(
    environment: &ContainerEnvironment,
    fault: ContainerFault,
) -> anyhow::Result<()> {
    match fault {
        ContainerFault::Kill { who, down } => kill(environment, who, down).await,
        ContainerFault::Stop { who, down } => stop(environment, who, down).await,
        ContainerFault::Swap { server, other } => {
            swap(environment, Who::Server(server), other).await
        }
        ContainerFault::Pause { who, pause, holding } => {
            freeze(environment, who, pause, holding).await
        }
        ContainerFault::CutOff { who, away, meanwhile } => {
            cut_off(environment, who, away, meanwhile).await
        }
        ContainerFault::MissDraw { place } => miss_draw(environment, Who::Server(place)).await,
        ContainerFault::Add => add(environment).await,
        ContainerFault::Remove { place } => remove(environment, Who::Server(place)).await,
    }
}

/// Holds `who`, if there is something to be done to it.
async fn hold(
    environment: &ContainerEnvironment,
    who: Who,
) -> anyhow::Result<Option<LockedContainer>> {
    environment.lock(&environment.choose(who)?).await
}

/// Whether it was done: a client may end at any moment, and then it was not.
async fn is_done(held: &LockedContainer, done: anyhow::Result<()>) -> anyhow::Result<bool> {
    let container = &held.managed.container;
    match done {
        Ok(()) => Ok(true),
        Err(_) if !container.is_server() && !container.state().await?.is_running => Ok(false),
        Err(error) => Err(error),
    }
}

async fn kill(environment: &ContainerEnvironment, who: Who, down: Duration) -> anyhow::Result<()> {
    let Some(held) = hold(environment, who).await? else { return Ok(()) };
    let container = &held.managed.container;
    if !is_done(&held, container.kill().await).await? {
        return Ok(());
    }
    environment.tallies.faults.add(if container.is_server() {
        "server killed"
    } else {
        "client killed"
    });
    sleep(down).await;
    container.start().await
}

async fn stop(environment: &ContainerEnvironment, who: Who, down: Duration) -> anyhow::Result<()> {
    let Some(held) = hold(environment, who).await? else { return Ok(()) };
    let container = &held.managed.container;
    stop_in_order(environment, container).await?;
    let is_server = container.is_server();
    environment.tallies.faults.add(if is_server {
        "server stopped by SIGTERM"
    } else {
        "client stopped by SIGTERM"
    });
    sleep(down).await;
    container.start().await
}

/// Ends it by SIGTERM, and sees that it takes no longer than it may and gives the exit code 0.
///
/// A client may end by itself before the signal comes, with whatever code: that is no answer to
/// the signal, and is judged as the ends are of clients to which nothing is done.
async fn stop_in_order(
    environment: &ContainerEnvironment,
    container: &Container,
) -> anyhow::Result<()> {
    let asked_before = if container.is_server() { 0 } else { container.times_asked().await? };
    let begun = Instant::now();
    container.stop().await?;
    let took = begun.elapsed();
    let code = container.state().await?.exit_code;
    let is_asked = container.is_server() || container.times_asked().await? > asked_before;
    let tail = if is_asked { String::new() } else { container.log_tail(5).await? };
    let gave_up = !is_asked && run::gave_up(code, environment.is_impatient, &tail);
    if let Err(wrong) = check_stop(code, took, gave_up) {
        environment.findings.add(format!("{}: {wrong}", container.short_name()));
    }
    Ok(())
}

/// Whether a stop came to what it should; one that `gave_up` had ended before.
fn check_stop(code: i32, took: Duration, gave_up: bool) -> Result<(), String> {
    if took <= STOP_TIMEOUT && (code == 0 || gave_up) {
        return Ok(());
    }
    let seconds = took.as_secs_f32();
    Err(format!("SIGTERM ended it after {seconds:.1} s with exit code {code}"))
}

async fn add(environment: &ContainerEnvironment) -> anyhow::Result<()> {
    environment.add_server().await.context("add a server")?;
    environment.tallies.faults.add("server added");
    Ok(())
}

async fn remove(environment: &ContainerEnvironment, who: Who) -> anyhow::Result<()> {
    let Some(held) = hold(environment, who).await? else { return Ok(()) };
    // One of those that stay may miss the draw, and another has to hold it.
    if environment.servers().len() < 3 {
        return Ok(());
    }
    stop_in_order(environment, &held.managed.container).await?;
    environment.tallies.faults.add("server removed");
    environment.remove(held).await
}

/// Kills both, and starts the second first: Docker gives the lowest address that is free.
async fn swap(environment: &ContainerEnvironment, first: Who, second: Who) -> anyhow::Result<()> {
    let (first, second) = (environment.choose(first)?, environment.choose(second)?);
    if Arc::ptr_eq(&first, &second) {
        return Ok(());
    }
    let Some(both) = environment.lock_both([&first, &second]).await? else { return Ok(()) };
    let [first, second] = [&first.container, &second.container];
    let before = [first.state().await?.address, second.state().await?.address];
    first.kill().await?;
    let [_, held] = &both;
    if is_done(held, second.kill().await).await? {
        second.start().await?;
    }
    first.start().await?;
    let after = [first.state().await?.address, second.state().await?.address];
    let is_taken = before[0] == after[1] || before[1] == after[0];
    environment.tallies.faults.add(match (is_taken, second.is_server()) {
        (true, true) => "server killed, its address taken by another server",
        (true, false) => "server killed, its address taken by a client",
        (false, _) => "two killed at once",
    });
    Ok(())
}

async fn freeze(
    environment: &ContainerEnvironment,
    who: Who,
    pause: Duration,
    holding: bool,
) -> anyhow::Result<()> {
    let Some(held) = hold(environment, who).await? else { return Ok(()) };
    let container = &held.managed.container;
    if !is_done(&held, container.pause().await).await? {
        return Ok(());
    }
    let mut holds = container.is_server() && is_locked(environment).await;
    for _ in 0..if holding { CATCHES_MAX } else { 0 } {
        if holds {
            break;
        }
        container.unpause().await?;
        container.pause().await?;
        holds = is_locked(environment).await;
    }
    environment.tallies.faults.add(match (container.is_server(), holds, pause > LOCK_TIMEOUT) {
        (false, ..) => "client paused",
        (true, false, false) => "server paused",
        (true, false, true) => "server paused over 5 s",
        (true, true, false) => "server paused with a lock",
        (true, true, true) => "server paused with a lock over 5 s",
    });
    sleep(pause).await;
    container.unpause().await
}

/// Whether somebody holds a lock of the volume, and does not give it back.
async fn is_locked(environment: &ContainerEnvironment) -> bool {
    for _ in 0..LOOKS {
        if !is_locked_now(environment) {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}

fn is_locked_now(environment: &ContainerEnvironment) -> bool {
    let locks = environment.volume.path().join("locks");
    ["bets.csv.lock", "agencies_closed.lock"].iter().any(|name| {
        File::open(locks.join(name))
            .is_ok_and(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
    })
}

async fn cut_off(
    environment: &ContainerEnvironment,
    who: Who,
    away: Duration,
    meanwhile: Meanwhile,
) -> anyhow::Result<()> {
    let Some(held) = hold(environment, who).await? else { return Ok(()) };
    let container = &held.managed.container;
    let waits = !container.is_server() && is_waiting(container).await?;
    container.disconnect().await?;
    environment.tallies.faults.add(match (container.is_server(), waits, meanwhile) {
        (true, _, Meanwhile::Nothing) => "server cut off",
        (true, _, Meanwhile::Killed) => "server cut off, and killed meanwhile",
        (true, _, Meanwhile::Stopped) => "server cut off, and stopped by SIGTERM meanwhile",
        (false, false, Meanwhile::Nothing) => "client cut off",
        (false, true, Meanwhile::Nothing) => "client cut off while it waited for its winners",
        (false, _, Meanwhile::Killed) => "client cut off, and killed meanwhile",
        (false, _, Meanwhile::Stopped) => "client cut off, and stopped by SIGTERM meanwhile",
    });
    sleep(away).await;
    // What gave up is run again when it has a network.
    if meanwhile != Meanwhile::Nothing && container.state().await?.is_running {
        if meanwhile == Meanwhile::Killed {
            is_done(&held, container.kill().await).await?;
        } else {
            stop_in_order(environment, container).await?;
        }
        container.start().await?;
        sleep(ALONE).await;
    }
    container.connect().await
}

/// Whether a client has closed.
async fn is_waiting(client: &Container) -> anyhow::Result<bool> {
    let tail = client.log_tail(3).await?;
    Ok(["agencia_cerrada", "consulta_ganadores"].iter().any(|action| tail.contains(action)))
}

async fn miss_draw(environment: &ContainerEnvironment, who: Who) -> anyhow::Result<()> {
    let Some(held) = hold(environment, who).await? else { return Ok(()) };
    let container = &held.managed.container;
    if environment.volume.draw().exists() {
        return Ok(());
    }
    container.disconnect().await?;
    let (begun, volume) = (Instant::now(), &environment.volume);
    while !volume.draw().exists() && begun.elapsed() < DRAW_TIMEOUT {
        sleep(POLL_EVERY).await;
    }
    if volume.draw().exists() {
        environment.tallies.faults.add("server cut off at the draw");
        check_known(environment, container).await?;
    }
    container.connect().await
}

/// Sees that a server knows of the draw, though no datagram reaches it.
async fn check_known(environment: &ContainerEnvironment, server: &Container) -> anyhow::Result<()> {
    let drawn = Instant::now();
    while !server.log_tail(20).await?.contains("action: sorteo") {
        if drawn.elapsed() > KNOWN_TIMEOUT {
            let (name, seconds) = (server.short_name(), KNOWN_TIMEOUT.as_secs());
            let finding = format!("{name}, without a network, knew of no draw after {seconds} s");
            environment.findings.add(finding);
            return Ok(());
        }
        sleep(POLL_EVERY).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_in_order_and_in_time_unless_the_client_had_given_up_before() {
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(8));
        for (code, took, gave_up, is_right) in [
            (0, soon, false, true),
            (1, soon, true, true),
            (1, soon, false, false),
            (137, late, false, false),
            (0, late, false, false),
        ] {
            assert_eq!(check_stop(code, took, gave_up).is_ok(), is_right, "{code} {took:?}");
        }
    }
}
