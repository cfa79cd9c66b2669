//! The stdio child by itself, on its pipes: what no bridge can be faster than.

use std::io::{Read as _, Result, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const CALL: &[u8] =
    b"{\"jsonrpc\":\"2.0\",\"id\":1000000,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"text\":\"hello, world\"}}}\n";

/// One round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trips {
    /// Microseconds of a round trip, the median.
    pub(crate) p50: f64,
    /// Round trips a second, one at a time and 16 at a time.
    pub(crate) rate: f64,
    pub(crate) rate16: f64,
}

/// Round trips, each kind for so long.
pub(crate) fn round(length: Duration) -> Result<Trips> {
    let mut child = Command::new(std::env::current_exe()?).arg("child").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut pipe = Pipe { stdin, stdout, chunk: vec![0; 1 << 16] };
    pipe.trips(1, length / 4)?;
    let mut times = pipe.trips(1, length)?;
    let rate = times.len() as f64 / length.as_secs_f64();
    let rate16 = pipe.trips(16, length)?.len() as f64 / length.as_secs_f64();
    drop(pipe);
    child.wait()?;
    times.sort_unstable();
    Ok(Trips { p50: times[times.len() / 2].as_nanos() as f64 / 1e3, rate, rate16 })
}

struct Pipe {
    stdin: ChildStdin,
    stdout: ChildStdout,
    chunk: Vec<u8>,
}

impl Pipe {
    /// Keeps so many calls at the child; gives, for each that was answered, how long its reader had waited.
    fn trips(&mut self, depth: usize, length: Duration) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        let began = Instant::now();
        self.stdin.write_all(&CALL.repeat(depth))?;
        let (mut away, mut then) = (depth, began);
        while away > 0 {
            let count = self.stdout.read(&mut self.chunk)?;
            let answers = memchr::memchr_iter(b'\n', &self.chunk[..count]).count();
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let now = Instant::now();
            times.resize(times.len() + answers, now - then);
            then = now;
            if began.elapsed() < length {
                self.stdin.write_all(&CALL.repeat(answers))?;
            } else {
                away -= answers;
            }
        }
        Ok(times)
    }
}
