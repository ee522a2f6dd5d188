//! What processes take of the machine, as the system says.

use std::time::Duration;

use anyhow::Context as _;
use procfs::process::{Process, Task, all_processes};
use procfs::{CurrentSI as _, KernelStats};

/// In what the system counts a process's time: a hundredth of a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

fn process(id: u32) -> anyhow::Result<Process> {
    Process::new(id.cast_signed()).with_context(|| format!("find process {id}"))
}

/// Processor time of all threads of process `id` since its start, and of its ended children that
/// it has waited for.
///
/// # Errors
/// There is no such process.
pub fn processor_time(id: u32) -> anyhow::Result<Duration> {
    let stat = process(id)?.stat().context("read a process's times")?;
    let ticks = stat.utime + stat.stime + (stat.cutime + stat.cstime).cast_unsigned();
    Ok(TICK * ticks as u32)
}

/// Processor time of all processes since the machine's start, and what its host kept of it.
///
/// # Errors
/// The system does not say.
pub fn machine_time() -> anyhow::Result<Duration> {
    let total = KernelStats::current().context("read the machine's times")?.total;
    let rest = [total.irq, total.softirq, total.steal].into_iter().flatten().sum::<u64>();
    Ok(Duration::from_millis((total.user + total.nice + total.system + rest) * 10))
}

/// The most memory that process `id` ever had resident, in MiB.
///
/// # Errors
/// There is no such process.
pub fn memory_high_mib(id: u32) -> anyhow::Result<f64> {
    let kibibytes = process(id)?.status().context("read a process's memory")?.vmhwm;
    Ok(kibibytes.context("the process has ended")? as f64 / 1024.0)
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

/// What process `id` and its children have resident now, in MiB; what they share counts once.
///
/// # Errors
/// There is no such process.
pub fn family_memory_mib(id: u32) -> anyhow::Result<f64> {
    let share = |id: u32| {
        // It may have ended meanwhile.
        let rollup = process(id).ok()?.smaps_rollup().ok()?;
        rollup.memory_map_rollup.into_iter().next()?.extension.map.get("Pss").copied()
    };
    let bytes: u64 = children(id)?.into_iter().chain([id]).filter_map(share).sum();
    Ok(bytes as f64 / (1024.0 * 1024.0))
}

/// Found by their parents' numbers: the kernel's own list of children is not reliable while any
/// of them ends.
fn children(id: u32) -> anyhow::Result<Vec<u32>> {
    let all = all_processes().context("list all processes")?.filter_map(Result::ok);
    let stats = all.filter_map(|process| process.stat().ok());
    let children = stats.filter(|stat| stat.ppid.cast_unsigned() == id);
    Ok(children.map(|stat| stat.pid.cast_unsigned()).collect())
}

/// A thread of this process, as another one may look at it.
#[derive(Debug)]
pub struct Thread(Task);

impl Thread {
    /// The calling one.
    ///
    /// # Errors
    /// The system does not say.
    pub fn this() -> anyhow::Result<Self> {
        let id = rustix::thread::gettid().as_raw_nonzero().get();
        let task = Process::myself().and_then(|process| process.task_from_tid(id));
        task.context("find this thread").map(Self)
    }

    /// Its processor time.
    ///
    /// # Errors
    /// It has ended, or the system does not say.
    pub fn time(&self) -> anyhow::Result<Duration> {
        let times = self.0.schedstat().context("read a thread's time")?;
        Ok(Duration::from_nanos(times.sum_exec_runtime))
    }
}

/// Processor time of the calling thread.
///
/// # Errors
/// The system does not say.
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
