//! Real runs of every kind against the published schema.

use crate::servers::{DatagramServer, RealServer, run};
use serde_json::{Value, json};

fn validator_of(schema: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

pub(crate) fn validator() -> jsonschema::Validator {
    validator_of(include_str!("../../run.schema.json"))
}

/// Whether what a search printed fits its published schema, and would not without any of its fields.
pub(crate) fn assert_fits_search(saved: &Value) {
    assert_fits_exactly(include_str!("../../search.schema.json"), saved);
}

/// The same of a sweep.
pub(crate) fn assert_fits_sweep(saved: &Value) {
    assert_fits_exactly(include_str!("../../sweep.schema.json"), saved);
}

/// The same of a comparison.
pub(crate) fn assert_fits_compare(saved: &Value) {
    assert_fits_exactly(include_str!("../../compare.schema.json"), saved);
}

/// The same of what a conformance test found.
pub(crate) fn assert_fits_verify(found: &Value) {
    assert_fits_exactly(include_str!("../../verify.schema.json"), found);
}

/// The same of an answer key.
pub(crate) fn assert_fits_lab(key: &Value) {
    assert_fits_exactly(include_str!("../../lab.schema.json"), key);
}

/// Every field is described there, and the schema notices when one is missing or another thing.
fn assert_fits_exactly(schema: &str, saved: &Value) {
    let (validator, schema): (_, Value) = (validator_of(schema), serde_json::from_str(schema).unwrap());
    assert_fits(&validator, saved);
    for (name, value) in saved.as_object().unwrap() {
        assert!(schema["properties"][name]["description"].is_string(), "{name} is not described");
        let mut changed = saved.clone();
        take(&mut changed, &format!("/{name}")).unwrap();
        assert!(!validator.is_valid(&changed), "{name} may not be missing");
        changed[name] = if value.is_array() { json!(1) } else { json!([[]]) };
        assert!(!validator.is_valid(&changed), "{name} may not be anything");
    }
}

fn document(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["-w", "0", "--json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}; it said {stderr:?}"))
}

pub(crate) fn assert_fits(validator: &jsonschema::Validator, run: &Value) {
    let faults: Vec<String> =
        validator.iter_errors(run).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Takes what `path` names out of a document.
fn take(run: &mut Value, path: &str) -> Option<Value> {
    let (parent, name) = path.rsplit_once('/').unwrap();
    run.pointer_mut(parent)?.as_object_mut()?.remove(name)
}

#[test]
fn runs_of_every_kind_fit_the_published_schema() {
    let validator = validator();
    let server = RealServer::start();
    let [udp, tcp, echo] = ["udp", "tcp", "echo"].map(|scheme| format!("{scheme}://{}", server.address));
    let stamped = document(&[&udp, "-n", "400", "-R", "2k", "-i", "50ms", "--stamps", "1/1", "--slo", "p99<9s"]);
    let streams = document(&[
        &tcp,
        "-n",
        "300",
        "-p",
        "2",
        "-c",
        "2",
        "--churn",
        "20",
        "--idle",
        "2",
        "--slow-readers",
        "1",
        "--half-closers",
        "1",
        "--slo",
        "errors=0",
    ]);
    let both = document(&[&echo, "-n", "500", "-R", "4k", "-s", "mix:64=2,512=1", "--late", "shed:100ms"]);
    let ramp = document(&[&udp, "--ramp", "1k:4k", "-d", "150ms", "--stamps", "off"]);
    let until = document(&[&udp, "--until", "p50±0.2%", "--max-duration", "3s", "-R", "500"]);
    let lossy =
        DatagramServer::start(
            |number, request, peer| {
                if number % 7 == 3 { vec![] } else { vec![(peer, request.to_ascii_uppercase())] }
            },
        );
    let lossy = document(&[&lossy.url(), "-n", "60", "-R", "1k", "--timeout", "80ms"]);
    let apart = document(&[&echo, "-R", "2k", "-d", "200ms", "--interference"]);
    for run in [&apart, &stamped, &streams, &both, &ramp, &until, &lossy] {
        assert_fits(&validator, run);
    }
    // What need not be there was there, so that it has been looked at.
    for (run, path) in [
        (&stamped, "/per_transport/udp/breakdown/bands/0"),
        (&stamped, "/gates/0/expr"),
        (&stamped, "/intervals/2/p99"),
        (&streams, "/latency/connect/p/50/v"),
        (&streams, "/churn/connect"),
        (&streams, "/connections/opening_ns"),
        (&streams, "/beside/connect/p/50/v"),
        (&streams, "/companions/idle/opened"),
        (&streams, "/companions/slow_readers/opened"),
        (&streams, "/companions/half_closers/completed"),
        (&apart, "/interference/effects/7/alone"),
        (&both, "/per_transport/tcp/counts/sent"),
        (&both, "/per_size/1/response"),
        (&both, "/config/late"),
        (&ramp, "/config/plan"),
        (&until, "/until/half_width"),
        (&lossy, "/loss/bursts/1"),
        (&lossy, "/outliers/0/lat_ns"),
    ] {
        assert!(run.pointer(path).is_some_and(|value| !value.is_null()), "{path}");
    }
    #[cfg(target_os = "linux")]
    {
        let many = document(&[&tcp, "-n", "300", "-c", "200"]);
        assert_fits(&validator, &many);
        assert!(many.pointer("/server_memory/each_bytes").is_some(), "what each of 200 connections takes");
    }
    #[cfg(target_os = "linux")]
    for path in ["/server/cpu_ns", "/generator/cpu_ns", "/floor/echo/p99"] {
        assert!(both.pointer(path).is_some(), "{path}");
    }
}

#[test]
fn several_runs_fit_a_schema_of_their_own_and_each_of_them_the_other() {
    let (one, all) = (validator(), validator_of(include_str!("../../repeats.schema.json")));
    let server = RealServer::start();
    let url = format!("echo://{}", server.address);
    let load = ["-d", "400ms", "-R", "3k", "-w", "0", "-i", "50ms", "--repeat", "3", "--slo", "p50<9s", "--json"];
    let output = run(&[&[url.as_str()], &load[..]].concat());
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [runs @ .., whole] = &lines[..] else { panic!("nothing was printed") };
    assert_eq!(runs.len(), 3);
    for run in runs {
        assert_fits(&one, run);
    }
    assert_fits(&all, whole);
    assert!(!one.is_valid(whole) && !all.is_valid(&runs[0]), "one is not taken for the other");
    for path in ["/runs/2/p/99/v", "/runs/0/rate_error", "/spread/0/within", "/spread/1/lo", "/gates/0/expr"] {
        assert!(whole.pointer(path).is_some_and(|value| !value.is_null()), "{path}");
    }
    for path in ["/schema", "/runs", "/runs/0/seed", "/spread/0/median", "/response/hdr_v2", "/asked", "/exit"] {
        let mut without = whole.clone();
        assert!(take(&mut without, path).is_some() && !all.is_valid(&without), "{path} may not be missing");
    }
}

#[test]
fn a_wrong_or_missing_field_does_not_fit() {
    let validator = validator();
    let server = RealServer::start();
    let run = document(&[&format!("udp://{}", server.address), "-n", "100", "-R", "2k"]);
    assert_fits(&validator, &run);
    for path in ["/schema", "/counts", "/counts/lost", "/latency/response/hdr_v2", "/intervals/0/t_ns", "/validity"] {
        let mut without = run.clone();
        assert!(take(&mut without, path).is_some(), "{path}");
        assert!(!validator.is_valid(&without), "{path} may not be missing");
    }
    for (path, wrong) in [
        ("/schema", json!("shout-load/2")),
        ("/counts/sent", json!(-1)),
        ("/counts/sent", json!("100")),
        ("/time/measured_ns", json!(0.5)),
        ("/validity/verdict", json!("fine")),
        ("/intervals", json!({})),
        ("/latency/response/p/50/v", json!(null)),
        ("/exit", json!(256)),
    ] {
        let mut changed = run.clone();
        *changed.pointer_mut(path).unwrap() = wrong.clone();
        assert!(!validator.is_valid(&changed), "{path} may not be {wrong}");
    }
}
