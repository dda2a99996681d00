//! What the pages for readers refer to: every relative link, every file and every `file:name` in them exists. What they refer
//! to as an item of the library, rustdoc checks.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where the files of the project lie, as seen from its root.
const PLACES: [&str; 6] = ["src/", "tests/", "tools/", "benches/", ".ci/", "target/"];

/// The pages: those on paper, and the documentation comments of the two that are code.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    let mut pages: Vec<PathBuf> =
        ["README.md", "tools/deploy/README.md", "src/promises.md", "src/lib.rs", "src/book.rs", "src/experiments.rs"]
            .map(|page| root.join(page))
            .into();
    let chapters = fs::read_dir(root.join("src/book")).unwrap().map(|entry| entry.unwrap().path());
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md" || extension == "rs");
    pages.extend(chapters.filter(is_page));
    pages
}

/// The prose of a page, without the examples to type in.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// What stands between single backticks.
fn quoted(prose: &str) -> impl Iterator<Item = &str> {
    prose.split('`').skip(1).step_by(2)
}

/// The targets of links: what stands in the parentheses behind the brackets.
fn targets(prose: &str) -> impl Iterator<Item = &str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// How rustdoc and others name a heading.
fn anchor(heading: &str) -> String {
    let letters = heading.trim_start_matches(['/', '!', ' ', '#']).trim().to_lowercase();
    let kept = letters.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn has_heading(page: &Path, wanted: &str) -> bool {
    let text = fs::read_to_string(page).unwrap_or_default();
    text.lines().filter(|line| line.trim_start_matches("//! ").starts_with('#')).any(|line| anchor(line) == wanted)
}

/// Whether a file has a name in it as a word of its own.
fn names(file: &Path, name: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == name)
}

/// What is wrong with a target of a link, if it is one for us to check.
fn broken_link(page: &Path, target: &str) -> Option<String> {
    if target.contains("://") || (target.contains("::") && !target.contains('/')) {
        return None;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let file = match file {
        "" => page.to_owned(),
        "crate" => Path::new(ROOT).join("src/lib.rs"),
        file if page.extension().is_some_and(|extension| extension == "rs") && !file.contains('/') => return None,
        file => page.parent().unwrap().join(file),
    };
    if !file.exists() {
        return Some(format!("{target} is not there"));
    }
    heading.filter(|heading| !has_heading(&file, heading)).map(|heading| format!("no heading {heading}"))
}

/// What is wrong with something between backticks, if it speaks of a file of the project. The second says whether it does.
fn broken_mention(quoted: &str) -> (Option<String>, bool) {
    if quoted.contains([' ', '*', '\u{a0}', '<', '{', '…']) || !PLACES.iter().any(|place| quoted.starts_with(place)) {
        return (None, false);
    }
    let (file, name) = quoted.split_once(':').map_or((quoted, None), |(file, name)| (file, Some(name)));
    // What is built is not there before it is.
    if file.starts_with("target/") {
        return (None, false);
    }
    let file = Path::new(ROOT).join(file);
    let wrong = match name {
        _ if !file.exists() => Some(format!("{quoted} is not there")),
        Some(name) if !names(&file, name) => Some(format!("nothing in {quoted} has that name")),
        _ => None,
    };
    (wrong, true)
}

#[test]
fn every_link_and_every_name_exists() {
    let (mut broken, mut links, mut mentions) = (Vec::new(), 0, 0);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        let prose = prose(&text);
        for target in targets(&prose) {
            links += 1;
            broken.extend(broken_link(&page, target).map(|wrong| format!("{}: {wrong}", page.display())));
        }
        for quoted in quoted(&prose) {
            let (wrong, is_mention) = broken_mention(quoted);
            mentions += usize::from(is_mention);
            broken.extend(wrong.map(|wrong| format!("{}: {wrong}", page.display())));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(links > 30 && mentions > 50, "{links} links and {mentions} mentions were seen");
}

#[test]
fn what_is_not_there_is_noticed() {
    let page = Path::new(ROOT).join("README.md");
    assert!(broken_link(&page, "src/server.rs").is_none() && broken_link(&page, "src/servant.rs").is_some());
    assert!(broken_link(&page, "#a-run").is_none() && broken_link(&page, "#a-walk").is_some());
    assert!(broken_mention("src/server.rs:note_events").0.is_none());
    assert!(broken_mention("src/server.rs:note_event").0.is_some());
}
