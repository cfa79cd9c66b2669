//! A cgroup for each child, where the gateway's own is delegated to it (version 2 only): everything in it is ended by one write,
//! whatever it has done to hide. A guardian, which is this program with another argument, ends them all when the gateway
//! itself was killed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, getpid};
use tracing::info;

/// The argument that makes this program the guardian of the folder behind it.
pub const GUARD_ARGUMENT: &str = "--guard-cgroup";

/// How long a cgroup may take to be empty once it was killed, and how often we look.
const GRACE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);
/// So many names are tried.
const NAMES: u32 = 100;

/// The folder of all children's cgroups.
pub(crate) struct Cgroups {
    folder: PathBuf,
    /// Its end tells the guardian that the gateway has ended.
    _alive: ChildStdin,
}

impl Cgroups {
    /// `None` where no cgroup is ours to divide. Gives the guardian's process too.
    pub(crate) fn new() -> Option<(Cgroups, Pid)> {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let own = delegated(&read("mountinfo"), &read("cgroup"))?;
        let made = create_unused(&own).and_then(|folder| match guard(&folder) {
            Ok((alive, pid)) => Ok((Cgroups { folder, _alive: alive }, pid)),
            Err(error) => {
                remove(&folder);
                Err(error)
            }
        });
        made.inspect_err(|error| info!(%error, "no cgroups for server processes, although they may be had")).ok()
    }

    /// A new cgroup: its folder, and the file through which a process enters it.
    pub(crate) fn create(&self, child: u64) -> io::Result<(PathBuf, File)> {
        let folder = self.folder.join(child.to_string());
        fs::create_dir(&folder)?;
        let entry = OpenOptions::new().write(true).open(folder.join("cgroup.procs"));
        if entry.is_err() {
            let _ = fs::remove_dir(&folder);
        }
        Ok((folder, entry?))
    }

    /// Ends every process of every child.
    pub(crate) fn kill_all(&self) {
        kill(&self.folder);
    }
}

/// A folder of this process's own. Another may have its number in another namespace; one that had it before may have been killed
/// with its guardian.
fn create_unused(own: &Path) -> io::Result<PathBuf> {
    let name =
        |at: u32| own.join(format!("mcp-http-gateway.{}{}", getpid(), if at == 0 { String::new() } else { format!("-{at}") }));
    let mut names = (0..NAMES).map(name);
    let free = names.find(|folder| {
        if folder.exists() && !is_populated(folder) {
            remove_all(folder);
        }
        !folder.exists()
    });
    let folder = free.unwrap_or_else(|| name(NAMES));
    fs::create_dir(&folder)?;
    Ok(folder)
}

/// Ends every process in a cgroup and those below it.
pub(crate) fn kill(folder: &Path) {
    // A kernel before 5.14 has no such file: what is left is then found like any other orphan.
    let _ = fs::write(folder.join("cgroup.kill"), "1");
}

/// Whether a process is in a cgroup or below it.
pub(crate) fn is_populated(folder: &Path) -> bool {
    fs::read_to_string(folder.join("cgroup.events")).is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

/// Removes a cgroup, if it is empty.
pub(crate) fn remove(folder: &Path) {
    let _ = fs::remove_dir(folder);
}

/// The guardian: waits for the end of its input, and leaves nothing of that cgroup.
pub fn guard_cgroup(folder: &Path) {
    // Its name in lists of processes; the kernel's own would be that of the link it was started through.
    let _ = rustix::thread::set_name(c"mcp-http-guard");
    let mut byte = [0];
    // Nothing is ever written: this returns when the gateway has ended.
    let _ = io::stdin().read(&mut byte);
    kill(folder);
    let began = Instant::now();
    while is_populated(folder) && began.elapsed() < GRACE {
        std::thread::sleep(LOOK);
    }
    remove_all(folder);
}

/// Removes a cgroup and those in it, if they are empty.
fn remove_all(folder: &Path) {
    fs::read_dir(folder).into_iter().flatten().flatten().for_each(|child| remove(&child.path()));
    remove(folder);
}

fn guard(folder: &Path) -> io::Result<(ChildStdin, Pid)> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("mcp-http-gateway").arg(GUARD_ARGUMENT).arg(folder).env_clear().current_dir("/").process_group(0);
    let mut guardian = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let alive = guardian.stdin.take().ok_or_else(|| io::Error::other("a guardian without an input"))?;
    Ok((alive, Pid::from_child(&guardian)))
}

/// The process's own cgroup, if it may be divided: systemd says so in an attribute (Delegate=), and nobody is above the root of a
/// namespace.
fn delegated(mounts: &str, cgroups: &str) -> Option<PathBuf> {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = mounts.lines().find(|mount| mount.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("cgroup2 ")))?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let own = Path::new(point).join(Path::new(path).strip_prefix(root).ok()?);
    (path == "/" || is_marked(&own)).then_some(own)
}

fn is_marked(folder: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].into_iter().any(|name| {
        let mut value = [0; 1];
        rustix::fs::getxattr(folder, name, &mut value).is_ok_and(|length| length == 1) && value == *b"1"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_marked_cgroup_and_the_root_of_a_namespace_are_divided() {
        let root = tempfile::tempdir().expect("a folder");
        let mounts = format!("30 23 0:26 /top {} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", root.path().display());
        assert_eq!(delegated("30 23 0:26 / /cg rw - cgroup2 cgroup2 rw", "0::/\n"), Some("/cg/".into()));
        assert_eq!(delegated("30 23 0:26 / /cg rw - cgroup cgroup rw,memory", "4:memory:/\n0::/\n"), None);
        assert_eq!(delegated(&mounts, "0::/top/unit\n"), None, "nobody marked it");
        let unit = root.path().join("unit");
        fs::create_dir(&unit).expect("a folder");
        if rustix::fs::setxattr(&unit, "user.delegate", b"1", rustix::fs::XattrFlags::empty()).is_ok() {
            assert_eq!(delegated(&mounts, "0::/top/unit\n"), Some(unit));
        }
    }

    #[test]
    fn what_is_written_and_read_is_the_kernels_own() {
        let folder = tempfile::tempdir().expect("a folder");
        kill(folder.path());
        assert_eq!(fs::read(folder.path().join("cgroup.kill")).expect("a file"), b"1");
        for (events, is) in [("populated 1\nfrozen 0\n", true), ("populated 0\nfrozen 0\n", false)] {
            fs::write(folder.path().join("cgroup.events"), events).expect("a file");
            assert_eq!(is_populated(folder.path()), is);
        }
    }
}
