//! One attack: made some times on one server, measured, and judged.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::attack::{Attack, Scale, Signals, Tally, Target};
use super::ordinary::Ordinary;
use super::stored;
use super::summary::Outcome;
use super::target_server::TargetServer;
use harness::processes;

/// How long an attack may take to be in full swing, and to end.
const ATTACK_TIMEOUT: Duration = Duration::from_secs(1_800);

/// How long the ordinary load is left alone before it is measured.
const WARM_UP: Duration = Duration::from_millis(100);

/// In how many rounds it is measured what the attack alone takes of the processors.
const ROUNDS_ALONE: u32 = 3;

/// How many lines a server may log at which a person should look, in each round.
const ALARM_LINES_MAX: u64 = 200;

/// Holds the attack; what is not right is in the outcome.
pub async fn hold(attack: Attack, scale: Scale, seed: u64, binary: &Path) -> Outcome {
    let mut outcome = Outcome::new(attack);
    let started = Instant::now();
    match TargetServer::start(attack, binary).await {
        Ok(mut server) => {
            if let Err(error) = run_rounds(&mut server, attack, scale, seed, &mut outcome).await {
                outcome.findings.push(format!("{error:#}"));
            }
            judge(attack, scale, &mut outcome);
            if !outcome.findings.is_empty() {
                outcome.kept = Some(server.keep());
            }
        }
        Err(error) => outcome.findings.push(format!("{error:#}")),
    }
    outcome.took = started.elapsed();
    outcome
}

async fn run_rounds(
    server: &mut TargetServer,
    attack: Attack,
    scale: Scale,
    seed: u64,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let load = Ordinary::start(server.address())?;
    let mut tally = Tally::default();
    sleep(WARM_UP).await;
    outcome.calm.push(rate(&load, scale.window).await);
    for round in 0..scale.rounds {
        let (address, udp, id) = (server.address(), server.udp()?, server.id()?);
        let target = Target { address, udp, id, seed, round, scale };
        let made = make(attack, target, server, &load, outcome).await;
        match made {
            Ok(made) => tally.add(made),
            // The load's own failure says more than what followed from it.
            Err(error) if !load.has_failed() => return Err(error),
            Err(_) => break,
        }
        sleep(WARM_UP).await;
        outcome.calm.push(rate(&load, scale.window).await);
    }
    let ordinary = load.end().await?;
    outcome.memory_mib = server.memory_mib()?;
    server.check_alive().await?;
    server.stop().await?;
    let found = stored::compare(&server.volume, &ordinary, &tally.stored)?;
    outcome.findings.append(&mut tally.findings);
    outcome.findings.extend(found);
    outcome.alarms = server.alarms(attack)?;
    outcome.sent = tally;
    Ok(())
}

/// One round: a window under the attack, and in some one with it alone.
async fn make(
    attack: Attack,
    target: Target,
    server: &TargetServer,
    load: &Ordinary,
    outcome: &mut Outcome,
) -> anyhow::Result<Tally> {
    let (window, is_alone) = (target.scale.window, target.round < ROUNDS_ALONE);
    let stop = CancellationToken::new();
    let (ready, is_ready) = oneshot::channel();
    let mut ended = start_thread(attack, target, Signals { ready, stop: stop.clone() })?;
    let _ = timeout(ATTACK_TIMEOUT, is_ready).await.context("wait for the attack")?;
    let _ = load.slowest();
    outcome.during.push(rate(load, window).await);
    outcome.slowest = outcome.slowest.max(load.slowest());
    if is_alone && !load.has_failed() {
        load.rest();
        sleep(WARM_UP).await;
        let (server, attacker) = shares(server, window).await?;
        outcome.processor.push(server);
        outcome.attacker.push(attacker);
        load.go_on();
    }
    stop.cancel();
    let tally = timeout(ATTACK_TIMEOUT, &mut ended).await.context("wait for the attack's end")?;
    tally.map_err(|_| anyhow!("the attack's thread panicked"))?.context("attack")
}

/// What shares of a processor the server and this program take over `window`.
async fn shares(server: &TargetServer, window: Duration) -> anyhow::Result<(f64, f64)> {
    let times = || Ok((server.processor_time()?, processes::processor_time(std::process::id())?));
    let (before, since): (anyhow::Result<_>, _) = (times(), Instant::now());
    let before = before?;
    sleep(window).await;
    let after: (Duration, Duration) = times()?;
    let share = |after: Duration, before: Duration| {
        after.saturating_sub(before).as_secs_f64() / since.elapsed().as_secs_f64()
    };
    Ok((share(after.0, before.0), share(after.1, before.1)))
}

/// Rows a second over `window`.
async fn rate(load: &Ordinary, window: Duration) -> f64 {
    let (before, since) = (load.stored(), Instant::now());
    sleep(window).await;
    (load.stored() - before) as f64 / since.elapsed().as_secs_f64()
}

/// Attacks on a thread of their own, whose time nobody else waits for.
fn start_thread(
    attack: Attack,
    target: Target,
    signals: Signals,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<Tally>>> {
    let (tell, told) = oneshot::channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("start the attack");
        let _ = tell.send(runtime.and_then(|r| r.block_on(attack.begin(target, signals))));
    };
    thread::Builder::new().name("attack".to_owned()).spawn(run).context("start the attack")?;
    Ok(told)
}

fn judge(attack: Attack, scale: Scale, outcome: &mut Outcome) {
    let mut findings = Vec::new();
    let most = attack.memory_mib_most();
    if outcome.memory_mib > most {
        findings.push(format!("{:.1} MiB resident, {most:.0} are allowed", outcome.memory_mib));
    }
    let alarms = &outcome.alarms;
    if alarms.lines > ALARM_LINES_MAX * u64::from(scale.rounds) {
        findings.push(format!("{} alarms in the log, {} bytes", alarms.lines, alarms.bytes));
    }
    if let Some(line) = &alarms.first_unexpected {
        findings.push(format!("an alarm that the attack does not explain: {line}"));
    }
    if scale.is_judged {
        if let (Some(least), Some(ratio)) = (attack.throughput_least(), outcome.ratio())
            && ratio < least
        {
            findings.push(format!("{ratio:.2} of the throughput is left, less than {least}"));
        }
        if let (Some(most), Some(share)) = (attack.processor_most(), outcome.processor())
            && share > most
        {
            findings.push(format!("{share:.2} of a processor alone, more than {most}"));
        }
    }
    outcome.findings.extend(findings);
}
