//! A curve as a drawing: SVG, made by hand so that it stays small and can be read as text. Pure: no I/O.
//!
//! The horizontal axis is logarithmic and takes 0 as well, one step to the left of the smallest other value. The
//! vertical one starts at 0, or is logarithmic where the values span too much for that.

use std::fmt::Write;

use crate::statistics::Spread;
use crate::table::grouped;

/// Everything there is to draw.
#[derive(Debug, Clone)]
pub struct Plot {
    /// What is shown.
    pub title: String,
    /// Under which circumstances, in two lines of at most [`SUBTITLE`] characters.
    pub subtitle: [String; 2],
    /// The quantity along the horizontal axis, with its unit.
    pub across: String,
    /// The quantity along the vertical axis, with its unit.
    pub up: String,
    /// Where the horizontal axis has a tick, in ascending order, each with its label.
    pub ticks: Vec<(f64, String)>,
    /// The lines, at most [`COLOURS`] of them.
    pub lines: Vec<Line>,
}

/// The measurements of one contestant.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it is called.
    pub name: String,
    /// Where, and what was measured there, in ascending order.
    pub points: Vec<(f64, Spread)>,
}

/// Colours that differ for the colour-blind too (M. Okabe and K. Ito, "Color Universal Design", 2008), those that show
/// on white.
const PALETTE: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// The text's own colour, so that a drawing suits a light page and a dark one.
const AXIS: &str = "currentColor";
const GRID: &str = "#8884";

/// How many lines have a colour of their own.
pub const COLOURS: usize = PALETTE.len();

// The drawing and the frame of the curves in it, in pixels at a scale of 1.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 456.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 636.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 386.0;

/// Beyond this ratio of the largest to the smallest value, a linear axis would press most of them flat.
const LARGEST_LINEAR_RATIO: f64 = 10.0;

/// How much further left 0 is than the smallest other value, in decades.
const ZERO_STEP: f64 = 0.6;

/// How many characters a line of the subtitle may have to fit into the drawing.
pub const SUBTITLE: usize = 96;

/// Names at the ends of lines keep this distance, in pixels.
const LABEL_HEIGHT: f64 = 16.0;

/// The width of a character of the labels, rounded up.
const CHARACTER: f64 = 7.5;

impl Plot {
    /// The drawing as a complete SVG document. Without any point, a frame without a line.
    pub fn svg(&self) -> String {
        let across = Across::of(&self.ticks);
        let values = self.lines.iter().flat_map(|line| &line.points).flat_map(|(_, spread)| [spread.min, spread.max]);
        let up = Up::of(values);
        let mut svg = String::new();
        self.head(&mut svg);
        self.frame(&mut svg, &across, &up);
        let colours = PALETTE.iter().cycle();
        // Nothing measured, nothing drawn; but the others keep their colours.
        for (line, colour) in self.lines.iter().zip(colours.clone()).filter(|(line, _)| !line.points.is_empty()) {
            draw_line(&mut svg, line, colour, &across, &up);
        }
        let ends = self.lines.iter().zip(colours).filter_map(|(line, &colour)| {
            let (_, last) = line.points.last()?;
            Some((up.y(last.median), line.name.as_str(), colour))
        });
        for (y, name, colour) in apart(ends.collect()) {
            text(&mut svg, (RIGHT + 12.0, y + 4.0), &format!("fill=\"{colour}\" font-weight=\"600\""), name);
        }
        svg + "</svg>\n"
    }

    fn head(&self, svg: &mut String) {
        let (title, subtitle) = (escaped(&self.title), escaped(&self.subtitle.join("; ")));
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             role=\"img\" style=\"max-width:100%;font:13px system-ui,sans-serif\" fill=\"currentColor\">\n\
             <title>{title}</title>\n<desc>{subtitle}</desc>\n"
        );
        text(svg, (24.0, 30.0), "font-size=\"17\" font-weight=\"600\"", &self.title);
        for (line, y) in self.subtitle.iter().zip([51.0, 68.0]) {
            text(svg, (24.0, y), "opacity=\".8\"", line);
        }
    }

    /// Grid, axes, ticks and their labels.
    fn frame(&self, svg: &mut String, across: &Across, up: &Up) {
        for &value in &up.ticks {
            let y = up.y(value);
            stroke(svg, (LEFT, y), (RIGHT, y), GRID, 1.0);
            text(svg, (LEFT - 10.0, y + 4.0), "text-anchor=\"end\"", &tick_label(value));
        }
        let mut free_until = WIDTH;
        for (value, label) in self.ticks.iter().rev() {
            let x = across.x(*value);
            stroke(svg, (x, BOTTOM), (x, BOTTOM + 5.0), AXIS, 1.0);
            let half = label.chars().count() as f64 * CHARACTER / 2.0;
            // A label that would run into its neighbour is left out, though never that of the end; its tick stays.
            if x + half <= free_until {
                text(svg, (x, BOTTOM + 21.0), "text-anchor=\"middle\"", label);
                free_until = x - half;
            }
        }
        stroke(svg, (LEFT, BOTTOM), (RIGHT, BOTTOM), AXIS, 1.0);
        let middle = f64::midpoint(LEFT, RIGHT);
        text(svg, (middle, BOTTOM + 48.0), "text-anchor=\"middle\"", &self.across);
        let middle = f64::midpoint(TOP, BOTTOM);
        let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 20 {middle})\"");
        text(svg, (20.0, middle), &turned, &self.up);
    }
}

/// From a quantity to a place on the horizontal axis.
struct Across {
    /// The decade of the smallest value above 0.
    first: f64,
    low: f64,
    high: f64,
}

impl Across {
    fn of(ticks: &[(f64, String)]) -> Across {
        let positive = ticks.iter().map(|(value, _)| *value).find(|&value| value > 0.0);
        let mut across = Across { first: positive.unwrap_or(1.0).log10(), low: 0.0, high: 1.0 };
        if let [(first, _), .., (last, _)] = ticks {
            (across.low, across.high) = (across.decade(*first), across.decade(*last));
        }
        across
    }

    fn decade(&self, value: f64) -> f64 {
        if value > 0.0 { value.log10() } else { self.first - ZERO_STEP }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (self.decade(value) - self.low) / (self.high - self.low) * (RIGHT - LEFT)
    }
}

/// From a value to a place on the vertical axis, which reaches from its first to its last tick.
struct Up {
    /// Round numbers, in ascending order, at least two.
    ticks: Vec<f64>,
    is_logarithmic: bool,
}

impl Up {
    fn of(values: impl IntoIterator<Item = f64>) -> Up {
        let Some(Spread { min, max, .. }) = Spread::of(values).filter(|all| all.max > 0.0) else {
            return Up { ticks: vec![0.0, 1.0], is_logarithmic: false };
        };
        // A value of 0 has no place on a logarithmic axis; such a curve is drawn on a linear one.
        if min > 0.0 && max / min > LARGEST_LINEAR_RATIO {
            return Up { ticks: logarithmic_ticks(min, max), is_logarithmic: true };
        }
        let step = round_step(max / 4.0);
        let count = (max / step).ceil() as u32;
        Up { ticks: (0..=count).map(|index| f64::from(index) * step).collect(), is_logarithmic: false }
    }

    fn y(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_logarithmic { value.log10() } else { value };
        let (low, high) = (scale(self.ticks[0]), scale(self.ticks[self.ticks.len() - 1]));
        BOTTOM - (scale(value) - low) / (high - low) * (BOTTOM - TOP)
    }
}

/// 1, 2 and 5 times the powers of ten, as many as reach over both ends.
fn logarithmic_ticks(min: f64, max: f64) -> Vec<f64> {
    let decades = min.log10().floor() as i32..=max.log10().ceil() as i32;
    let all: Vec<f64> = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powi(decade))).collect();
    let first = all.iter().rposition(|&tick| tick <= min).unwrap_or(0);
    let last = all.iter().position(|&tick| tick >= max).unwrap_or(all.len() - 1);
    all[first..=last].to_vec()
}

/// The smallest of 1, 2, 2.5 and 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| factor * power >= step);
    factor.unwrap_or(10.0) * power
}

/// `0.025`, `7.5`, `1,000`: no more digits than a round number has.
fn tick_label(value: f64) -> String {
    if value >= 10.0 && value.fract() == 0.0 {
        return grouped(value as u64);
    }
    let label = format!("{value:.4}");
    label.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A line through the medians, a dot at each, and a bar from the smallest to the largest value.
fn draw_line(svg: &mut String, line: &Line, colour: &str, across: &Across, up: &Up) {
    for (value, spread) in &line.points {
        let x = across.x(*value);
        stroke(svg, (x, up.y(spread.min)), (x, up.y(spread.max)), colour, 1.5);
    }
    let places = line.points.iter().map(|(value, spread)| (across.x(*value), up.y(spread.median)));
    let path: Vec<String> = places.clone().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let path = path.join(" ");
    let _ = writeln!(svg, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
    for (x, y) in places {
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
    }
}

/// Moves labels down where they would cover each other, from the top; those that reach the bottom push back up.
fn apart<'a>(mut labels: Vec<(f64, &'a str, &'a str)>) -> Vec<(f64, &'a str, &'a str)> {
    labels.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
    for index in 1..labels.len() {
        labels[index].0 = labels[index].0.max(labels[index - 1].0 + LABEL_HEIGHT);
    }
    let mut lowest = BOTTOM;
    for (y, ..) in labels.iter_mut().rev() {
        *y = y.min(lowest);
        lowest = *y - LABEL_HEIGHT;
    }
    labels
}

fn stroke(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, width: f64) {
    let ends = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
    let _ = writeln!(svg, "<line {ends} stroke=\"{colour}\" stroke-width=\"{width}\"/>");
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, content: &str) {
    let space = if attributes.is_empty() { "" } else { " " };
    let content = escaped(content);
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\"{space}{attributes}>{content}</text>");
}

/// Text as XML wants it between tags.
fn escaped(text: &str) -> String {
    // Control characters have no place in XML, not even escaped.
    text.replace(char::is_control, "\u{fffd}").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread { min: median * 0.9, median, max: median * 1.2 }
    }

    fn plot(lines: Vec<Line>) -> Plot {
        let ticks = [0, 1, 10, 12, 1_000];
        Plot {
            title: "Cost & <more>".into(),
            subtitle: ["\u{1b}[1m measured".into(), "twice".into()],
            across: "connections".into(),
            up: "µs".into(),
            ticks: ticks.map(|tick| (f64::from(tick), tick.to_string())).to_vec(),
            lines,
        }
    }

    fn line(name: &str, medians: [f64; 5]) -> Line {
        Line {
            name: name.into(),
            points: [0.0, 1.0, 10.0, 12.0, 1_000.0].into_iter().zip(medians.map(spread)).collect(),
        }
    }

    /// Every coordinate that is drawn, as (name, value).
    fn coordinates(svg: &str) -> Vec<(String, f64)> {
        let document = roxmltree::Document::parse(svg).expect("well-formed XML");
        let attributes = document.descendants().flat_map(|node| node.attributes());
        let mut all = Vec::new();
        for attribute in attributes {
            match attribute.name() {
                name @ ("x" | "x1" | "x2" | "cx" | "y" | "y1" | "y2" | "cy") => {
                    all.push((name.to_owned(), attribute.value().parse().unwrap()));
                }
                "points" => all.extend(attribute.value().split([' ', ',']).enumerate().map(|(index, number)| {
                    (if index % 2 == 0 { "x" } else { "y" }.to_owned(), number.parse().unwrap())
                })),
                _ => {}
            }
        }
        all
    }

    #[test]
    fn the_drawing_is_xml_and_nothing_leaves_it() {
        for medians in [[4.0, 5.0, 4.0, 6.0, 7.0], [1.0, 5.0, 40.0, 600.0, 7_000.0], [2.0; 5], [1e-3; 5], [0.0; 5]] {
            let svg = plot(vec![line("a <b> & c", medians), line("shout", medians)]).svg();
            for (name, value) in coordinates(&svg) {
                let most = if name.contains('x') { WIDTH } else { HEIGHT };
                assert!((0.0..=most).contains(&value), "{name} is {value} for {medians:?}:\n{svg}");
            }
        }
    }

    #[test]
    fn names_and_labels_are_what_was_given() {
        let svg = plot(vec![line("a <b> & c", [1.0; 5])]).svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let texts: Vec<&str> =
            document.descendants().filter(|node| node.has_tag_name("text")).filter_map(|node| node.text()).collect();
        for expected in
            ["Cost & <more>", "\u{fffd}[1m measured", "twice", "connections", "µs", "a <b> & c", "0", "1000"]
        {
            assert!(texts.contains(&expected), "{expected:?} is not among {texts:?}");
        }
        assert!(!texts.contains(&"10"), "the labels of 10 and 12 would overlap");
    }

    #[test]
    fn without_a_point_there_is_still_a_drawing() {
        for lines in [vec![], vec![Line { name: "nobody".into(), points: vec![] }]] {
            assert!(!coordinates(&plot(lines).svg()).is_empty());
        }
    }

    #[test]
    fn more_is_higher_and_further_right() {
        let across = Across::of(&plot(vec![]).ticks);
        let (zero, one, ten, thousand) = (across.x(0.0), across.x(1.0), across.x(10.0), across.x(1_000.0));
        assert!((zero - LEFT).abs() < 1e-9 && (thousand - RIGHT).abs() < 1e-9);
        assert!(((thousand - ten) / (ten - one) - 2.0).abs() < 1e-9, "two decades are twice as long as one");
        for up in [Up::of([1.0, 8.0]), Up::of([1.0, 800.0])] {
            assert!(up.y(8.0) < up.y(2.0) && up.y(1.0) <= BOTTOM);
        }
    }

    #[test]
    fn ticks_are_round_and_reach_over_the_largest_value() {
        let labels = |values: [f64; 2]| Up::of(values).ticks.into_iter().map(tick_label).collect::<Vec<_>>();
        assert_eq!(labels([3.0, 7.3]), ["0", "2", "4", "6", "8"]);
        assert_eq!(labels([3.0, 8.9]), ["0", "2.5", "5", "7.5", "10"]);
        assert_eq!(labels([0.05, 0.09]), ["0", "0.025", "0.05", "0.075", "0.1"]);
        assert_eq!(labels([3.0, 73.0]), ["2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels([200.0, 5_000.0]), ["200", "500", "1,000", "2,000", "5,000"]);
    }

    #[test]
    fn labels_keep_their_distance_and_stay_inside() {
        let labels = apart(vec![(BOTTOM, "a", ""), (BOTTOM - 3.0, "b", ""), (100.0, "c", ""), (101.0, "d", "")]);
        let places: Vec<f64> = labels.iter().map(|(y, ..)| *y).collect();
        assert_eq!(places, [100.0, 116.0, BOTTOM - LABEL_HEIGHT, BOTTOM]);
        let names: Vec<&str> = labels.iter().map(|(_, name, _)| *name).collect();
        assert_eq!(names, ["c", "d", "b", "a"]);
    }
}
