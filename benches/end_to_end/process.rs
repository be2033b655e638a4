//! The resources that this process has used.

/// Processor time of all its threads, in seconds.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |position: usize| {
        fields
            .get(position)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

/// Its peak resident memory, in MiB.
pub fn peak_rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let digits: String = line
        .unwrap_or("0")
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse::<u64>().unwrap_or(0) / 1024
}

/// Restarts this process with few arenas, as a service with many threads should be started: glibc gives each
/// thread of the Kafka client an arena of its own, and memory freed there stays there. With still fewer, threads
/// wait for each other.
pub fn with_few_arenas() -> std::io::Result<()> {
    use std::os::unix::process::CommandExt as _;
    if !cfg!(target_env = "gnu") || std::env::var_os("MALLOC_ARENA_MAX").is_some() {
        return Ok(());
    }
    let mut again = std::process::Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1));
    again.env("MALLOC_ARENA_MAX", "8");
    again.env("MALLOC_TRIM_THRESHOLD_", "1048576");
    // Returns only if it has failed.
    Err(again.exec())
}
