//! The program: flags → configuration → gateway → exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use mcp_http_gateway::{Config, DEMO_ARGUMENT, Fault, Flags, Gateway, StartError, serve_demo, start_log};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const BUG: u8 = 70;
const SYSTEM: u8 = 71;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == DEMO_ARGUMENT) {
        serve_demo();
        return ExitCode::SUCCESS;
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
    let config = match Config::from_flags(flags, &demo) {
        Ok(config) => config,
        Err(fault) => {
            eprintln!("error: {fault}");
            return ExitCode::from(match fault {
                Fault::Usage(_) => USAGE,
                Fault::Unavailable(_) => UNAVAILABLE,
            });
        }
    };
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut term_again = signal(SignalKind::terminate())?;
        let mut int_again = signal(SignalKind::interrupt())?;
        tokio::spawn(ignore_hangups(signal(SignalKind::hangup())?));
        let (first, is_asked) = tokio::sync::oneshot::channel::<()>();
        let gateway = Gateway::bind(config).await?;
        let parent_ended = gateway.parent_ended();
        let stop = async move {
            tokio::select! {
                _ = term.recv() => info!("SIGTERM"),
                _ = int.recv() => info!("SIGINT"),
                () = parent_ended => info!("the process that started the gateway is gone"),
            }
            let _ = first.send(());
        };
        let now = async move {
            // Both listeners hear the first signal; only one that comes after it counts.
            let is_second = is_asked.await.is_ok();
            drain_pending(&mut term_again).await;
            drain_pending(&mut int_again).await;
            let code = tokio::select! {
                _ = term_again.recv(), if is_second => 143,
                _ = int_again.recv(), if is_second => 130,
            };
            warn!("a second signal: ending at once");
            code
        };
        anyhow::Ok(gateway.run(stop, now).await.unwrap_or(0))
    })?;
    // What still runs is a connection or a child that does not end; it is not waited for.
    runtime.shutdown_background();
    Ok(code)
}

/// Takes what a listener has heard already.
async fn drain_pending(signal: &mut Signal) {
    let _ = tokio::time::timeout(std::time::Duration::ZERO, signal.recv()).await;
}

async fn ignore_hangups(mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        info!("SIGHUP: there is no configuration file to read again");
    }
}
