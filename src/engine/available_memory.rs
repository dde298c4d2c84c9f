//! How much memory this process may still take: the least of what the machine has free and what its control
//! groups allow (version 2 or 1, Linux).

use std::fs;
use std::path::Path;

/// `None` where neither can be read.
pub fn available_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo_available(&text));
    [machine, cgroup_v2_available(), cgroup_v1_available()].into_iter().flatten().min()
}

/// The memory this process holds (`VmRSS:`) or has held at most (`VmHWM:`), mapped files included; `None` where the system does not
/// say.
pub fn process_memory(key: &str) -> Option<u64> {
    kib_behind(&fs::read_to_string("/proc/self/status").ok()?, key)
}

fn meminfo_available(text: &str) -> Option<u64> {
    kib_behind(text, "MemAvailable:")
}

fn kib_behind(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The least over the process's group and its ancestors, each of which may set a limit.
fn cgroup_v2_available() -> Option<u64> {
    let root = Path::new("/sys/fs/cgroup");
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let groups = Path::new(path).ancestors().map(|group| root.join(group));
    groups.filter_map(|group| group_available(&group, "memory.max", "memory.current", "inactive_file")).min()
}

fn cgroup_v1_available() -> Option<u64> {
    let group = Path::new("/sys/fs/cgroup/memory");
    group_available(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
}

fn group_available(group: &Path, limit: &str, usage: &str, reclaimable: &str) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let limit = read(limit)?.trim().parse().ok()?; // "max" is no limit
    let usage = read(usage)?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    Some(headroom(limit, usage, &stat, reclaimable))
}

/// Page cache that the kernel would give back counts as free.
fn headroom(limit: u64, usage: u64, stat: &str, reclaimable: &str) -> u64 {
    let fields = stat.lines().filter_map(|line| line.split_once(' '));
    let cache =
        fields.filter(|(name, _)| *name == reclaimable).find_map(|(_, value)| value.trim().parse().ok());
    limit.saturating_sub(usage.saturating_sub(cache.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(meminfo_available(text), Some(1 << 20));
        assert_eq!(meminfo_available("MemTotal: 1 kB"), None);
        assert_eq!(headroom(1000, 700, "anon 400\ninactive_file 200\n", "inactive_file"), 500);
        assert_eq!(headroom(1000, 1200, "", "inactive_file"), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory() {
        for key in ["VmRSS:", "VmHWM:"] {
            assert!(process_memory(key).is_some_and(|bytes| bytes > 1 << 20), "{key}");
        }
        assert_eq!(process_memory("VmNone:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_some() {
        assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
