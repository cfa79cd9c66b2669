//! The program that is to run as a child: its words, and the file that they mean.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::build::Complaints;
use super::{Command, Flags, environment};

pub(super) const NONE: &str = "say which server to run: --cmd 'COMMAND LINE', or -- PROGRAM [ARGS], or --demo, or --config FILE";
pub(super) const TWICE: &str = "say once which server to run: --cmd 'COMMAND LINE', or -- PROGRAM [ARGS], or --demo";

/// The words of the command, its program found on the PATH that the child will have. None if something is wrong with them.
pub(super) fn command(flags: &Flags, demo: &[OsString], wrong: &mut Complaints) -> Option<Command> {
    let words = words(flags, demo).map_err(|text| wrong.add("cmd", text)).ok();
    let cwd = cwd(flags, wrong);
    let env = environment::child(&flags.pass_env, flags.env_file.as_deref(), &flags.env, &flags.unset);
    let env = env.map_err(|(option, text)| wrong.add(option, text)).ok()?;
    let (words, cwd) = (words?, cwd?);
    let (program, args) = words.split_first()?;
    let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.clone());
    let program = resolve(Path::new(program), cwd.as_deref(), path).map_err(|text| wrong.unavailable("cmd", text)).ok()?;
    Some(Command { program, args: args.to_vec(), cwd, env, scheduling: flags.child_scheduling })
}

/// At least one.
fn words(flags: &Flags, demo: &[OsString]) -> Result<Vec<OsString>, String> {
    let given = [flags.cmd.is_some(), !flags.program.is_empty(), flags.demo];
    match given.iter().filter(|given| **given).count() {
        0 => return Err(NONE.to_owned()),
        1 => {}
        _ => return Err(TWICE.to_owned()),
    }
    let words: Vec<OsString> = match &flags.cmd {
        Some(line) => {
            let words = shlex::split(line).ok_or_else(|| format!("--cmd {line:?} has a quote that is not closed"))?;
            words.into_iter().map(OsString::from).collect()
        }
        None if flags.demo => demo.to_vec(),
        None => flags.program.clone(),
    };
    match words.first() {
        None => Err("--cmd is empty; write --cmd './my-server --flag'".to_owned()),
        Some(program) if program.is_empty() => Err("the program's name is empty".to_owned()),
        Some(_) => Ok(words),
    }
}

/// The inner `None`: where the gateway is.
fn cwd(flags: &Flags, wrong: &mut Complaints) -> Option<Option<PathBuf>> {
    let Some(given) = &flags.cwd else { return Some(None) };
    match std::path::absolute(given) {
        Ok(cwd) if cwd.is_dir() => Some(Some(cwd)),
        Ok(cwd) => {
            wrong.unavailable("cwd", format!("--cwd {}: not a directory", cwd.display()));
            None
        }
        Err(error) => {
            wrong.add("cwd", format!("--cwd: {error}"));
            None
        }
    }
}

/// The file that `execvp` would run: exists and is executable. Nothing is run to find out.
fn resolve(program: &Path, cwd: Option<&Path>, path: Option<OsString>) -> Result<PathBuf, String> {
    let is_executable = |file: &Path| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    if program.components().count() > 1 || program.is_absolute() {
        let file = cwd.map_or_else(|| program.to_owned(), |cwd| cwd.join(program));
        let reason = match (file.exists(), is_executable(&file)) {
            (_, true) => return std::path::absolute(&file).map_err(|error| error.to_string()),
            (true, false) => "is not an executable file; try chmod +x, or name its interpreter",
            (false, false) => "does not exist",
        };
        return Err(format!("the server's program {} {reason}", file.display()));
    }
    let path = path.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| is_executable(file));
    found.ok_or_else(|| format!("the server's program {:?} is not on the PATH ({})", program.display(), path.display()))
}
