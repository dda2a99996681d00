//! The pictures of the documentation: that of a run in the README, the script that draws such pictures, and the drawings of
//! the book and the experiments. It takes Python and Chromium; without them the tests say so and pass.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Draws a text, has another parser read the picture, and gives back what is written in it, a piece a line.
fn drawn(text: &str) -> Option<String> {
    let draw = "tools/picture --until END --title 'a < b' | python3 -c 'import sys, xml.etree.ElementTree as tree\nfor text in tree.parse(sys.stdin).iter(\"{http://www.w3.org/2000/svg}text\"): print(text.text)'";
    let mut shell = Command::new("sh");
    shell.args(["-c", draw]).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::piped()).stdout(Stdio::piped());
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return None;
    }
    let mut child = shell.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Some(String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap())
}

#[test]
fn a_text_is_drawn_as_it_is_up_to_the_line_that_ends_it() {
    let Some(pieces) = drawn("one & <two>\n   ███▌ bars\n  END\nbehind it\n") else { return };
    assert_eq!(pieces.lines().collect::<Vec<_>>(), ["$ a < b", "one & <two>", "███▌", "bars", "END"]);
}

#[test]
fn the_picture_of_the_readme_is_of_a_run_that_was_valid() {
    let picture = include_str!("../src/pictures/run.svg");
    assert!(picture.contains("$ cargo run --release -p shout-load"), "a command that the README gives");
    for said in ["every byte of every reply verified", ">VALID<", "corrupted 0"] {
        assert!(picture.contains(said), "{said}");
    }
}

#[test]
fn the_picture_of_the_race_is_of_the_race_in_the_table_beside_it() {
    let readme = include_str!("../README.md");
    for command in ["cargo bench -p peers --bench race -- --markdown -o race.html", "tools/screenshot race.html"] {
        assert!(readme.contains(command), "{command}");
    }
    let rows = readme.lines().skip_while(|line| !line.starts_with("| shout, × naive-mio")).skip(2);
    let rows = rows.map_while(|line| line.strip_prefix("| "));
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().replace("**", "")).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert_eq!(rows.len(), 9, "a row for each load");
    let told = Command::new("tools/screenshot").args(["--text", "src/pictures/race.png"]).output();
    let Some(told) = told.ok().filter(|told| told.status.success()) else {
        return println!("skipped: there is no python3");
    };
    let told = String::from_utf8(told.stdout).unwrap();
    for row in &rows {
        assert_eq!(told.lines().filter(|line| *line == row[0]).count(), 2, "{} has its rates and its costs", row[0]);
    }
    let sentence = told.lines().find(|line| line.starts_with("shout gives ")).expect(&told);
    let numbers: Vec<f64> =
        sentence.split('×').skip(1).map(|rest| rest.split(' ').next().unwrap().parse().unwrap()).collect();
    for (column, ends) in numbers.chunks(2).enumerate() {
        let of_table = || rows.iter().map(|row| row[column + 1].parse::<f64>().unwrap());
        let ends_of_table = [of_table().fold(f64::INFINITY, f64::min), of_table().fold(0.0, f64::max)];
        for (end, in_table) in ends.iter().zip(ends_of_table) {
            assert!((end / in_table - 1.0).abs() < 0.02, "{sentence} and {rows:?}");
        }
    }
    assert_eq!(numbers.len(), 4, "{sentence}");
}

/// Has a browser measure every text of every drawing; each line is one that leaves its drawing or meets another text of it.
const MEASURE: &str = "
    const wrong = [];
    for (const drawing of document.querySelectorAll('svg')) {
        const sheet = drawing.getBoundingClientRect(), name = drawing.closest('section').dataset.name, seen = [];
        for (const text of drawing.querySelectorAll('text')) {
            // As it is shown: a label may be turned.
            const { x, y, right, bottom: end } = text.getBoundingClientRect();
            if (x < sheet.x || y < sheet.y || right > sheet.right || end > sheet.bottom)
                wrong.push(`${name}: ${text.textContent}`);
            for (const other of seen)
                if (x < other.right && other.x < right && y + 3 < other.end && other.y + 3 < end)
                    wrong.push(`${name}: ${text.textContent} over ${other.name}`);
            seen.push({ x, y, right, end, name: text.textContent });
        }
    }
    document.body.replaceChildren('[measured] ' + wrong.join('; ') + ' [end]');";

#[test]
fn every_text_of_a_drawing_can_be_read() {
    let drawings = ["src/book", "src/book/growth", "src/pictures"]
        .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let files = drawings.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    // That of the run is a terminal's text, whose cells overlap by nature.
    let is_drawing = |path: &Path| path.extension().is_some_and(|end| end == "svg") && !path.ends_with("run.svg");
    let mut page = String::from("<!DOCTYPE html><meta charset=utf-8><body>");
    let mut count = 0;
    for file in files.filter(|path| is_drawing(path)) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let drawing = fs::read_to_string(&file).unwrap();
        page.extend(["<section data-name=\"", &name, "\">", &drawing, "</section>"]);
        count += 1;
    }
    assert!(count >= 19, "{count} drawings were found");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drawings");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("page.html");
    fs::write(&file, format!("{page}<script>{MEASURE}</script>")).unwrap();
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]);
    browser.arg(format!("--user-data-dir={}", folder.join("profile").display()));
    let Ok(output) = browser.arg(format!("file://{}", file.display())).output() else {
        return println!("skipped: there is no Chromium");
    };
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, said) = said.split_once("[measured] ").expect("the browser has not measured anything");
    let (wrong, _) = said.split_once(" [end]").unwrap();
    assert_eq!(wrong, "", "texts that are cut or covered");
    fs::remove_dir_all(&folder).unwrap();
}
