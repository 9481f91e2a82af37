//! How a table looks, and the cells that many of them have. Knows none of the tables.

use std::fmt::Write;

use super::super::workload::Setup;

/// Appends a table, if it has rows. A column in which they are all empty is left out.
pub(super) fn section(out: &mut String, title: &str, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    if lines.len() < 2 {
        return;
    }
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count());
        let has_cells = lines.iter().skip(1).any(|line| line.get(column).is_some_and(|cell| !cell.is_empty()));
        if has_cells { cells.max() } else { None }
    };
    let widths: Vec<Option<usize>> = (0..columns).map(width).collect();
    let _ = writeln!(out, "\n{title}");
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths).filter_map(|(cell, width)| width.map(|width| (cell, width))) {
            // Words to the left, figures to the right.
            let is_figure = cell.starts_with(|first: char| first.is_ascii_digit() || first == '-');
            let _ = if is_figure { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:<width$}  ") };
        }
        let _ = writeln!(out, "  {}", text.trim_end());
    }
}

/// Which server it was, if there was a choice.
pub(super) fn server(program: &Option<String>) -> String {
    program.clone().unwrap_or_default()
}

/// On how many shards.
pub(super) fn shards(setup: Setup) -> String {
    setup.shards.map_or("as is".to_owned(), |shards| shards.to_string())
}

/// How busy rooms were paced.
pub(super) fn pacing(setup: Setup) -> String {
    match setup.room_flush_ms {
        None => "default".to_owned(),
        Some(0) => "off".to_owned(),
        Some(ms) => format!("{ms} ms"),
    }
}

/// What the messages pass besides the core.
pub(super) fn with(setup: Setup) -> String {
    let parts = [(setup.plugin, "policy"), (setup.acl, "acl"), (setup.durable, "disk"), (setup.acks, "acks")];
    let parts: Vec<&str> = parts.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// Whether a bound was kept.
pub(super) fn verdict(holds: Option<bool>) -> String {
    holds.map_or("", |holds| if holds { "holds" } else { "EXCEEDED" }).to_owned()
}

/// A whole number, its thousands set apart.
pub(super) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value <= -0.5 { format!("-{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(0.4), "0");
        assert_eq!(thousands(-1234.0), "-1,234");
        assert_eq!(thousands(123_456_789.0), "123,456,789");
    }

    #[test]
    fn columns_are_aligned_and_what_is_empty_is_left_out() {
        let mut out = String::new();
        section(&mut out, "none", &["a"], std::iter::empty());
        assert_eq!(out, "");
        let rows = [["word", "", "1"], ["w", "", "100"]].map(|row| row.map(str::to_owned).to_vec());
        section(&mut out, "some", &["a", "none", "b"], rows.into_iter());
        assert_eq!(out, "\nsome\n  a     b\n  word    1\n  w     100\n");
    }
}
