//! The program that is to run as a child: its words, and the file that they mean.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Command, Fault, Flags, environment, usage};

/// The words of the command, its program found on the PATH that the child will have.
pub(super) fn command(flags: &Flags, demo: &[OsString]) -> Result<Command, Fault> {
    let given = [flags.cmd.is_some(), !flags.program.is_empty(), flags.demo];
    if given.iter().filter(|given| **given).count() != 1 {
        return usage("say which server to run, once: --cmd 'COMMAND LINE', or -- PROGRAM [ARGS], or --demo");
    }
    let words: Vec<OsString> = match &flags.cmd {
        Some(line) => match shlex::split(line) {
            Some(words) => words.into_iter().map(OsString::from).collect(),
            None => return usage(&format!("--cmd {line:?} has a quote that is not closed")),
        },
        None if flags.demo => demo.to_vec(),
        None => flags.program.clone(),
    };
    let Some((program, args)) = words.split_first() else { return usage("--cmd is empty; write --cmd './my-server --flag'") };
    let cwd = flags.cwd.as_deref().map(std::path::absolute).transpose();
    let cwd = cwd.map_err(|error| Fault::Usage(format!("--cwd: {error}")))?;
    if let Some(cwd) = cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
        return Err(Fault::Unavailable(format!("--cwd {}: not a directory", cwd.display())));
    }
    let env = environment::child(&flags.pass_env, flags.env_file.as_deref(), &flags.env).map_err(Fault::Usage)?;
    let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.clone());
    let program = resolve(Path::new(program), cwd.as_deref(), path)?;
    Ok(Command { program, args: args.to_vec(), cwd, env })
}

/// The file that `execvp` would run: exists and is executable. Nothing is run to find out.
fn resolve(program: &Path, cwd: Option<&Path>, path: Option<OsString>) -> Result<PathBuf, Fault> {
    let is_executable = |file: &Path| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    if program.as_os_str().is_empty() {
        return usage("the program's name is empty");
    }
    if program.components().count() > 1 || program.is_absolute() {
        let file = cwd.map_or_else(|| program.to_owned(), |cwd| cwd.join(program));
        let reason = match (file.exists(), is_executable(&file)) {
            (_, true) => return std::path::absolute(&file).map_err(|error| Fault::Unavailable(error.to_string())),
            (true, false) => "is not an executable file; try chmod +x, or name its interpreter",
            (false, false) => "does not exist",
        };
        return Err(Fault::Unavailable(format!("the server's program {} {reason}", file.display())));
    }
    let path = path.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| is_executable(file)).ok_or_else(|| {
        Fault::Unavailable(format!("the server's program {:?} is not on the PATH ({})", program.display(), path.display()))
    })
}
