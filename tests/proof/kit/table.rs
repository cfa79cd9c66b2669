//! Results as lines or as a markdown table.

/// Prints rows under a head: columns side by side, or as markdown.
pub(crate) fn print(head: &[&str], rows: &[Vec<String>], is_markdown: bool) {
    let mut all: Vec<Vec<String>> = vec![head.iter().map(|name| (*name).to_owned()).collect()];
    all.extend(rows.iter().cloned());
    if is_markdown {
        all.insert(1, vec!["---".to_owned(); head.len()]);
        all.iter().for_each(|row| println!("| {} |", row.join(" | ")));
        return;
    }
    let width = |at: usize| all.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in &all {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}
