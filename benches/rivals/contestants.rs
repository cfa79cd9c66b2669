//! Who takes part, and how each is started: with its log turned down, and nothing else but what it needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of those that are compared.
#[derive(Debug)]
pub(crate) struct Contestant {
    /// For `--only`.
    pub(crate) slug: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Of its endpoint.
    pub(crate) path: &'static str,
    /// What it puts before the names of tools.
    pub(crate) prefix: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// No contestant, but what they are measured by.
    Limit,
    /// Ours, with these options.
    Gateway(&'static [&'static str]),
    /// Another bridge written in Rust.
    Rust,
    /// Another bridge.
    Other,
}

const MCP: Contestant = Contestant { slug: "", name: "", kind: Kind::Other, path: "/mcp", prefix: "" };

pub(crate) const ALL: [Contestant; 9] = [
    Contestant { slug: "limit", name: "the limit: bare hyper, no child", kind: Kind::Limit, ..MCP },
    Contestant { slug: "gateway", name: "mcp-http-gateway", kind: Kind::Gateway(&[]), ..MCP },
    Contestant { slug: "gateway-sse", name: "… --response sse", kind: Kind::Gateway(&["--response", "sse"]), ..MCP },
    Contestant { slug: "gateway-shared", name: "… --children shared", kind: Kind::Gateway(&["--children", "shared"]), ..MCP },
    Contestant { slug: "rmcp", name: "rmcp 3.9.0, a pump", kind: Kind::Rust, ..MCP },
    Contestant { slug: "crate", name: "mcp-proxy 0.6.0 (crate)", kind: Kind::Rust, path: "/", prefix: "child/" },
    Contestant { slug: "supergateway", name: "supergateway 4.0.0 --stateful", ..MCP },
    Contestant { slug: "npm", name: "mcp-proxy 6.7.19 (npm)", ..MCP },
    Contestant { slug: "pypi", name: "mcp-proxy 0.13.0 (PyPI)", ..MCP },
];

/// Those that take part unless `--only` says otherwise.
pub(crate) const USUAL: [&str; 7] = ["limit", "gateway", "rmcp", "crate", "supergateway", "npm", "pypi"];

/// What it is started for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Purpose {
    /// Calls of some sessions, each with a child of its own where the contestant can do that.
    Calls,
    /// Large answers: the limit is another there.
    Copy,
    /// So many sessions at a time, on one child where the contestant can do that.
    Crowd(usize),
    /// So many sessions at a time, each with a child of its own unless the contestant's options are others.
    Scale(usize),
    /// To see it start, as its users do.
    Start,
}

impl Contestant {
    /// The command that serves on this port of the loopback; none if it is not installed.
    pub(crate) fn command(&self, purpose: Purpose, port: u16) -> Option<Command> {
        let own = std::env::current_exe().ok()?;
        let child = own.to_str()?;
        let (number, home) = (port.to_string(), home());
        match self.kind {
            Kind::Limit => {
                let role = if purpose == Purpose::Copy { "copy" } else { "limit" };
                return Some(with(own, &[role, &number]));
            }
            Kind::Gateway(options) => return Some(gateway(options, purpose, port, child)),
            Kind::Rust | Kind::Other => {}
        }
        let node =
            |script: &str| found(&home.join(self.slug).join("node_modules").join(script)).map(|path| with("node", &[&path]));
        let mut command = match self.slug {
            "rmcp" => with(found(&home.join("rmcp/bin/rmcp-pump"))?, &[&number, child, "child"]),
            "crate" => with(found(&home.join("crate/bin/mcp-proxy"))?, &["--config", &config(&home, port, child)?]),
            "supergateway" => node("supergateway/dist/index.js")?,
            "npm" => node("mcp-proxy/dist/bin/mcp-proxy.mjs")?,
            "pypi" => {
                with(found(&home.join("pypi/bin/mcp-proxy"))?, &["--log-level", "ERROR", "--port", &number, "--", child, "child"])
            }
            _ => return None,
        };
        match self.slug {
            "supergateway" => command
                .args(["--outputTransport", "streamableHttp", "--stateful", "--logLevel", "none", "--port", &number])
                .args(["--stdio", &format!("'{child}' child")]),
            "npm" => command.args(["--host", "127.0.0.1", "--server", "stream", "--port", &number, "--", child, "child"]),
            _ => &mut command,
        };
        Some(command)
    }
}

fn gateway(options: &[&str], purpose: Purpose, port: u16, child: &str) -> Command {
    let mut command = with(env!("CARGO_BIN_EXE_mcp-http-gateway"), options);
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--log", "warn"]);
    if let Purpose::Crowd(count) | Purpose::Scale(count) = purpose {
        // A few more, for those that open before the others, and children that are ending.
        let most = (count + 100).to_string();
        command.args(["--max-sessions", &most, "--max-connections", &most, "--max-children", &most]);
    }
    if matches!(purpose, Purpose::Crowd(_)) && !options.contains(&"--children") {
        command.args(["--children", "shared"]);
    }
    if purpose == Purpose::Copy {
        // 16 answers of 4 MiB are all that it keeps in all unless told otherwise.
        command.args(["--log-bytes-total", "256MiB"]);
    }
    if purpose != Purpose::Start {
        command.args(["--child-era", "legacy"]);
    }
    command.args(["--", child, "child"]);
    command
}

/// The crate is told everything by a file.
fn config(home: &Path, port: u16, child: &str) -> Option<String> {
    let text = format!(
        "[proxy]\nname = \"rivals\"\nseparator = \"/\"\n[proxy.listen]\nhost = \"127.0.0.1\"\nport = {port}\n\
         [[backends]]\nname = \"child\"\ntransport = \"stdio\"\ncommand = '{child}'\nargs = [\"child\"]\n\
         [observability]\nlog_level = \"error\"\n"
    );
    let path = home.join("crate.toml");
    fs::write(&path, text).ok()?;
    path.to_str().map(str::to_owned)
}

/// Where `benches/rivals/install` puts them: below the target directory, in which this program is `release/deps/…`.
pub(crate) fn home() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors().nth(3).unwrap_or(Path::new("target")).join("rivals")
}

fn found(path: &Path) -> Option<String> {
    path.exists().then(|| path.to_str().map(str::to_owned)).flatten()
}

fn with(program: impl AsRef<std::ffi::OsStr>, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}
