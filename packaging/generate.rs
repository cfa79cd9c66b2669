//! Writes what the command line's definition is good for beside parsing: the man page and the completions of three shells.
//! `cargo run --example generate -- FOLDER`. Runs when a package is built; nothing of it is installed.

use std::fs;
use std::path::PathBuf;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
// The type that `main` parses.
use mcp_http_gateway::Cli as Arguments;

const NAME: &str = "mcp-http-gateway";

/// What no option says: where things are, and how the program ends.
const BEHIND: &str = r#".SH FILES
.TP
/etc/mcp\-http\-gateway/gateway.toml
What the service reads (\-\-config); \fBsystemctl reload mcp\-http\-gateway\fR has it read again.
.TP
/etc/mcp\-http\-gateway/tokens
Where \fBmcp\-http\-gateway token new\fR keeps tokens, if told so with \-\-file.
.TP
/var/lib/mcp\-http\-gateway
The home of the service's servers.
.SH EXIT STATUS
.TP
0
Stopped as asked.
.TP
64
Wrong usage.
.TP
69
A server's program cannot be started.
.TP
70
The gateway's own fault.
.TP
71
The system refused, for instance a port in use.
.TP
78
The configuration file has faults.
.TP
130, 143
A second SIGINT or SIGTERM ended it at once.
.SH SIGNALS
SIGTERM and SIGINT let calls in flight end (\-\-drain), a second one does not. SIGHUP has the files read again; if one has a fault,
all stays as it was.
"#;

fn main() -> anyhow::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        anyhow::bail!("name the folder to write to");
    };
    fs::create_dir_all(&folder)?;
    let command = Arguments::command();
    fs::write(folder.join(format!("{NAME}.1")), page(&command)?)?;
    for (shell, file) in [(Shell::Bash, NAME.to_owned()), (Shell::Zsh, format!("_{NAME}")), (Shell::Fish, format!("{NAME}.fish"))]
    {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), NAME, &mut text);
        fs::write(folder.join(file), text)?;
    }
    Ok(())
}

/// One page for the program and its subcommands.
fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let man = clap_mangen::Man::new(command.clone()).manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    let tasks = tasks("", command);
    if !tasks.is_empty() {
        text.extend_from_slice(b".SH COMMANDS\n");
        text.extend_from_slice(tasks.as_bytes());
    }
    man.render_options_section(&mut text)?;
    man.render_extra_section(&mut text)?;
    text.extend_from_slice(BEHIND.as_bytes());
    man.render_version_section(&mut text)?;
    Ok(text)
}

/// What the program does beside serving: each with its words, and what it is for. `before` are the words that lead there.
fn tasks(before: &str, command: &Command) -> String {
    let own = command.get_subcommands().filter(|task| task.get_name() != "help");
    own.map(|task| {
        let words = format!("{before}{}", task.get_name());
        if task.has_subcommands() {
            return tasks(&format!("{words} "), task);
        }
        let about = task.get_about().map(ToString::to_string).unwrap_or_default();
        format!(".TP\n\\fB{}\\fR{}\n{}\n", escaped(&words), escaped(&arguments(task)), escaped(&about))
    })
    .collect()
}

/// What a task must be given, and `[OPTIONS]` if it can be given more.
fn arguments(task: &Command) -> String {
    let mut text = String::new();
    let mut takes_more = false;
    for argument in task.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version")) {
        let value = argument.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
        let value = value.unwrap_or_else(|| argument.get_id().to_string().to_uppercase());
        match argument.get_long() {
            _ if !argument.is_required_set() => takes_more = true,
            Some(long) => text.push_str(&format!(" --{long} {value}")),
            None => text.push_str(&format!(" {value}")),
        }
    }
    if takes_more {
        text.push_str(" [OPTIONS]");
    }
    text
}

/// As roff has it: a plain `-` may be set as a longer dash, and a line that begins with a dot is a request.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace("\n.", "\n\\&.")
}
