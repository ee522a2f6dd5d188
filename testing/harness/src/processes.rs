//! What processes take of the machine, as the system tells it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};

/// In what the system counts a process's time: a hundredth of a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of all threads of process `id` since its start, and of its ended children that
/// it has waited for.
///
/// # Errors
/// There is no such process.
pub fn processor_time(id: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The second field is the program's name in brackets, which may hold anything.
    let fields = text.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks: Option<u32> =
        fields.split_ascii_whitespace().skip(11).take(4).map(|n| n.parse::<u32>().ok()).sum();
    ticks.map(|ticks| TICK * ticks).ok_or_else(|| anyhow!("{path} is not as expected"))
}

/// Processor time of all processes since the machine's start, and what its host kept of it.
///
/// # Errors
/// The system does not tell.
pub fn machine_time() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let fields = text.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = fields.take(8).enumerate().filter(|(place, _)| ![3, 4].contains(place));
    let ticks: Option<u64> = busy.map(|(_, ticks)| ticks.parse::<u64>().ok()).sum();
    let ticks = ticks.ok_or_else(|| anyhow!("/proc/stat is not as expected"))?;
    Ok(Duration::from_millis(ticks * 10))
}

/// The most memory that process `id` ever had resident, in MiB (VmHWM).
///
/// # Errors
/// There is no such process.
pub fn memory_high_mib(id: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = high.and_then(|high| high.trim().trim_end_matches(" kB").parse::<f64>().ok());
    let kibibytes = kibibytes.ok_or_else(|| anyhow!("{path} has no VmHWM"))?;
    Ok(kibibytes / 1024.0)
}

/// Processor time of process `id` and of all its children, running or ended.
///
/// # Errors
/// There is no such process.
pub fn family_time(id: u32) -> anyhow::Result<Duration> {
    // A child that ends meanwhile is counted with its parent from then on.
    let children = children(id)?.into_iter().filter_map(|child| processor_time(child).ok());
    Ok(children.sum::<Duration>() + processor_time(id)?)
}

/// What process `id` and its children have resident now, in MiB; what they share counts once
/// (Pss).
///
/// # Errors
/// There is no such process.
pub fn family_memory_mib(id: u32) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for id in children(id)?.into_iter().chain([id]) {
        // It may have ended meanwhile.
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let share = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kibibytes = share.and_then(|share| share.trim().trim_end_matches(" kB").parse().ok());
        sum += kibibytes.unwrap_or(0.0);
    }
    Ok(sum / 1024.0)
}

/// Found by their parents' numbers: the kernel's own list of children is not reliable while any
/// of them ends.
fn children(id: u32) -> anyhow::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("list all processes")?;
    let all = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(all.filter(|&child| parent(child) == Some(id)).collect())
}

fn parent(id: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// A thread of this process, as another one may look at it.
#[derive(Debug, Clone)]
pub struct Thread(PathBuf);

impl Thread {
    /// The calling one.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn this() -> anyhow::Result<Self> {
        let name = fs::read_link("/proc/thread-self").context("read /proc/thread-self")?;
        Ok(Self(Path::new("/proc").join(name).join("schedstat")))
    }

    /// Its processor time.
    ///
    /// # Errors
    /// It has ended, or the system does not tell.
    pub fn time(&self) -> anyhow::Result<Duration> {
        let text = fs::read_to_string(&self.0).context("read schedstat")?;
        let nanoseconds = text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok());
        nanoseconds.map(Duration::from_nanos).ok_or_else(|| anyhow!("schedstat is not as expected"))
    }
}

/// Processor time of the calling thread.
///
/// # Errors
/// The system does not tell.
pub fn this_thread() -> anyhow::Result<Duration> {
    Thread::this()?.time()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_process_and_its_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = std::process::id();
        assert!(children(id).unwrap().contains(&child.id()));
        assert!(family_time(id).unwrap() >= processor_time(child.id()).unwrap());
        assert!(family_memory_mib(id).unwrap() > 0.5);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn this_process_takes_time_and_memory() {
        let id = std::process::id();
        let before = this_thread().unwrap();
        while processor_time(id).unwrap() < TICK * 2 {
            std::hint::spin_loop();
        }
        assert!(this_thread().unwrap() > before);
        assert!(machine_time().unwrap() >= processor_time(id).unwrap());
        assert!(memory_high_mib(id).unwrap() > 0.5);
    }
}
