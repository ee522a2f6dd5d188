//! One attack: made some times on one server, measured, and judged.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::attack::{Attack, Report, Scale, Target};
use super::ordinary::Ordinary;
use super::stored;
use super::summary::AttackResult;
use super::target_server::TargetServer;
use harness::processes::processor_time;

/// How long an attack may take to be in full effect, and to end.
const ATTACK_TIMEOUT: Duration = Duration::from_secs(1_800);

/// How long the ordinary load is left alone before it is measured.
const WARM_UP: Duration = Duration::from_millis(100);

/// In how many rounds it is measured what the attack alone takes of the processors.
const ROUNDS_ALONE: u32 = 3;

/// How many alarms a server may log in each round.
const ALARM_LINES_MAX: u64 = 200;

/// Makes the attack; what is wrong is in the result.
pub async fn hold(attack: Attack, scale: Scale, seed: u64, binary: &Path) -> AttackResult {
    let mut result = AttackResult { attack: attack.name(), ..AttackResult::default() };
    let started = Instant::now();
    match TargetServer::start(attack, binary).await {
        Ok(mut server) => {
            if let Err(error) = run_rounds(&mut server, attack, scale, seed, &mut result).await {
                result.findings.push(format!("{error:#}"));
            }
            judge(attack, scale, &mut result);
            if !result.findings.is_empty() {
                result.directory = Some(server.keep());
            }
        }
        Err(error) => result.findings.push(format!("{error:#}")),
    }
    result.seconds = started.elapsed().as_secs_f64();
    result
}

async fn run_rounds(
    server: &mut TargetServer,
    attack: Attack,
    scale: Scale,
    seed: u64,
    result: &mut AttackResult,
) -> anyhow::Result<()> {
    let (address, udp, id) = (server.address(), server.udp()?, server.id()?);
    let load = Ordinary::start(address)?;
    sleep(WARM_UP).await;
    result.without.push(rate(&load, scale.window).await);
    for round in 0..scale.rounds {
        let (ready, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let target = Target { address, udp, id, seed, round, scale, ready, stop };
        match run_round(attack, target, &load, result).await {
            Ok(report) => result.sent.add(report),
            // The load's own failure says more than what followed from it.
            Err(error) if !load.has_failed() => return Err(error),
            Err(_) => break,
        }
        sleep(WARM_UP).await;
        result.without.push(rate(&load, scale.window).await);
    }
    let ordinary = load.end().await?;
    result.slowest = ordinary.iter().map(|agency| agency.slowest).max().unwrap_or_default();
    result.memory_mib = harness::processes::memory_high_mib(id)?;
    server.end().await?;
    result.findings = stored::compare(&server.volume, &ordinary, &result.sent)?;
    result.alarms = server.alarms(attack)?;
    Ok(())
}

/// One round: a window under the attack, and in the first rounds one with the attack alone.
async fn run_round(
    attack: Attack,
    target: Target,
    load: &Ordinary,
    result: &mut AttackResult,
) -> anyhow::Result<Report> {
    let Target { id, round, scale: Scale { window, .. }, .. } = target;
    let (ready, stop) = (Arc::clone(&target.ready), target.stop.clone());
    let mut ended = on_thread("attack", async move || attack.make(&target).await)?;
    let is_ready = async {
        tokio::select! {
            () = ready.notified() => None,
            ended = &mut ended => Some(ended),
        }
    };
    if let Some(ended) = timeout(ATTACK_TIMEOUT, is_ready).await.context("wait for the attack")? {
        return ended.context("the attack's thread panicked")?.context("attack");
    }
    result.under.push(rate(load, window).await);
    if round < ROUNDS_ALONE && !load.has_failed() {
        load.rest();
        sleep(WARM_UP).await;
        let started = Instant::now();
        let before = (processor_time(id)?, processor_time(std::process::id())?);
        sleep(window).await;
        let after = (processor_time(id)?, processor_time(std::process::id())?);
        let share = |taken: Duration| taken.as_secs_f64() / started.elapsed().as_secs_f64();
        result.processor.push(share(after.0 - before.0));
        result.attacker.push(share(after.1 - before.1));
        load.go_on();
    }
    stop.cancel();
    let ended = timeout(ATTACK_TIMEOUT, ended).await.context("wait for the attack's end")?;
    ended.context("the attack's thread panicked")?.context("attack")
}

/// Rows a second over `window`.
async fn rate(load: &Ordinary, window: Duration) -> f64 {
    let (before, since) = (load.stored(), Instant::now());
    sleep(window).await;
    (load.stored() - before) as f64 / since.elapsed().as_secs_f64()
}

/// Runs `task` on a thread of its own, so that it is not delayed by what else this program does.
///
/// # Errors
/// There is no thread for it.
pub fn on_thread<T: Send + 'static>(
    name: &'static str,
    task: impl AsyncFnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<T>>> {
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let _ = sender.send(runtime.context(name).and_then(|runtime| runtime.block_on(task())));
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).context(name)?;
    Ok(receiver)
}

fn judge(attack: Attack, scale: Scale, result: &mut AttackResult) {
    let (alarms, memory) = (&result.alarms, result.memory_mib);
    let mut add = |finding| result.findings.push(finding);
    if memory > attack.memory_mib_most() {
        let most = attack.memory_mib_most();
        add(format!("{memory:.1} MiB resident, {most:.0} are allowed"));
    }
    if alarms.lines > ALARM_LINES_MAX * u64::from(scale.rounds) {
        add(format!("{} alarms in the log, {} bytes", alarms.lines, alarms.bytes));
    }
    if let Some(line) = &alarms.first_unexpected {
        add(format!("an alarm that the attack does not explain: {line}"));
    }
    if !scale.is_judged {
        return;
    }
    if let (Some(least), Some(ratio)) = (attack.throughput_least(), result.ratio())
        && ratio < least
    {
        result.findings.push(format!("{ratio:.2} of the throughput is left, less than {least}"));
    }
    if let (Some(most), Some(share)) = (attack.processor_most(), result.processor())
        && share > most
    {
        result.findings.push(format!("{share:.2} of a processor alone, more than {most}"));
    }
}
