//! The program: flags → configuration → gateway → exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use mcp_http_gateway::{
    Cli, Config, DEMO_ARGUMENT, Fault, GUARD_ARGUMENT, Gateway, Outcome, Reloader, StartError, Task, TokenTask, check_config,
    guard_cgroup, healthcheck, new_token, print_config, serve_demo, start_log,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

const USAGE: u8 = 64;
const BUG: u8 = 70;
const SYSTEM: u8 = 71;
const CONFIGURATION: u8 = 78;

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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
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
    if let Some(task) = cli.task {
        return run(task, &demo);
    }
    let load = move || Config::load(&cli.given, &demo);
    let mut config = match load() {
        Ok(config) => config,
        Err(fault) => {
            eprint!("{}", fault.report());
            return ExitCode::from(fault.exit_code());
        }
    };
    config.owns_process = true;
    if let Err(text) = start_log(&config) {
        eprintln!("error: {text}");
        return ExitCode::from(USAGE);
    }
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    match serve(config, load) {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            error!("{fault:#}");
            ExitCode::from(match fault.downcast_ref::<StartError>() {
                Some(fault) if fault.is_of_configuration() => CONFIGURATION,
                Some(_) => SYSTEM,
                None if fault.is::<std::io::Error>() => SYSTEM,
                None => BUG,
            })
        }
    }
}

/// Does what is asked beside serving.
#[allow(clippy::print_stdout)] // these are what prints
fn run(task: Task, demo: &[OsString]) -> ExitCode {
    let outcome = match task {
        Task::CheckConfig { file } => check_config(&file, demo),
        Task::PrintConfig(given) => print_config(&given, demo),
        Task::Healthcheck(given) => healthcheck(&given),
        Task::Token(TokenTask::New { name, file }) => match new_token(&name, &file) {
            Ok(token) => Outcome { stdout: format!("{token}\n"), ..Outcome::default() },
            Err(text) => Outcome { stderr: format!("error: {text}\n"), code: SYSTEM, ..Outcome::default() },
        },
    };
    print!("{}", outcome.stdout);
    eprint!("{}", outcome.stderr);
    ExitCode::from(outcome.code)
}

/// Runs the gateway to its end; gives the exit code.
fn serve(config: Config, again: impl Fn() -> Result<Config, Fault> + Send + 'static) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        let hangup = signal(SignalKind::hangup())?;
        let (stop, asked) = oneshot::channel();
        let (now, asked_again) = oneshot::channel();
        tokio::spawn(count_signals(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, stop, now));
        let gateway = Gateway::bind(config).await?;
        tokio::spawn(reload_on_hangups(hangup, gateway.reloader(), again));
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

/// SIGHUP: all that was read is read again. What is wrong with it is logged, and what was in force stays.
async fn reload_on_hangups(mut hangup: Signal, reloader: Reloader, again: impl Fn() -> Result<Config, Fault>) {
    while hangup.recv().await.is_some() {
        info!("SIGHUP: reading the configuration again");
        let read = || {
            let config = again().map_err(|fault| fault.to_string())?;
            config.warnings.iter().for_each(|warning| warn!("{warning}"));
            Ok(config)
        };
        if let Err(text) = reloader.reload(read) {
            error!("the configuration is not used, and what was in force stays: {text}");
        }
    }
}
