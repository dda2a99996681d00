//! The published schemas against the types that they are made from. Reads and, when asked to, writes the files.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Document;
use crate::report::repeats::Repeats;

/// The published files, each with the schema of what this version writes.
fn schemas() -> [(&'static str, String); 2] {
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/run.schema.json");
    let repeats = concat!(env!("CARGO_MANIFEST_DIR"), "/repeats.schema.json");
    [
        (run, schema::<Document>("A run of shout-load")),
        (repeats, schema::<Repeats>("Several runs of shout-load, of --repeat")),
    ]
}

fn schema<Type: JsonSchema>(title: &str) -> String {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Type>();
    schema.insert("title".into(), title.into());
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

#[test]
fn the_published_schemas_are_those_of_the_documents() {
    for (path, schema) in schemas() {
        let published = std::fs::read_to_string(path).unwrap_or_default();
        let renew = "cargo test -p shout-load --lib write_the_schemas -- --ignored";
        assert!(published == schema, "{path} is out of date; renew it: {renew}");
    }
}

#[test]
#[ignore = "writes the published schemas"]
fn write_the_schemas() {
    for (path, schema) in schemas() {
        std::fs::write(path, schema).unwrap();
    }
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
    for (path, schema) in schemas() {
        let schema: Value = serde_json::from_str(&schema).unwrap();
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
        assert!(faults.is_empty(), "{path}: without a description, or a number of what? {faults:#?}");
        assert!(seen > 50, "{seen} fields of {path}");
    }
}
