//! What goes over the wire, as text: `tests/transcripts/NAME.txt` says who sends what and what must come of it, one rule of
//! the specification a file. Each is played against a gateway in this process.
//!
//! ```text
//! # Comments. The first ones say which rule this is, and where it stands.
//! flags: --response sse          further options of the gateway
//!
//! open 2025-11-25                initialize and initialized, by client and child; the session's id is $S
//! open 2025-11-25 {"tools":{}}   …and the child can do this
//! open 2025-06-18 as $T          another session; each is with the next child that no step has named
//! meet 2025-11-25                a session whose initialize the gateway answers, for children that are shared; its client declares
//!                                what `declare` says. Where no child was named yet, the first one is `up`
//! meet 2025-06-18 {"tools":{}} as $T  …and can do this; another session
//! open 2024-11-05 over sse       the same over HTTP with SSE (also meet): the stream is called sse, its messages go to $M
//! open 2024-11-05 over sse as $T another of these: the stream is called T, its messages go to $T
//!
//! > a POST {"jsonrpc":…}         the client sends a request, called a, with this body, on a connection of its own
//!     accept: text/plain         …with this field instead of the usual one (below); a second line of a name is a second field
//!     -content-type              …without this field
//!     target: /elsewhere         …to another place than /mcp
//! > a ASK tools/call {"name":"t"}  the client sends a modern request, called a, with the id "a", these params and the modern
//!                                envelope (what the params have of it stands), and the fields that repeat it; fields as above
//! declare {"roots":{}}           clients declare these capabilities from here on; before, none
//! cut a                          the client closes that connection
//!
//! < a 200                        the response to a has this status
//!     cache-control: no-cache    …this field
//!     -mcp-session-id            …and not this one
//! < a 200 {"jsonrpc":…}          …and this body, as application/json, and nothing after it
//! < a 202 empty                  …and no body
//! < a 200 stream                 …and is an event stream
//! < a event {"jsonrpc":…}        the next event of the stream, in our exact shape, with this data…
//! < a event $E {"jsonrpc":…}     …and this id
//! < a message {"jsonrpc":…}      the next event of a stream without ids, with this data
//! < a prime $E                   the next event has this id, asks to come back after a second, and has no data
//! < a retry                      the next block only asks to come back after a second
//! < a comment                    the next block is a keep-alive comment; all other expectations pass over comments
//! < a block                      the next block has exactly these lines
//!     id: $E
//! < a end                        the body ends as it should
//! < a nothing                    nothing more has come, not even a status
//! same a b                       both responses are the same but for their date
//!
//! child> {"jsonrpc":…}           the next line at the first child; child2 is the second, and so on
//! child> end                     its stdin has been closed
//! child nothing                  no line has come
//! child< {"jsonrpc":…}           the child writes a line
//! child exits                    it closes its pipes and ends with status 0
//! child killed                   it ends by SIGKILL
//! child gone                     its process is no more
//! child none                     no child was started beyond those that were named before
//! child up                       it answers the gateway's own initialize, and gets initialized; or its own server/discover
//! child up {"logging":{}}        …and can do this, in place of tools, prompts and resources
//! child lists                    it is asked for its tools, and lists one, t
//! child lists [{"name":"x"}]     …or these
//! child again                    it follows another: it is told what the last `open` said, and answers as it was answered there
//! probe                          two children are started: the next is asked server/discover, the one after it initialize
//!
//! clock +15s                     the clock, which stands still otherwise, moves by this at once (ms, s, m or h)
//! ready                          the admin listener says that sessions can be opened; it is there with `flags: --admin-listen 127.0.0.1:0`
//! unready $why                   …or not, and this is why
//! metric messages_lost_total 1   …and this line stands among its metrics
//! stop                           the gateway is asked to stop
//! stopped                        it has stopped
//! ```
//!
//! Everything is compared as bytes. `$name` in an expectation captures what stands there, later it means that; `$_` is
//! anything; `$$` is a dollar. `<<0d 0a>>` is those bytes, `<<78 * 300>>` is that byte 300 times. `$SERVER` is the `_meta` that
//! names a child that was `up`, `$ENVELOPE` are the members that the gateway adds to the `_meta` of a request of the session that
//! the last `meet` opened.
//!
//! Usual fields: `host`, on POST `accept: application/json, text/event-stream` and `content-type: application/json`, on GET
//! `accept: text/event-stream`, and once a session is open its `mcp-session-id` and, from 2025-06-18 on,
//! `mcp-protocol-version`. At the end nothing may be left over: an event, a response, a child or a line at a child that no
//! step expected fails the transcript.

use std::path::PathBuf;

use self::play::Play;
use crate::support::relay::with_gateway;

mod admin;
mod exchange;
mod list;
mod modern;
mod order;
mod pattern;
mod play;
mod session;

/// One line of a transcript, with the indented lines below it.
struct Step {
    line: usize,
    text: String,
    below: Vec<String>,
}

fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "transcripts"].iter().collect()
}

fn files() -> Vec<String> {
    let files = std::fs::read_dir(directory()).expect("the transcripts").flatten();
    let name = |file: std::fs::DirEntry| file.file_name().to_str()?.strip_suffix(".txt").map(str::to_owned);
    let mut names: Vec<String> = files.filter_map(name).collect();
    names.sort_unstable();
    names
}

/// Plays one transcript; else says where it failed, what was expected and what came.
fn play(name: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(directory().join(name).with_extension("txt")).expect("a transcript");
    let (flags, steps) = parse(&text);
    with_gateway(&flags, async |relay| {
        let mut play = Play::new(relay);
        for step in &steps {
            let at = format!("tests/transcripts/{name}.txt:{}: {}", step.line, step.text);
            play.step(step).await.map_err(|fault| format!("{at}\n{fault}"))?;
        }
        play.left_over().await.map_err(|fault| format!("tests/transcripts/{name}.txt, after the last step:\n{fault}"))
    })
}

fn parse(text: &str) -> (Vec<String>, Vec<Step>) {
    let mut flags = Vec::new();
    let mut steps: Vec<Step> = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(words) = line.strip_prefix("flags:") {
            flags.extend(words.split_whitespace().map(str::to_owned));
        } else if line.starts_with(' ') {
            steps.last_mut().expect("an indented line stands below a step").below.push(line.trim_start().to_owned());
        } else {
            steps.push(Step { line: at + 1, text: line.to_owned(), below: Vec::new() });
        }
    }
    (flags, steps)
}
