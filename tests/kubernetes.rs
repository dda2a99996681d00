//! The manifest of `tools/deploy/kubernetes`: that the schemas of Kubernetes allow it, and that the server does what it is
//! asked for there: variables, ports, probes, and an end within the time that it is given. No cluster runs it here.
//!
//! It takes Python with `yaml`, and `kubernetes-validate` for the schemas; without them it says so and passes.
#![cfg(unix)]

use std::process::Command;
use std::time::Duration;

use clap::Parser as _;
use serde_json::Value;
use shout::config::Config;

mod common;
use common::{Program, SERVER, ping, ping_udp, tcp_client, udp_client};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/deploy/kubernetes/shout.yaml");

/// Four generators of one load.
const LOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/deploy/kubernetes/load.yaml");

/// The objects of a manifest, read by another's parser.
fn objects(manifest: &str) -> Option<Vec<Value>> {
    let read = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = Command::new("python3").args(["-c", read, manifest]).output().ok();
    let Some(output) = output.filter(|output| output.status.success()) else {
        println!("skipped: there is no python3 with yaml");
        return None;
    };
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn object<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// A list of objects as text, each by two of its fields.
fn pairs(list: &Value, first: &str, second: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    list.as_array().unwrap().iter().map(|entry| (text(&entry[first]), text(&entry[second]))).collect()
}

#[test]
fn the_schemas_allow_the_manifests() {
    // The oldest that has all they ask for, and the newest that the validator knows.
    for version in [&["-k", "1.30"][..], &[]] {
        match Command::new("kubernetes-validate").args(version).args(["--strict", MANIFEST, LOAD]).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
            Err(error) => return println!("skipped: there is no kubernetes-validate: {error}"),
        }
    }
}

#[test]
fn the_server_does_what_the_manifest_asks_for() {
    let Some(objects) = objects(MANIFEST) else { return };
    let deployment = object(&objects, "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], format!("shout:{}", env!("CARGO_PKG_VERSION")));

    // The variables are flags, and say the ports that are named.
    let variables = pairs(&container["env"], "name", "value");
    let flags = variables.iter().map(|(name, value)| {
        let flag = name.strip_prefix("SHOUT_").unwrap().to_lowercase().replace('_', "-");
        format!("--{flag}={value}")
    });
    let config = Config::parse_from(std::iter::once("shout-server".to_owned()).chain(flags));
    let admin = config.admin.unwrap();
    let ports = &container["ports"];
    let port = |name: &str| {
        let named = ports.as_array().unwrap().iter().find(|port| port["name"] == name);
        named.unwrap_or_else(|| panic!("no port {name}"))["containerPort"].as_u64().unwrap()
    };
    assert_eq!(port("admin"), u64::from(admin.port()));
    for service in object(&objects, "Service")["spec"]["ports"].as_array().unwrap() {
        assert_eq!(port(service["targetPort"].as_str().unwrap()), u64::from(config.listen.port()));
    }
    assert_eq!(
        pairs(&object(&objects, "Service")["spec"]["ports"], "port", "protocol"),
        [("12000".to_owned(), "UDP".to_owned()), ("12000".to_owned(), "TCP".to_owned())]
    );

    // Fewer may be away than there are, and each has the time that it takes to stop.
    let least = object(&objects, "PodDisruptionBudget")["spec"]["minAvailable"].as_u64().unwrap();
    assert!(least < deployment["spec"]["replicas"].as_u64().unwrap());
    let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(Duration::from_secs(grace) > config.drain_timeout + Duration::from_secs(pause));

    // The same server on free ports of loopback answers its probes and its peers.
    let mut command = Command::new(SERVER);
    for (name, _) in &variables {
        command.env(name, "127.0.0.1:0");
    }
    let program = Program::start_with_as_told(&mut command, &[]);
    let admin = program.admin();
    for probe in ["readinessProbe", "livenessProbe"] {
        let request = &container[probe]["httpGet"];
        assert_eq!(request["port"], "admin");
        let question = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", request["path"].as_str().unwrap());
        let answer = ping(&mut tcp_client(admin), question.as_bytes());
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{probe}: {}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(ping(&mut tcp_client(program.address), b"tcp"), b"TCP");
    assert_eq!(ping_udp(&udp_client(program.address), program.address, b"udp"), b"UDP");
    assert_eq!(program.terminate().code, Some(0));
}

#[test]
fn the_job_loads_the_service_of_the_other_manifest_from_every_pod() {
    let (Some(service), Some(load)) = (objects(MANIFEST), objects(LOAD)) else { return };
    let job = &object(&load, "Job")["spec"];
    assert_eq!((&job["completionMode"], &job["completions"]), (&"Indexed".into(), &job["parallelism"]), "all at once");
    let pod = &job["template"]["spec"];
    assert_eq!((&job["backoffLimit"], &pod["restartPolicy"]), (&0.into(), &"Never".into()), "none is begun anew");
    let container = &pod["containers"][0];
    assert_eq!(container["image"], format!("shout-load:{}", env!("CARGO_PKG_VERSION")));
    let words: Vec<&str> = container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    // Kubernetes names the variable after the Service.
    let name = object(&service, "Service")["metadata"]["name"].as_str().unwrap().to_uppercase();
    assert_eq!(words[0], format!("udp://$({name}_SERVICE_HOST)"), "port 12000 is its own and may be left out");
    assert!(words.windows(2).any(|pair| pair == ["--at", "MOMENT"]) && words.contains(&"--json"), "{words:?}");
    let seed = words.iter().any(|word| word.starts_with("--seed"));
    assert!(!seed, "with one seed all of them would send at the same moments");
}
