//! What a call cost when somebody last looked: `name count`, a line a case, below a line that says what it was made with.

use std::io::ErrorKind;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/baseline.txt");
/// Begins the line that says what it was made with.
const MADE: &str = "# Instructions a call, made with ";

#[derive(Default)]
pub(crate) struct Baseline {
    made_with: String,
    counts: Vec<(String, u64)>,
}

impl Baseline {
    /// Reads the stored one; it is empty if there is none.
    pub(crate) fn read() -> Result<Baseline, String> {
        match std::fs::read_to_string(PATH) {
            Ok(text) => Baseline::parse(&text),
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(Baseline::default()),
            Err(why) => Err(format!("cannot read the baseline: {why}")),
        }
    }

    fn parse(text: &str) -> Result<Baseline, String> {
        let made_with = text.lines().find_map(|line| line.strip_prefix(MADE)).unwrap_or("unknown tools").to_owned();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let counts = lines.map(|line| {
            let count = line.split_once(' ').and_then(|(name, count)| Some((name.to_owned(), count.trim().parse().ok()?)));
            count.filter(|(_, count)| *count > 0).ok_or_else(|| format!("the baseline has a line that is no count: {line}"))
        });
        Ok(Baseline { made_with, counts: counts.collect::<Result<_, _>>()? })
    }

    pub(crate) fn of(&self, case: &str) -> Option<u64> {
        self.counts.iter().find(|(name, _)| name == case).map(|(_, count)| *count)
    }

    pub(crate) fn made_with(&self) -> &str {
        if self.made_with.is_empty() { "none" } else { &self.made_with }
    }

    /// Whether it can be held against what these tools make: instructions of another architecture are others.
    pub(crate) fn must_fit(&self, tools: &str) -> Result<(), String> {
        let architecture = |tools: &str| tools.split(',').next().unwrap_or_default().to_owned();
        let (there, here) = (architecture(&self.made_with), architecture(tools));
        if self.counts.is_empty() || there == here {
            return Ok(());
        }
        Err(format!("the baseline was made on {there}, which says nothing about {here}"))
    }
}

/// Writes a new one.
pub(crate) fn save(tools: &str, counts: &[(&str, u64)]) -> Result<(), String> {
    let lines: String = counts.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
    let text = format!("{MADE}{tools}\n# Written by `cargo bench --bench instructions -- --save`.\n{lines}");
    std::fs::write(PATH, text).map_err(|why| format!("cannot write the baseline: {why}"))
}
