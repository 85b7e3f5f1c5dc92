//! CPU time as the kernel counts it, from /proc: user and system together.

use std::{fs, time::Duration};

use anyhow::Context;

/// Of a whole process with all its threads, also ended ones.
pub(crate) fn of_process(pid: u32) -> anyhow::Result<Duration> {
    ticks(pid, 13)
}

/// Of this process's children that have been waited for.
pub(crate) fn of_children() -> anyhow::Result<Duration> {
    ticks(std::process::id(), 15)
}

/// Of the calling thread, to the nanosecond.
pub(crate) fn of_this_thread() -> anyhow::Result<Duration> {
    let path = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let nanoseconds = text.split_whitespace().next().and_then(|field| field.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.with_context(|| format!("{path} is not a number"))?))
}

/// Sums two neighbouring fields of /proc/PID/stat, counted from 0 (proc(5) counts from 1).
fn ticks(pid: u32, field: usize) -> anyhow::Result<Duration> {
    /// USER_HZ: fixed by the kernel's interface to programs.
    const TICKS_PER_SECOND: f64 = 100.0;
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The command's name may contain blanks and brackets: what follows the last bracket starts with field 2.
    let (_, rest) = text.rsplit_once(')').with_context(|| format!("{path} is not as proc(5) says"))?;
    let fields: Vec<u64> =
        rest.split_whitespace().skip(field - 2).take(2).filter_map(|f| f.parse().ok()).collect();
    Ok(Duration::from_secs_f64(fields.iter().sum::<u64>() as f64 / TICKS_PER_SECOND))
}
