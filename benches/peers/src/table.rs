//! Tables for a terminal and for a README, and numbers as people read them. Pure: no I/O.

use crate::statistics::Spread;

/// Stands for a figure that there is none of.
pub const NONE: &str = "–";

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Columns aligned with spaces.
    Plain,
    /// The table of GitHub's Markdown.
    Markdown,
}

/// Rows of cells under a heading; the first column is flush left, figures are flush right.
#[derive(Debug, Clone)]
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(heading: impl IntoIterator<Item = impl Into<String>>) -> Table {
        Table { heading: heading.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row at the bottom, with a cell for each column.
    pub fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.heading.len(), "a cell for each column");
        self.rows.push(row);
    }

    /// The table, each line with its end.
    pub fn render(&self, style: Style) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&self.heading]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heading.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            let cells: Vec<String> = cells.collect();
            match style {
                Style::Plain => format!("{}\n", cells.join("  ").trim_end()),
                Style::Markdown => format!("| {} |\n", cells.join(" | ")),
            }
        };
        let mut text = line(&self.heading);
        if style == Style::Markdown {
            let rules = widths.iter().enumerate().map(|(column, &width)| match column {
                0 => "-".repeat(width + 2),
                _ => "-".repeat(width + 1) + ":",
            });
            let rules: Vec<String> = rules.collect();
            text.extend(["|", &rules.join("|"), "|\n"]);
        }
        text.extend(self.rows.iter().map(line));
        text
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A measured value of at least 0, with three digits or, from a thousand on, as many as it has before the point.
pub fn figure(value: f64) -> String {
    // The bounds are where rounding would make one digit more.
    match value {
        value if value < 0.9995 => format!("{value:.3}"),
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => grouped(value.round() as u64),
    }
}

/// How many times as much, to a hundredth where that is worth knowing.
pub fn ratio(value: f64) -> String {
    if value < 1.0 { format!("{value:.2}") } else { figure(value) }
}

/// A cell for what may be missing.
pub fn cell<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.into(), show)
}

/// The smallest and the largest value, such as `0.97..1.03`.
pub fn extremes(spread: Spread, show: fn(f64) -> String) -> String {
    format!("{}..{}", show(spread.min), show(spread.max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(["server", "µs", "× tokio"]);
        table.push(vec!["shout".into(), "1.25".into(), "0.50".into()]);
        table.push(vec!["a".into(), "10,000".into(), NONE.into()]);
        table
    }

    #[test]
    fn a_plain_table_is_aligned() {
        let expected = "server      µs  × tokio\n\
                        shout     1.25     0.50\n\
                        a       10,000        –\n";
        assert_eq!(sample().render(Style::Plain), expected);
    }

    #[test]
    fn a_markdown_table_has_its_rule_and_aligns_figures_to_the_right() {
        let expected = "| server |     µs | × tokio |\n\
                        |--------|-------:|--------:|\n\
                        | shout  |   1.25 |    0.50 |\n\
                        | a      | 10,000 |       – |\n";
        assert_eq!(sample().render(Style::Markdown), expected);
    }

    #[test]
    #[should_panic(expected = "a cell for each column")]
    fn a_row_too_short_is_a_mistake() {
        sample().push(vec!["alone".into()]);
    }

    #[test]
    fn figures_have_three_digits_and_groups() {
        let shown = [0.0, 0.1234, 0.9996, 1.234, 9.994, 9.996, 99.94, 99.96, 999.6, 1_234_567.8].map(figure);
        assert_eq!(shown, ["0.000", "0.123", "1.00", "1.23", "9.99", "10.0", "99.9", "100", "1,000", "1,234,568"]);
        assert_eq!([0.123, 0.996, 1.0, 12.34].map(ratio), ["0.12", "1.00", "1.00", "12.3"]);
        assert_eq!([0, 12, 999, 1_000, 1_000_000].map(grouped), ["0", "12", "999", "1,000", "1,000,000"]);
    }

    #[test]
    fn a_missing_figure_is_a_dash() {
        assert_eq!(cell(None, figure), NONE);
        assert_eq!(cell(Some(2.0), figure), "2.00");
        assert_eq!(extremes(Spread { min: 0.97, median: 1.0, max: 12.0 }, ratio), "0.97..12.0");
    }
}
