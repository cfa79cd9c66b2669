//! The program: flags → configuration → gateway → exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use mcp_http_gateway::{
    Config, DEMO_ARGUMENT, Fault, Flags, GUARD_ARGUMENT, Gateway, StartError, guard_cgroup, serve_demo, start_log,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const BUG: u8 = 70;
const SYSTEM: u8 = 71;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match (words.next(), words.next()) {
        (Some(word), _) if word == DEMO_ARGUMENT => {
            serve_demo();
            return ExitCode::SUCCESS;
        }
        (Some(word), Some(folder)) if word == GUARD_ARGUMENT => {
            guard_cgroup(folder.as_ref());
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) => {
            // Help and version go to stdout and are no failure.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let demo: Vec<OsString> = match std::env::current_exe() {
        Ok(program) => vec![program.into(), DEMO_ARGUMENT.into()],
        Err(_) => vec!["mcp-http-gateway".into(), DEMO_ARGUMENT.into()],
    };
    let mut config = match Config::from_flags(flags, &demo) {
        Ok(config) => config,
        Err(fault) => {
            eprintln!("error: {fault}");
            return ExitCode::from(match fault {
                Fault::Usage(_) => USAGE,
                Fault::Unavailable(_) => UNAVAILABLE,
            });
        }
    };
    config.owns_process = true;
    if let Err(text) = start_log(config.log_format, &config.log) {
        eprintln!("error: {text}");
        return ExitCode::from(USAGE);
    }
    match serve(config) {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            error!("{fault:#}");
            ExitCode::from(if fault.is::<StartError>() || fault.is::<std::io::Error>() { SYSTEM } else { BUG })
        }
    }
}

/// Runs the gateway to its end; gives the exit code.
fn serve(config: Config) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        tokio::spawn(ignore_hangups(signal(SignalKind::hangup())?));
        let (stop, asked) = oneshot::channel();
        let (now, asked_again) = oneshot::channel();
        tokio::spawn(count_signals(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, stop, now));
        let gateway = Gateway::bind(config).await?;
        let parent_ended = gateway.parent_ended();
        let stop = async move {
            tokio::select! {
                asked = asked => drop(asked),
                () = parent_ended => info!("the process that started the gateway is gone"),
            }
        };
        // The counter of signals ends only with the runtime, or after it has told.
        let now = async move { asked_again.await.unwrap_or(BUG) };
        anyhow::Ok(gateway.run(stop, now).await.unwrap_or(0))
    })?;
    // What still runs is a connection or a child that does not end; it is not waited for.
    runtime.shutdown_background();
    Ok(code)
}

/// The first SIGTERM or SIGINT asks for the end, the second for the end at once; one task hears both, so that none is missed.
async fn count_signals(mut term: Signal, mut int: Signal, stop: oneshot::Sender<()>, now: oneshot::Sender<u8>) {
    next_signal(&mut term, &mut int).await;
    // An error means that the gateway has ended meanwhile.
    let _ = stop.send(());
    let code = next_signal(&mut term, &mut int).await;
    warn!("a second signal: ending at once");
    let _ = now.send(code);
}

/// Waits for a signal; gives the exit code of an end by it.
async fn next_signal(term: &mut Signal, int: &mut Signal) -> u8 {
    tokio::select! {
        _ = term.recv() => {
            info!("SIGTERM");
            143
        }
        _ = int.recv() => {
            info!("SIGINT");
            130
        }
    }
}

async fn ignore_hangups(mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        info!("SIGHUP: there is no configuration file to read again");
    }
}
