//! Columns of text, aligned to the right but for the last. Pure: no I/O.

/// A table with a head, each line indented by two.
pub(crate) fn text(head: &[&str], rows: &[Vec<String>]) -> String {
    let wide = |text: &str| text.chars().count();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| wide(cell));
        cells.chain(std::iter::once(wide(head[column]))).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let last = cells.len() - 1;
        let padded = cells.iter().enumerate().map(|(column, cell)| match column {
            _ if column == last => (*cell).to_owned(),
            _ => format!("{cell:>width$}", width = widths[column]),
        });
        format!("  {}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    line(head.to_vec()) + &body.collect::<String>()
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_end_below_each_other() {
        let text = super::text(&["a", "long", ""], &[vec!["10".into(), "2".into(), "why".into()]]);
        assert_eq!(text, "   a  long\n  10     2  why\n");
    }
}
