//! Where lost messages went and how they clustered, as bars. Pure: no I/O.

use super::sheet::{bars, heading, note};
use crate::report::document::Document;
use crate::report::screen::{count, percent};

/// Nothing for a run without losses over UDP alone.
pub(super) fn part(run: &Document) -> String {
    let loss = &run.loss;
    let mut text = String::new();
    if run.counts.lost > 0 {
        let causes = &loss.attribution;
        let causes = [
            ("the server's receive buffer was full", causes.server_rcvbuf),
            ("our receive buffer was full", causes.client_rcvbuf),
            ("refused: nobody listened at the server's port", causes.refused),
            ("never sent: our network interface was full", causes.never_sent),
            ("answered too late", causes.late),
            ("no trace on this machine", causes.unknown),
        ];
        let rows = causes.into_iter().filter(|(_, number)| *number > 0);
        let row = |(name, number): (&str, u64)| {
            (name.to_owned(), number, format!("{} ({})", count(number), percent(number, run.counts.lost)))
        };
        text += &heading(&format!("{} of {} messages, by cause", count(run.counts.lost), count(run.counts.sent)));
        text += &bars("lost", &rows.map(row).collect::<Vec<_>>());
    }
    if !loss.bursts.is_empty() {
        let mut sizes: Vec<(&String, u64)> = loss.bursts.iter().map(|(size, number)| (size, *number)).collect();
        // By the number that the name begins with.
        sizes.sort_by_key(|(size, _)| size.split(['-', '+']).next().and_then(|from| from.parse::<u64>().ok()));
        let row =
            |(size, number): (&String, u64)| (format!("{} in a row", size.replace('-', "–")), number, count(number));
        text += &heading("How they clustered: consecutive datagrams of one socket that were all lost");
        text += &bars("lost", &sizes.into_iter().map(row).collect::<Vec<_>>());
        text += &note(&format!("The longest burst was {}.", count(loss.longest_burst)));
    }
    if let (Some(retransmits), Some(overflows)) = (loss.retransmits, loss.listen_overflows) {
        text += &note(&format!(
            "TCP on this machine meanwhile: {} segments sent again, {} connections that found a full listen queue.",
            count(retransmits),
            count(overflows)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Attribution;

    #[test]
    fn causes_and_bursts_are_named_in_order() {
        let mut run = Document::for_tests();
        assert_eq!(part(&run), "");
        (run.counts.sent, run.counts.lost) = (1000, 30);
        run.loss.attribution = Attribution { server_rcvbuf: 20, unknown: 10, ..Attribution::default() };
        run.loss.bursts = [("16-31".to_owned(), 1), ("2-3".to_owned(), 5)].into();
        let text = part(&run);
        for expected in ["receive buffer was full", "20 (66.667%)", "10 (33.333%)", "2–3 in a row"] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        assert!(text.find("2–3").unwrap() < text.find("16–31").unwrap());
        assert!(!text.contains("too late"), "{text}");
    }
}
