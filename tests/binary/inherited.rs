//! Sockets that a service manager bound, and passes on (`LISTEN_FDS`).

use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::Signal;

use crate::support::gateway::{Start, program, stub};
use crate::support::http::Connection;
use crate::support::proc::eventually_true;
use crate::support::session::initialize;

const SECOND: Duration = Duration::from_secs(1);

/// A socket that is still there in the programs that this one starts.
fn bound(address: &str) -> TcpListener {
    let listener = TcpListener::bind(address).expect("a port");
    // Far from the first numbers: what the shell moves there must not be one of these.
    let listener = fcntl_dupfd_cloexec(&listener, 10).expect("a descriptor");
    fcntl_setfd(&listener, FdFlags::empty()).expect("a flag");
    listener.into()
}

/// What starts a program with these sockets as systemd does.
fn passed(sockets: &[(&str, &TcpListener)]) -> Vec<String> {
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    let moved: Vec<String> = (3..).zip(sockets).map(|(to, (_, from))| format!("{to}<&{}", from.as_raw_fd())).collect();
    let script = format!(
        "export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={}; exec \"$@\" {}",
        sockets.len(),
        names.join(":"),
        moved.join(" ")
    );
    ["bash", "-c", &script, "bash"].map(str::to_owned).to_vec()
}

#[test]
fn whoever_came_before_the_gateway_and_between_two_of_them_is_served() {
    let (http, admin) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
    let address = http.local_addr().expect("an address").to_string();
    let around = passed(&[("http", &http), ("admin", &admin)]);
    let around: Vec<&str> = around.iter().map(String::as_str).collect();
    let mut early = Connection::open(&address);
    early.send(&initialize("2025-11-25").bytes()).expect("sent");
    let mut gateway = Start::new(&[]).around(&around).run();
    assert_eq!(early.reply().expect("an answer").status(), 200);
    assert_eq!(gateway.address(), address);
    assert_eq!(gateway.admin_address(), admin.local_addr().expect("an address").to_string());
    assert_eq!(gateway.admin("/readyz").status(), 200);
    gateway.open().echoes("as ever");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.exit_code(10 * SECOND), 0);
    // The socket is not the gateway's: it outlives it.
    let mut between = Connection::open(&address);
    between.send(&initialize("2025-11-25").bytes()).expect("sent");
    let next = Start::new(&[]).around(&around).run();
    assert_eq!(between.reply().expect("an answer").status(), 200);
    eventually_true(5 * SECOND, "its session is there", || next.metric("sessions_active", "") == 1);
}

#[test]
fn a_socket_that_others_can_reach_is_refused_unless_that_is_asked_for() {
    let http = bound("0.0.0.0:0");
    let words = passed(&[("http", &http)]);
    let run = |options: &[&str]| {
        // One that serves all the same does not go on for ever.
        let mut command = Command::new("timeout");
        command.arg("20").args(&words).arg(program().get_program()).args(options).arg("--").arg(stub()).stdin(Stdio::null());
        let output = command.output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    for (options, missing) in [
        (&[][..], "--allowed-host NAME"),
        (&["--allowed-host", "mcp.example.com"], "--bearer-tokens FILE, or --insecure-no-auth"),
        (&["--allowed-host", "mcp.example.com", "--insecure-no-auth", "--expose-stderr"], "leave out --expose-stderr"),
    ] {
        let (code, said) = run(options);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("the inherited socket 0.0.0.0:") && said.contains(missing), "{said}");
    }
}
