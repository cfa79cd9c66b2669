//! `${…}` in the files of other programs, as those put values in its place: `${VAR}` and `${VAR:-otherwise}` (Claude Code),
//! `${env:VAR}`, `${workspaceFolder}`, `${userHome}` and their kin (VS Code, Cursor).

use std::path::{Path, PathBuf};

/// What can be put in.
pub(super) struct Values<'a> {
    /// A variable of the gateway's environment, if it is set.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The folder that the file is for.
    pub(super) folder: PathBuf,
}

/// A text with all values in their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) value: String,
    /// The same without what variables hold, which may be secret: there it is as it was written.
    pub(super) shown: String,
}

/// What an editor puts in that is no secret.
const FOLDERS: [&str; 5] = ["workspaceFolder", "workspaceFolderBasename", "userHome", "pathSeparator", "/"];
/// Folders in which an editor keeps the settings of the folder around them.
const SETTINGS: [&str; 2] = [".vscode", ".cursor"];
/// What an editor knows of its windows and itself.
const EDITORS: [&str; 15] = [
    "cwd",
    "defaultBuildTask",
    "execPath",
    "file",
    "fileBasename",
    "fileBasenameNoExtension",
    "fileDirname",
    "fileDirnameBasename",
    "fileExtname",
    "fileWorkspaceFolder",
    "lineNumber",
    "relativeFile",
    "relativeFileDirname",
    "selectedText",
    "workspaceRoot",
];

/// The folder that such a file is for: where it is, or the one around an editor's own folder there.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let is_settings = folder.file_name().is_some_and(|name| SETTINGS.iter().any(|own| name == *own));
    if is_settings { folder.parent().unwrap_or(folder).to_owned() } else { folder.to_owned() }
}

impl Values<'_> {
    /// The text with all values in their places; or what cannot be known, once each.
    ///
    /// # Errors
    /// Says what to write. Names variables, and no values.
    pub(super) fn expand(&self, text: &str) -> Result<Text, Vec<String>> {
        let (mut out, mut wrong) = (Text::default(), Vec::new());
        let mut rest = text;
        while let Some((before, from)) = rest.split_once("${") {
            out.push(before, before);
            let Some((name, after)) = from.split_once('}') else {
                wrong.push("has a ${ that is not closed; write }".to_owned());
                return Err(wrong);
            };
            match self.value(name) {
                Ok(value) if FOLDERS.contains(&name) => out.push(&value, &value),
                Ok(value) => out.push(&value, &format!("${{{name}}}")),
                Err(text) if wrong.contains(&text) => {}
                Err(text) => wrong.push(text),
            }
            rest = after;
        }
        out.push(rest, rest);
        if wrong.is_empty() { Ok(out) } else { Err(wrong) }
    }

    /// The same, and as VS Code has it: a `~` that it begins with is the home folder.
    pub(super) fn expand_home(&self, text: &str) -> Result<Text, Vec<String>> {
        let text = self.expand(text)?;
        if !is_at_home(&text.value) {
            return Ok(text);
        }
        let Some(home) = (self.variable)("HOME") else { return Err(vec![NO_HOME.to_owned()]) };
        let shown = if is_at_home(&text.shown) { format!("{home}{}", &text.shown[1..]) } else { text.shown };
        Ok(Text { value: format!("{home}{}", &text.value[1..]), shown })
    }

    fn value(&self, name: &str) -> Result<String, String> {
        let folder = |path: &Path| path.to_string_lossy().into_owned();
        if let Some(input) = name.strip_prefix("input:") {
            let variable: String =
                input.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
            return Err(format!(
                "${{{name}}} asks the user of an editor, and here is none; write ${{env:{variable}}}, and set that variable"
            ));
        }
        match name {
            "workspaceFolder" => return Ok(folder(&self.folder)),
            "workspaceFolderBasename" => {
                return Ok(self.folder.file_name().map(|name| folder(name.as_ref())).unwrap_or_default());
            }
            "userHome" => return (self.variable)("HOME").ok_or_else(|| unset("userHome", "HOME")),
            "pathSeparator" | "/" => return Ok("/".to_owned()),
            _ => {}
        }
        let (variable, otherwise) = match name.strip_prefix("env:") {
            Some(variable) => (variable, None),
            None => match name.split_once(":-") {
                Some((variable, otherwise)) => (variable, Some(otherwise)),
                None => (name, None),
            },
        };
        let is_variable = !variable.is_empty() && variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_variable || variable.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(of_an_editor(name));
        }
        match ((self.variable)(variable), otherwise) {
            // What is set to nothing is set: unlike in a shell.
            (Some(value), _) => Ok(value),
            (None, Some(otherwise)) => Ok(otherwise.to_owned()),
            (None, None) if EDITORS.contains(&name) => Err(of_an_editor(name)),
            (None, None) => Err(unset(name, variable)),
        }
    }
}

impl Text {
    fn push(&mut self, value: &str, shown: &str) {
        self.value.push_str(value);
        self.shown.push_str(shown);
    }
}

fn is_at_home(text: &str) -> bool {
    text == "~" || text.starts_with("~/")
}

const NO_HOME: &str =
    "begins with ~, the home folder, and the variable HOME is not set; set it for the gateway, or write the folder";

fn of_an_editor(name: &str) -> String {
    format!("${{{name}}} is known to an editor only; write its value, or ${{VARIABLE}}")
}

fn unset(name: &str, variable: &str) -> String {
    format!("${{{name}}}: the variable {variable} is not set; set it for the gateway, or write ${{{variable}:-OTHERWISE}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<Text, Vec<String>> {
        let variable = |name: &str| match name {
            "KEY" => Some("secret".to_owned()),
            "EMPTY" => Some(String::new()),
            "HOME" => Some("/home/ada".to_owned()),
            "BRACE" => Some("${KEY}".to_owned()),
            _ => None,
        };
        Values { variable: &variable, folder: "/srv/project".into() }.expand(text)
    }

    #[test]
    fn values_are_put_in_as_the_other_programs_put_them_in() {
        for (text, expanded) in [
            ("", ""),
            ("plain $KEY $ {KEY} $$", "plain $KEY $ {KEY} $$"),
            ("${KEY}", "secret"),
            ("a ${KEY} b ${env:KEY} c", "a secret b secret c"),
            ("${KEY:-other}", "secret"),
            ("${NONE:-other}", "other"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("${EMPTY}", ""),
            ("${EMPTY:-other}", ""),
            ("${BRACE}", "${KEY}"),
            ("${workspaceFolder}/x", "/srv/project/x"),
            ("${workspaceFolderBasename}", "project"),
            ("${userHome}${/}x${pathSeparator}y", "/home/ada/x/y"),
        ] {
            assert_eq!(expand(text).map(|text| text.value).as_deref(), Ok(expanded), "{text}");
        }
    }

    #[test]
    fn what_a_variable_holds_is_not_shown() {
        for (text, shown) in [
            ("plain", "plain"),
            ("--key=${KEY}!", "--key=${KEY}!"),
            ("${env:KEY}", "${env:KEY}"),
            ("${KEY:-other}${NONE:-other}", "${KEY:-other}${NONE:-other}"),
            ("${workspaceFolder}${/}${userHome}", "/srv/project//home/ada"),
        ] {
            assert_eq!(expand(text).map(|text| text.shown).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn the_home_folder_is_put_in_for_a_tilde_that_comes_first() {
        let homes = |home: Option<&str>, text: &str| {
            let variable = |name: &str| match name {
                "HOME" => home.map(str::to_owned),
                "AT_HOME" => Some("~/secret".to_owned()),
                _ => None,
            };
            Values { variable: &variable, folder: "/srv".into() }.expand_home(text).map(|Text { value, shown }| (value, shown))
        };
        for (text, value, shown) in [
            ("~", "/home/ada", "/home/ada"),
            ("~/x", "/home/ada/x", "/home/ada/x"),
            ("~ada/x", "~ada/x", "~ada/x"),
            ("--in=~/x", "--in=~/x", "--in=~/x"),
            ("x~", "x~", "x~"),
            ("${AT_HOME}", "/home/ada/secret", "${AT_HOME}"),
        ] {
            assert_eq!(homes(Some("/home/ada"), text), Ok((value.to_owned(), shown.to_owned())), "{text}");
        }
        assert_eq!(homes(None, "~/x"), Err(vec![NO_HOME.to_owned()]));
        assert!(homes(None, "~ada/x").is_ok(), "nothing has to be known");
    }

    #[test]
    fn what_cannot_be_known_is_refused_with_what_to_write() {
        for (text, told) in [
            ("${NONE}", "${NONE}: the variable NONE is not set; set it for the gateway, or write ${NONE:-OTHERWISE}"),
            ("${env:NONE}", "${env:NONE}: the variable NONE is not set; set it for the gateway, or write ${NONE:-OTHERWISE}"),
            (
                "${input:api-key}",
                "${input:api-key} asks the user of an editor, and here is none; write ${env:API_KEY}, and set that variable",
            ),
            ("${command:x.y}", "${command:x.y} is known to an editor only; write its value, or ${VARIABLE}"),
            ("${file}", "${file} is known to an editor only; write its value, or ${VARIABLE}"),
            ("${}", "${} is known to an editor only; write its value, or ${VARIABLE}"),
            ("${KEY", "has a ${ that is not closed; write }"),
        ] {
            assert_eq!(expand(text), Err(vec![told.to_owned()]), "{text}");
        }
        assert_eq!(expand("${A} ${KEY} ${A} ${B}").expect_err("two are not set").len(), 2);
    }

    #[test]
    fn an_editors_own_folder_is_not_the_one_it_is_for() {
        for (file, folder) in [
            ("/srv/p/.vscode/mcp.json", "/srv/p"),
            ("/srv/p/.cursor/mcp.json", "/srv/p"),
            ("/srv/p/.mcp.json", "/srv/p"),
            ("/mcp.json", "/"),
        ] {
            assert_eq!(folder_of(Path::new(file)), Path::new(folder), "{file}");
        }
    }
}
