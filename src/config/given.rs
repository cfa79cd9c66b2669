//! What the command line and the environment say, kept apart and as it was written, for a file to come between them and the
//! defaults. Can be asked again and again: a configuration is loaded anew from the same.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use super::Flags;
use super::options::{self, Kind};
use super::settings::{Origin, Setting, Settings, Value};

/// The options as they were given, each by flag or variable.
#[derive(Clone, Debug)]
pub struct Given {
    pub(super) flags: Settings,
    pub(super) environment: Settings,
    /// Where the gateway was started: there the paths of files begin, also when they are read again.
    folder: PathBuf,
}

impl Given {
    pub(super) fn nothing() -> Given {
        Given::read(&ArgMatches::default())
    }

    /// A file of `--config`, or of `--mcp-json` if it is called so, and nothing else.
    pub(super) fn file(path: &Path) -> Given {
        let key = if path.extension().is_some_and(|extension| extension == "json") { "mcp_json" } else { "config" };
        let setting = Setting { value: Value::Words(vec![path.into()]), origin: Origin::Flag };
        Given { flags: Settings::from([(key, setting)]), ..Given::nothing() }
    }

    fn read(matches: &ArgMatches) -> Given {
        // A folder that is gone is one that no path can begin at.
        let folder = std::env::current_dir().unwrap_or_default();
        let mut given = Given { flags: Settings::new(), environment: Settings::new(), folder };
        for opt in options::all() {
            let source = matches.try_contains_id(&opt.key).ok().and_then(|_| matches.value_source(&opt.key));
            let (settings, origin) = match source {
                Some(ValueSource::CommandLine) => (&mut given.flags, Origin::Flag),
                Some(ValueSource::EnvVariable) => (&mut given.environment, Origin::Environment),
                _ => continue,
            };
            let value = if opt.kind == Kind::Switch {
                Value::Switch(matches.get_flag(&opt.key))
            } else {
                Value::Words(matches.get_raw(&opt.key).into_iter().flatten().map(Into::into).collect())
            };
            settings.insert(&opt.key, Setting { value, origin });
        }
        given
    }

    /// A path that was given where the gateway was started.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Given, Error> {
        Ok(Given::read(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Given::read(matches);
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args_for_update(command)
    }
}
