//! Sockets that the service manager bound and passed on (sd_listen_fds(3)): `http` and `admin` by their names. Taken once, at
//! the start. What was not passed to this process is left alone.

#![allow(unsafe_code)] // a descriptor that another process opened has to be taken by its number

use std::env;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use super::listener::Listener;

/// The number of the first one.
const FIRST: RawFd = 3;
/// More than anybody passes; descriptors do not go as far.
const MOST: usize = 1024;

/// What takes the place of the addresses to listen on.
#[derive(Default)]
pub(crate) struct Inherited {
    pub(crate) http: Option<Listener>,
    pub(crate) admin: Option<Listener>,
}

/// Why inherited sockets cannot be served.
#[derive(Debug, Error)]
pub(crate) enum InheritedFault {
    #[error("LISTEN_FDS={0:?} is no number of sockets")]
    Count(String),
    #[error("LISTEN_FDNAMES has {names} names for {sockets} sockets")]
    Names { names: usize, sockets: usize },
    #[error(
        "two inherited sockets are named {0:?}; give it one: FileDescriptorName={0} in one socket unit with one ListenStream="
    )]
    Twice(&'static str),
    #[error("what are the inherited sockets {0:?} and {1:?} for? write FileDescriptorName=http or =admin in their socket units")]
    Unnamed(String, String),
    #[error("the inherited socket {name:?} (descriptor {number}) does not listen; write ListenStream= in its socket unit")]
    Deaf { name: String, number: RawFd },
    #[error("the inherited socket {name:?} cannot be used: {error}")]
    Unusable { name: String, error: io::Error },
}

/// What a socket is for, by its place among the inherited ones.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    http: Option<usize>,
    admin: Option<usize>,
}

/// Takes the sockets that were passed to this process; none the second time.
pub(crate) fn take() -> Result<Inherited, InheritedFault> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name| env::var(name).ok();
    let is_ours = variable("LISTEN_PID").is_some_and(|process| process.parse() == Ok(std::process::id()));
    if !is_ours || TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Inherited::default());
    }
    let names = names(&variable("LISTEN_FDS").unwrap_or_default(), variable("LISTEN_FDNAMES").as_deref())?;
    let places = places(&names)?;
    let listener = |place: Option<usize>| {
        place.map(|at| own(FIRST + i32::try_from(at).unwrap_or(RawFd::MAX - FIRST), &names[at])).transpose()
    };
    Ok(Inherited { http: listener(places.http)?, admin: listener(places.admin)? })
}

/// The name of each socket; empty where it has none.
fn names(count: &str, names: Option<&str>) -> Result<Vec<String>, InheritedFault> {
    let sockets = match count.parse::<usize>() {
        Ok(sockets) if sockets <= MOST => sockets,
        _ => return Err(InheritedFault::Count(count.to_owned())),
    };
    let names: Vec<String> = match names {
        Some(names) if sockets > 0 => names.split(':').map(str::to_owned).collect(),
        _ => vec![String::new(); sockets],
    };
    if names.len() != sockets {
        return Err(InheritedFault::Names { names: names.len(), sockets });
    }
    Ok(names)
}

/// A socket unit that gives no name has its own: any other than ours is none, and one socket needs none.
fn places(names: &[String]) -> Result<Places, InheritedFault> {
    let named = |wanted: &'static str| {
        let mut found = (0..names.len()).filter(|at| names[*at] == wanted);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(InheritedFault::Twice(wanted)),
            (found, None) => Ok(found),
        }
    };
    let (http, admin) = (named("http")?, named("admin")?);
    let mut unnamed = (0..names.len()).filter(|at| ![http, admin].contains(&Some(*at)));
    match (http, unnamed.next(), unnamed.next()) {
        (_, Some(one), Some(other)) => Err(InheritedFault::Unnamed(names[one].clone(), names[other].clone())),
        (Some(http), Some(one), None) => Err(InheritedFault::Unnamed(names[http].clone(), names[one].clone())),
        (http, one, _) => Ok(Places { http: http.or(one), admin }),
    }
}

fn own(number: RawFd, name: &str) -> Result<Listener, InheritedFault> {
    let deaf = || InheritedFault::Deaf { name: name.to_owned(), number };
    let is_socket = fs::metadata(format!("/proc/self/fd/{number}")).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return Err(deaf());
    }
    // SAFETY: it is open, as /proc says, and the variables say that it was opened for this process, in which nobody else
    // takes them, and nobody this one twice.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    if !rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false) {
        // The variables lied: it may be somebody else's.
        let _ = socket.into_raw_fd();
        return Err(deaf());
    }
    Listener::inherited(socket).map_err(|error| InheritedFault::Unusable { name: name.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn of(count: &str, given: Option<&str>) -> Result<Places, String> {
        names(count, given).and_then(|names| places(&names)).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_socket_is_what_its_name_says_and_the_only_one_without_a_name_is_for_http() {
        let places = |http, admin| Ok(Places { http, admin });
        assert_eq!(of("2", Some("admin:http")), places(Some(1), Some(0)));
        assert_eq!(of("1", Some("admin")), places(None, Some(0)));
        assert_eq!(of("1", Some("gateway.socket")), places(Some(0), None));
        assert_eq!(of("2", Some("gateway.socket:admin")), places(Some(0), Some(1)));
        assert_eq!(of("1", None), places(Some(0), None));
        assert_eq!(of("0", None), places(None, None));
        assert_eq!(of("0", Some("")), places(None, None));
    }

    #[test]
    fn sockets_that_cannot_be_told_apart_are_refused_with_what_to_write() {
        for (count, given, said) in [
            ("2", None, "FileDescriptorName=http or =admin"),
            ("2", Some("http:gateway.socket"), "FileDescriptorName=http or =admin"),
            ("3", Some("a:b:admin"), "FileDescriptorName=http or =admin"),
            ("2", Some("http:http"), "FileDescriptorName=http in one socket unit"),
            ("2", Some("admin:admin"), "FileDescriptorName=admin in one socket unit"),
            ("2", Some("http"), "1 names for 2 sockets"),
            ("many", None, "no number"),
            ("", None, "no number"),
            ("-1", None, "no number"),
            ("4294967296", None, "no number"),
        ] {
            let fault = of(count, given).expect_err(said);
            assert!(fault.contains(said), "{count} {given:?}: {fault}");
        }
    }

    #[test]
    fn a_descriptor_that_is_no_listening_socket_stays_whose_it_is() {
        let (one, _other) = UnixStream::pair().expect("two sockets");
        let file = tempfile::tempfile().expect("a file");
        for number in [one.as_raw_fd(), file.as_raw_fd(), RawFd::MAX] {
            let fault = own(number, "http").err().map(|fault| fault.to_string()).unwrap_or_default();
            assert!(fault.contains("does not listen; write ListenStream="), "{fault}");
        }
        one.set_nonblocking(true).expect("it is still open");
        file.metadata().expect("it is still open");
    }
}
