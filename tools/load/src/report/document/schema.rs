//! The published schemas against the types that they are made from. Reads and, when asked to, writes the files.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Document;
use crate::report::repeats::Repeats;

/// A schema that is published: the name of its file, and what this version writes.
pub(crate) struct Published {
    file: &'static str,
    text: String,
}

impl Published {
    /// The schema of `T`, published as `file`.
    pub(crate) fn of<T: schemars::JsonSchema>(file: &'static str, title: &str) -> Self {
        let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
        let mut schema = generator.into_root_schema_for::<T>();
        schema.insert("title".into(), title.into());
        Published { file, text: serde_json::to_string_pretty(&schema).unwrap() + "\n" }
    }

    fn path(&self) -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(self.file)
    }

    fn is_current(&self) -> bool {
        std::fs::read_to_string(self.path()).unwrap_or_default() == self.text
    }
}

/// All that are published.
fn all() -> [Published; 7] {
    let [search, sweep, compare] = crate::curves::schemas();
    let run = Published::of::<Document>("run.schema.json", "A run of shout-load");
    let repeats = Published::of::<Repeats>("repeats.schema.json", "Several runs of shout-load, of --repeat");
    let verify = Published::of::<crate::verify::report::Report>("verify.schema.json", "What shout-load verify found");
    let lab = Published::of::<crate::lab::key::AnswerKey>("lab.schema.json", "The answer key of shout-load lab");
    [run, repeats, search, sweep, compare, verify, lab]
}

#[test]
fn the_published_schemas_are_those_of_what_is_saved() {
    let stale: Vec<_> = all().iter().filter(|schema| !schema.is_current()).map(|schema| schema.file).collect();
    let renew = "cargo test -p shout-load --lib write_the_schemas -- --ignored";
    assert!(stale.is_empty(), "out of date: {stale:?}; renew them: {renew}");
}

#[test]
#[ignore = "writes the published schemas"]
fn write_the_schemas() {
    for schema in all() {
        std::fs::write(schema.path(), schema.text).unwrap();
    }
}

/// Whoever reads a number in one of them finds in the schema what it is a number of.
#[test]
fn every_field_is_described_and_every_number_has_a_unit() {
    const UNITS: [&str; 14] = [
        "nanoseconds",
        "bytes",
        "Messages",
        "messages",
        "Datagrams",
        "datagrams",
        "How many",
        "number",
        "share",
        "Answers",
        "answers",
        "Times that",
        "Connections",
        "Requests",
    ];
    let schemas = all().map(|schema| serde_json::from_str::<Value>(&schema.text).unwrap());
    let definitions =
        schemas.iter().flat_map(|schema| schema["$defs"].as_object().into_iter().flat_map(|all| all.values()));
    let (mut seen, mut faults) = (0, Vec::new());
    for definition in definitions.chain(&schemas) {
        for (name, field) in definition["properties"].as_object().into_iter().flatten() {
            let description = field["description"].as_str().unwrap_or_default();
            let is_number = ["integer", "number"].iter().any(|kind| field["type"].to_string().contains(kind));
            let has_unit = UNITS.iter().any(|unit| description.contains(unit));
            if description.is_empty() || (is_number && !has_unit) {
                faults.push(format!("{name}: {description}"));
            }
            seen += 1;
        }
    }
    assert!(faults.is_empty(), "without a description, or a number of what? {faults:#?}");
    assert!(seen > 100, "{seen} fields");
}
