//! How much of the memory that this process may use is in use: of its cgroup's limit (version 1 or 2, the nearest to full of those
//! above it too), and of the machine's. Read from files; what is not there is no limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What was read is believed for this long.
const FRESH: Duration = Duration::from_millis(100);

/// Refuses new work before the kernel has to kill something.
#[derive(Debug)]
pub(crate) struct Gate {
    /// In percent; 100 is never reached.
    limit: u8,
    groups: Vec<Group>,
    meminfo: PathBuf,
    read: Mutex<Option<(Instant, u8)>>,
}

/// Where a cgroup says what it uses, what it may use, and which part of that is only cached files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    used: PathBuf,
    max: PathBuf,
    stat: PathBuf,
    cached: &'static str,
}

impl Gate {
    /// The gate of this process.
    pub(crate) fn new(limit: u8) -> Gate {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Gate::of(limit, groups(&read("mountinfo"), &read("cgroup")), "/proc/meminfo".into())
    }

    fn of(limit: u8, groups: Vec<Group>, meminfo: PathBuf) -> Gate {
        Gate { limit, groups, meminfo, read: Mutex::new(None) }
    }

    /// Whether nothing new is to be begun.
    pub(crate) fn is_shut(&self, now: Instant) -> bool {
        self.limit < 100 && self.used_percent(now) >= self.limit
    }

    /// The memory in use, in percent of what may be used.
    pub(crate) fn used_percent(&self, now: Instant) -> u8 {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, percent)) = *read
            && now.saturating_duration_since(at) < FRESH
        {
            return percent;
        }
        let percent = self.groups.iter().filter_map(Group::percent).chain(machine(&self.meminfo)).max().unwrap_or(0);
        *read = Some((now, percent));
        percent
    }
}

impl Group {
    fn percent(&self) -> Option<u8> {
        let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        // `max` is no number. Version 1 writes a number that no machine has.
        let max = number(&self.max).filter(|max| *max < 1 << 60)?;
        let stat = fs::read_to_string(&self.stat).unwrap_or_default();
        percent(number(&self.used)?.saturating_sub(value(&stat, self.cached).unwrap_or(0)), max)
    }
}

/// The memory cgroups of a process and those above them, by what it says of its mounts and cgroups.
fn groups(mounts: &str, cgroups: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for mount in mounts.lines() {
        // ID PARENT DEVICE ROOT MOUNTPOINT OPTIONS … - TYPE SOURCE OPTIONS
        let Some((left, right)) = mount.split_once(" - ") else { continue };
        let (left, right): (Vec<&str>, Vec<&str>) = (left.split(' ').collect(), right.split(' ').collect());
        let (&[_, _, _, root, point, ..], &[kind, _, options]) = (left.as_slice(), right.as_slice()) else { continue };
        let is_own = |controllers: &str| match kind {
            "cgroup2" => controllers.is_empty(),
            "cgroup" => options.split(',').any(|option| option == "memory") && controllers.split(',').any(|one| one == "memory"),
            _ => false,
        };
        // NUMBER:CONTROLLERS:PATH
        let fields = cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        for (_, path) in fields.filter(|(controllers, _)| is_own(controllers)) {
            let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
            let (point, mut folder) = (Path::new(point), Path::new(point).join(below));
            while folder.starts_with(point) {
                found.push(Group::at(&folder, kind == "cgroup2"));
                if !folder.pop() {
                    break;
                }
            }
        }
    }
    found
}

impl Group {
    fn at(folder: &Path, is_v2: bool) -> Group {
        let [used, max, cached] = match is_v2 {
            true => ["memory.current", "memory.max", "inactive_file"],
            false => ["memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"],
        };
        Group { used: folder.join(used), max: folder.join(max), stat: folder.join("memory.stat"), cached }
    }
}

/// What the machine has left for new programs, the other way round.
fn machine(meminfo: &Path) -> Option<u8> {
    let text = fs::read_to_string(meminfo).ok()?;
    let (total, available) = (value(&text, "MemTotal:")?, value(&text, "MemAvailable:")?);
    percent(total.saturating_sub(available), total)
}

/// The number behind a name at the beginning of a line.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once([' ', '\t']));
    lines.find(|(key, _)| *key == name)?.1.split_ascii_whitespace().next()?.parse().ok()
}

fn percent(used: u64, of: u64) -> Option<u8> {
    u8::try_from(used.saturating_mul(100).checked_div(of)?.min(100)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).expect("a folder");
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).expect("a file"));
    }

    fn gate_of(root: &Path, mount: &str, cgroup: &str) -> Gate {
        let meminfo = root.join("meminfo");
        fs::write(&meminfo, "MemTotal:       1000 kB\nMemFree:          10 kB\nMemAvailable:    900 kB\n").expect("a file");
        Gate::of(90, groups(mount, cgroup), meminfo)
    }

    #[test]
    fn a_version_2_group_and_those_above_it_count_without_cached_files() {
        let root = tempfile::tempdir().expect("a folder");
        let mount = format!("30 23 0:26 / {} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n", root.path().display());
        let own = root.path().join("system.slice/gateway.service");
        write(&own, &[("memory.current", "950\n"), ("memory.max", "1000\n"), ("memory.stat", "anon 1\ninactive_file 100\n")]);
        write(&root.path().join("system.slice"), &[("memory.current", "5\n"), ("memory.max", "max\n")]);
        let now = Instant::now();
        let cgroup = "0::/system.slice/gateway.service\n";
        assert_eq!(gate_of(root.path(), &mount, cgroup).used_percent(now), 85);
        write(&root.path().join("system.slice"), &[("memory.max", "5\n")]);
        let gate = gate_of(root.path(), &mount, cgroup);
        assert_eq!(gate.used_percent(now), 100, "the group above is full");
        assert!(gate.is_shut(now));
    }

    #[test]
    fn a_version_1_group_counts_where_it_has_a_limit() {
        let root = tempfile::tempdir().expect("a folder");
        let mount = format!(
            "30 23 0:26 /docker/x {0} rw - cgroup cgroup rw,memory\n31 23 0:27 / {0}/other rw - cgroup cgroup rw,cpu\n",
            root.path().display()
        );
        let files = [("memory.usage_in_bytes", "910\n"), ("memory.limit_in_bytes", "1000\n")];
        write(root.path(), &files);
        let now = Instant::now();
        let gate = gate_of(root.path(), &mount, "4:memory:/docker/x\n3:cpu:/docker/x\n0::/\n");
        assert_eq!(gate.used_percent(now), 91);
        write(root.path(), &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(gate.used_percent(now), 91, "what was just read is believed");
        assert_eq!(gate.used_percent(now + FRESH), 10, "no limit but the machine's");
    }

    #[test]
    fn a_gate_at_100_percent_is_always_open() {
        let root = tempfile::tempdir().expect("a folder");
        let meminfo = root.path().join("meminfo");
        fs::write(&meminfo, "MemTotal: 1000 kB\nMemAvailable: 0 kB\n").expect("a file");
        let now = Instant::now();
        assert!(!Gate::of(100, Vec::new(), meminfo.clone()).is_shut(now));
        assert!(Gate::of(99, Vec::new(), meminfo).is_shut(now));
        assert_eq!(Gate::of(90, Vec::new(), root.path().join("none")).used_percent(now), 0);
    }
}
