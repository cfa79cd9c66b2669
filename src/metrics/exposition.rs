//! Several expositions as one: the format wants all samples of a metric together, behind one description. And the same in the
//! older text format, for those that do not ask for OpenMetrics.

use std::collections::HashMap;

/// The end of an exposition (OpenMetrics 1.0).
const END: &str = "# EOF";

/// How the metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    OpenMetrics,
    /// Prometheus text format 0.0.4: it knows no info, no units and no end, and a counter's description names it as its samples do.
    Text,
}

impl Format {
    /// By what a scraper accepts.
    pub(crate) fn accepted_by(accept: &str) -> Format {
        if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Text }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[derive(Default)]
struct Metric<'a> {
    name: &'a str,
    /// Kind and text of each line that describes it.
    description: Vec<(&'a str, &'a str)>,
    samples: Vec<&'a str>,
}

/// Every metric once, in the order in which they are first described, with the samples of all texts, which are OpenMetrics.
pub(super) fn merged(texts: &[String], format: Format) -> String {
    let mut metrics: Vec<Metric<'_>> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for text in texts {
        let mut here = None;
        for line in text.lines().filter(|line| *line != END) {
            let Some((kind, name, words)) = described(line) else {
                here.and_then(|at: usize| metrics.get_mut(at)).into_iter().for_each(|metric| metric.samples.push(line));
                continue;
            };
            let at = *known.entry(name).or_insert_with(|| {
                metrics.push(Metric { name, ..Metric::default() });
                metrics.len() - 1
            });
            here = Some(at);
            // The first text that has a metric describes it.
            if let Some(metric) = metrics.get_mut(at)
                && metric.description.iter().all(|(known, _)| *known != kind)
            {
                metric.description.push((kind, words));
            }
        }
    }
    let mut all = String::with_capacity(texts.iter().map(String::len).sum());
    metrics.iter().for_each(|metric| metric.write(format, &mut all));
    if format == Format::OpenMetrics {
        all.push_str(END);
        all.push('\n');
    }
    all
}

impl Metric<'_> {
    fn write(&self, format: Format, out: &mut String) {
        let is = |of: &str| self.description.contains(&("TYPE", of));
        let suffix = match format {
            Format::Text if is("counter") => "_total",
            Format::Text if is("info") => "_info",
            _ => "",
        };
        for (kind, words) in &self.description {
            let words = match (format, *kind) {
                (Format::Text, "UNIT") => continue,
                (Format::Text, "TYPE") if is("info") => "gauge",
                _ => words,
            };
            out.extend(["# ", kind, " ", self.name, suffix, " ", words, "\n"]);
        }
        for sample in &self.samples {
            out.extend([sample, "\n"]);
        }
    }
}

/// Kind, metric and words of a line that describes one: `# HELP NAME …`, `# TYPE NAME …`, `# UNIT NAME …`.
fn described(line: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (name, words) = rest.split_once(' ').unwrap_or((rest, ""));
    Some((kind, name, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# HELP a About a.\n# TYPE a counter\n# UNIT a bytes\na_total 1\n# HELP b About b.\n# TYPE b info\n# EOF\n";
    const TWO: &str = "# HELP b About b.\n# TYPE b info\nb_info{server=\"x\"} 1\n# HELP a About a.\n# TYPE a counter\n# UNIT a bytes\na_total{server=\"x\"} 3\n# EOF\n";

    #[test]
    fn samples_of_one_metric_stand_together_behind_one_description() {
        assert_eq!(
            merged(&[ONE.to_owned(), TWO.to_owned()], Format::OpenMetrics),
            "# HELP a About a.\n# TYPE a counter\n# UNIT a bytes\na_total 1\na_total{server=\"x\"} 3\n\
             # HELP b About b.\n# TYPE b info\nb_info{server=\"x\"} 1\n# EOF\n"
        );
    }

    #[test]
    fn the_older_format_names_metrics_as_their_samples_are_named() {
        assert_eq!(
            merged(&[ONE.to_owned(), TWO.to_owned()], Format::Text),
            "# HELP a_total About a.\n# TYPE a_total counter\na_total 1\na_total{server=\"x\"} 3\n\
             # HELP b_info About b.\n# TYPE b_info gauge\nb_info{server=\"x\"} 1\n"
        );
        assert_eq!(Format::accepted_by("application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"), Format::OpenMetrics);
        assert_eq!(Format::accepted_by("text/plain;version=0.0.4"), Format::Text);
    }
}
