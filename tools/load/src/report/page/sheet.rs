//! What every page is made of: the sheet with its styles, sections, tables and bars. Pure: no I/O.

use std::fmt::Write;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// A whole page. `data` goes into it as it is, where neither a browser shows it nor its text can end early.
pub(in crate::report) fn sheet(title: &str, body: &str, data: &str) -> String {
    // A page that is read from a file may load nothing: what is not in it is not asked for.
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}\n\
         {data}\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        escape(title)
    )
}

/// A part of the page under a heading; nothing where there is nothing to say.
pub(in crate::report) fn section(title: &str, body: &str) -> String {
    if body.is_empty() { String::new() } else { format!("<section>\n<h2>{title}</h2>\n{body}\n</section>") }
}

/// What a figure or some bars are of.
pub(in crate::report) fn heading(text: &str) -> String {
    format!("<h3>{text}</h3>")
}

/// A table of a class of its own. The first cell of each row is its name. Cells are markup.
pub(in crate::report) fn table(class: &str, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("<div class=\"scroll {class}\"><table><thead><tr>");
    for name in head {
        // Writing to a String cannot fail.
        let _ = write!(text, "<th>{name}</th>");
    }
    text += "</tr></thead><tbody>";
    for row in rows {
        text += "<tr>";
        for (place, cell) in row.iter().enumerate() {
            let tag = if place == 0 { "th" } else { "td" };
            let _ = write!(text, "<{tag}>{cell}</{tag}>");
        }
        text += "</tr>";
    }
    text + "</tbody></table></div>"
}

/// A remark below a figure or a table.
pub(in crate::report) fn note(text: &str) -> String {
    format!("<p class=\"note\">{text}</p>")
}

/// Names and numbers beside bars, as long as their shares of the greatest of them. Names and words are markup.
pub(in crate::report) fn bars(class: &str, rows: &[(String, u64, String)]) -> String {
    let most = rows.iter().map(|row| row.1).max().unwrap_or(0).max(1);
    let bar = |(name, number, words): &(String, u64, String)| {
        let share = 100.0 * *number as f64 / most as f64;
        format!("<dt>{name}</dt><dd><i class=\"{class}\" style=\"width:{share:.1}%\"></i><span>{words}</span></dd>")
    };
    format!("<dl class=\"bars\">{}</dl>", rows.iter().map(bar).collect::<String>())
}

/// Text that is no markup.
pub(in crate::report) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_line_says_is_no_markup() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }

    #[test]
    fn the_script_is_small() {
        assert!(SCRIPT.len() <= 10 << 10);
    }

    #[test]
    fn a_part_without_content_has_no_heading_either() {
        assert_eq!(section("Losses", ""), "");
    }
}
