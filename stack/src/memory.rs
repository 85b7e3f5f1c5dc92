//! What a process holds of this machine's memory.

use std::fs;

use anyhow::Context;

/// Resident memory, bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All of it.
    pub resident: u64,
    /// The part that belongs to no file: heap and stacks.
    pub anonymous: u64,
}

impl Memory {
    /// Of a process that runs, as its /proc/PID/status says.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let bytes = |field: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            let kibibytes = line.and_then(|line| line.trim_start_matches(':').trim().strip_suffix(" kB"));
            let kibibytes = kibibytes.with_context(|| format!("{path} has no {field}"))?;
            anyhow::Ok(kibibytes.trim().parse::<u64>()? * 1024)
        };
        Ok(Self { resident: bytes("VmRSS")?, anonymous: bytes("RssAnon")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_cannot_be_read() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.resident >= memory.anonymous && memory.anonymous > 0, "{memory:?}");
    }
}
