//! The published schema of a run against the types that it is made from. Reads and, when asked to, writes the file.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Document;

/// The published file.
const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/run.schema.json");

/// The schema of what this version writes.
fn schema() -> String {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Document>();
    schema.insert("title".into(), "A run of shout-load".into());
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

#[test]
fn the_published_schema_is_that_of_the_document() {
    let published = std::fs::read_to_string(PUBLISHED).unwrap_or_default();
    let renew = "cargo test -p shout-load --lib write_the_schema -- --ignored";
    assert!(published == schema(), "run.schema.json is out of date; renew it: {renew}");
}

#[test]
#[ignore = "writes the published schema"]
fn write_the_schema() {
    std::fs::write(PUBLISHED, schema()).unwrap();
}

/// Whoever reads a number in the document finds in the schema what it is a number of.
#[test]
fn every_field_is_described_and_every_number_has_a_unit() {
    const UNITS: [&str; 13] = [
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
    ];
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let definitions = schema["$defs"].as_object().unwrap().values();
    let (mut seen, mut faults) = (0, Vec::new());
    for definition in definitions.chain([&schema]) {
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
