//! How fast a message is read, beside what only looks for the end of its line, only checks its UTF-8, and a JSON parser that makes
//! no tree: bytes a second, in one run. `RUSTFLAGS='--cfg fuzzing' cargo bench --bench scan`.

#![allow(clippy::print_stdout)] // it is what the program is for

#[cfg(not(fuzzing))]
fn main() {
    println!("what reads a message is not public: RUSTFLAGS='--cfg fuzzing' cargo bench --bench scan");
}

#[cfg(fuzzing)]
fn main() {
    measured::main();
}

#[cfg(fuzzing)]
mod measured {
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use mcp_http_gateway::fuzzing::reads;

    const SIZE: usize = 4 << 20;
    /// For each measurement; the best of several rounds counts, since what disturbs one only slows it.
    const LONG: Duration = Duration::from_millis(300);
    const ROUNDS: usize = 5;

    type Reader = fn(&[u8]) -> bool;

    const READERS: [(&str, Reader); 4] = [
        ("this gateway", reads),
        ("end of line (memchr)", |text| memchr::memchr(b'\n', text).is_none()),
        ("UTF-8 (std)", |text| std::str::from_utf8(text).is_ok()),
        ("serde_json, no tree", |text| serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok()),
    ];

    fn message(data: &str) -> Vec<u8> {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":{data}}}]}}}}"#).into_bytes()
    }

    fn string(piece: &str) -> String {
        format!("\"{}\"", piece.repeat(SIZE / piece.len()))
    }

    fn gigabytes_a_second(reader: Reader, text: &[u8]) -> f64 {
        let best = (0..ROUNDS).map(|_| {
            let (began, mut count) = (Instant::now(), 0_u32);
            while began.elapsed() < LONG / ROUNDS as u32 || count == 0 {
                assert!(black_box(reader(black_box(text))));
                count += 1;
            }
            text.len() as f64 * f64::from(count) / began.elapsed().as_secs_f64() / 1e9
        });
        best.fold(0.0, f64::max)
    }

    pub(super) fn main() {
        let members = format!("[{}0]", r#"{"name":"a tool","count":12,"is":true},"#.repeat(SIZE / 39));
        let messages = [
            ("text without escapes", message(&string("What a tool says, in plain words, line after line. "))),
            ("a line break each 50 bytes", message(&string("what a tool says, in lines of fifty bytes, a day.\\n"))),
            ("text that is not ASCII", message(&string("Größe, Länge und Übermaß: наука и жизнь. "))),
            ("many small members", message(&members)),
        ];
        println!("{:28}{}", "4 MiB, GB/s", READERS.map(|(name, _)| format!("{name:>26}")).concat());
        for (what, text) in messages {
            let speeds = READERS.map(|(_, reader)| format!("{:>26.1}", gigabytes_a_second(reader, &text)));
            println!("{what:28}{}", speeds.concat());
        }
    }
}
