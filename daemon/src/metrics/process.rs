//! What the kernel knows of this process and its machine: read from /proc when somebody asks for it.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::{Metric, series::reach};

/// USER_HZ: fixed by the kernel's interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Takes over what the kernel says now. What it does not say on this machine keeps its last value.
pub(super) fn observe() {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    if let Some(seconds) = cpu_seconds(&read("/proc/self/stat")) {
        reach(&Metric::ProcessCpu.counter([]), seconds);
    }
    let status = read("/proc/self/status");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let number = |name: &str| field(name)?.split(' ').next()?.parse::<f64>().ok();
    if let Some(kilobytes) = number("VmRSS:") {
        Metric::ProcessMemory.gauge([]).set(kilobytes * 1024.0);
    }
    if let Some(threads) = number("Threads:") {
        Metric::ProcessThreads.gauge([]).set(threads);
    }
    reach(&Metric::ProcessCpuWait.counter([]), cpu_wait_seconds());
    if let Some(allowed) = field("Cpus_allowed:").map(set_bits) {
        let group = read("/proc/self/cgroup");
        let limit = group.lines().find_map(|line| line.strip_prefix("0::")).and_then(group_limit);
        Metric::ProcessCores.gauge([]).set(limit.map_or(allowed, |limit| limit.min(allowed)));
    }
    let (cores, idle_seconds) = machine(&read("/proc/stat"));
    if cores > 0 {
        Metric::MachineCores.gauge([]).set(cores as f64);
        reach(&Metric::MachineIdle.counter([]), idle_seconds);
    }
}

/// User and system time of /proc/PID/stat.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the command in parentheses, and may hold anything: count from behind it.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11).map(str::parse::<f64>);
    Some((fields.next()?.ok()? + fields.next()?.ok()?) / TICKS_PER_SECOND)
}

/// What all threads together have waited for a core. Of those that ended, what was seen of them last.
fn cpu_wait_seconds() -> f64 {
    /// Nanoseconds of the threads that live, and of all together.
    static SEEN: Mutex<Option<(HashMap<String, u64>, u64)>> = Mutex::new(None);
    let waits = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        // Time on a core, time waiting for one, and turns.
        let waited = text.split_whitespace().nth(1)?.parse::<u64>().ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), waited))
    });
    let now: HashMap<String, u64> = waits.collect();
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (before, total) = seen.get_or_insert_default();
    // The number of a thread that ended may be used again.
    *total += now
        .iter()
        .map(|(task, waited)| waited.saturating_sub(before.get(task).copied().unwrap_or(0)))
        .sum::<u64>();
    *before = now;
    *total as f64 / 1e9
}

/// How many cores a mask of /proc/PID/status names: hexadecimal words with commas between them.
fn set_bits(mask: &str) -> f64 {
    mask.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| f64::from(digit.count_ones())).sum()
}

/// The cores that a control group and those around it leave it; none without a limit.
fn group_limit(group: &str) -> Option<f64> {
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(group.trim_start_matches('/'));
    let limits = own.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(|folder| {
        let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
        quota(&text)
    });
    limits.min_by(f64::total_cmp)
}

/// `cpu.max`: microseconds in each period of so many, or `max`.
fn quota(cpu_max: &str) -> Option<f64> {
    let (quota, period) = cpu_max.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

/// The cores of this machine and what they idled, waiting for disks included, from /proc/stat.
fn machine(stat: &str) -> (usize, f64) {
    let cores = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let idle = all.split_whitespace().skip(3).take(2).filter_map(|field| field.parse::<f64>().ok());
    (cores, idle.sum::<f64>() / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_is_misread() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194560 2517 0 0 0 131 58 0 0 20 0 1 0 1234 5 6";
        assert_eq!(cpu_seconds(stat), Some(1.89));
        assert_eq!(set_bits("ff,0000000f"), 12.0);
        assert_eq!((quota("150000 100000\n"), quota("max 100000\n")), (Some(1.5), None));
        let stat =
            "cpu  10 20 30 400 50 6 7 0 0 0\ncpu0 1 2 3 4 5 6 7 0 0 0\ncpu1 1 2 3 4 5 6 7 0 0 0\nintr 5 0\n";
        assert_eq!(machine(stat), (2, 4.5));
    }

    #[test]
    fn wait_for_a_core_shrinks_when_a_thread_ends() {
        let mut last = cpu_wait_seconds();
        for _ in 0..20 {
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| (0..2_000_000_u64).map(std::hint::black_box).sum::<u64>());
                }
            });
            let now = cpu_wait_seconds();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }
}
