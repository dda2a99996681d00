//! Command lines and the plans they make.

use std::ffi::OsString;
use std::time::Duration;

use super::*;
use crate::schedule::Process;

fn options(line: &str) -> Options {
    match read(line.split_whitespace().map(OsString::from)).unwrap() {
        Command::Run(options) => *options,
        other => panic!("{other:?}"),
    }
}

fn plan(line: &str) -> Plan {
    let options = options(line);
    let target = options.target.clone().unwrap();
    options.plan(target, false, 7).unwrap()
}

#[test]
fn the_command_may_be_left_out() {
    assert_eq!(plan("shout-load run udp://h -d 3s"), plan("shout-load udp://h -d 3s"));
    assert_eq!(options("shout-load").target, None);
}

#[test]
fn without_a_rate_the_loop_is_closed_and_with_one_it_is_open() {
    assert_eq!(plan("shout-load udp://h").demand, Demand::Closed { window: 1 });
    assert_eq!(plan("shout-load udp://h -p64").demand, Demand::Closed { window: 64 });
    let open = Demand::Open { profile: Profile::constant(50_000.0), process: Process::Poisson, window: None };
    assert_eq!(plan("shout-load udp://h -R 50k/s").demand, open);
    let even = Demand::Open { profile: Profile::constant(200_000.0), process: Process::Const, window: Some(2) };
    assert_eq!(plan("shout-load udp://h -R 200/ms --arrivals const -p 2").demand, even);
}

#[test]
fn a_run_ends_by_time_or_by_number() {
    assert_eq!(plan("shout-load udp://h").duration, Some(DEFAULT_DURATION));
    assert_eq!(plan("shout-load udp://h -n 10k").duration, None);
    let both = plan("shout-load udp://h -n 10k -d 2s");
    assert_eq!((both.duration, both.messages), (Some(Duration::from_secs(2)), Some(10_000)));
}

#[test]
fn a_run_until_a_percentile_is_known_takes_two_minutes_at_most_unless_told() {
    let until = |line: &str| {
        let Plan { until, duration, messages, .. } = plan(&format!("shout-load udp://h -R 1k --until {line}"));
        (until.unwrap().to_string(), duration.unwrap().as_secs(), messages)
    };
    assert_eq!(until("p99±2%"), ("p99±2%".into(), 120, None));
    assert_eq!(until("p99.9+-0.5% --max-duration 1h"), ("p99.9±0.5%".into(), 3600, None));
    assert_eq!(plan("shout-load udp://h").until, None);
}

#[test]
fn a_changing_rate_says_how_long_the_run_is() {
    let profile = |line: &str| match plan(line).demand {
        Demand::Open { profile, .. } => (profile.to_string(), plan(line).duration.unwrap().as_secs()),
        Demand::Closed { .. } => panic!("{line}"),
    };
    let spelt = "30s@10k,1m@50k,30s@10k-80k";
    assert_eq!(
        profile(&format!("shout-load udp://h --plan {spelt}")),
        ("30s@10000,60s@50000,30s@10000-80000".into(), 120)
    );
    assert_eq!(profile("shout-load udp://h --ramp 0:2k -d 4s"), ("4s@0-2000".into(), 4));
    assert_eq!(profile("shout-load udp://h --ramp 2k:1k -n 9"), ("10s@2000-1000".into(), 10));
}

#[test]
fn arrivals_are_read_as_they_are_written() {
    for (text, written) in [
        ("poisson", "poisson"),
        ("const", "const"),
        ("uniform", "uniform"),
        ("burst:16", "burst:16"),
        ("onoff:10ms,90ms", "onoff:0.01s,0.09s"),
    ] {
        assert_eq!(process(text).unwrap().to_string(), written);
        assert_eq!(process(written), process(text));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "-R 1k --ramp 1:2",
        "--plan 1s@1k -d 3s",
        "--arrivals const",
        "--ramp 0:0",
        "--ramp 1k",
        "--plan 1s@0,2s@0",
        "--plan 10k",
        "--plan 0s@1k",
        "-R 1 --arrivals burst:0",
        "-R 1 --arrivals onoff:0s,1s",
        "-R 1 --arrivals sometimes",
        "--until p99±2% -d 5s",
        "--until p99±2% -n 5",
        "--until p99±2% --ramp 1:2",
        "--until p99±2% --plan 1s@1k",
        "--until p99±2% --until p50±2%",
        "--until p99±2% --max-duration 2s",
        "--max-duration 5s",
        "--repeat 1",
        "--repeat 101",
        "--gso 65",
        "--late shed",
        "-R 1 --late sometimes",
        "--pace fast",
        "--gso 0",
    ] {
        let words = format!("shout-load udp://h {line}");
        assert!(Cli::try_parse_from(words.split_whitespace()).is_err(), "{line}");
    }
}

#[test]
fn a_trial_is_long_enough_to_say_something() {
    for line in ["search --trial", "search --confirm", "sweep -d", "compare --slice"] {
        for (length, is_enough) in [("1ns", false), ("49ms", false), ("50ms", true)] {
            let read = Cli::try_parse_from(format!("shout-load {line} {length}").split_whitespace());
            assert_eq!(read.is_ok(), is_enough, "{line} {length}");
            assert!(read.err().is_none_or(|error| error.to_string().contains("at least 50ms")), "{line}");
        }
    }
}

#[test]
fn a_size_must_suit_the_transport() {
    for (line, right) in [
        ("shout-load udp://h -s 65507", true),
        ("shout-load udp://h -s 65508", false),
        ("shout-load echo://h -s 65508", false),
        ("shout-load tcp://h -s 1MiB", true),
        ("shout-load udp://h -s 0", true),
        ("shout-load tcp://h -s 0", false),
        ("shout-load tcp://h -s uniform:0-9", false),
        ("shout-load udp://h -s uniform:0-9", true),
        ("shout-load udp://h -s mix:64=9,65508=1", false),
        ("shout-load tcp://h -s mix:64=9,65508=1", true),
    ] {
        let options = options(line);
        assert_eq!(options.plan(options.target.clone().unwrap(), false, 0).is_ok(), right, "{line}");
    }
}

#[test]
fn what_is_done_to_connections_needs_a_target_that_has_some() {
    for (line, refused) in [
        ("udp://h --churn 7", Some("--churn")),
        ("udp://h --connect-rate 9", Some("--connect-rate")),
        ("udp://h --connect-rate 9 --idle 1", None),
        ("tcp://h --churn 7 --connect-rate 9", None),
        ("echo://h --churn 7 --connect-rate 9", None),
    ] {
        let options = options(&format!("shout-load {line}"));
        let plan = |is_own| options.plan(options.target.clone().unwrap(), is_own, 0);
        let said = plan(false).err();
        assert_eq!(said.is_some(), refused.is_some(), "{line}: {said:?}");
        for part in refused.into_iter().chain(refused.map(|_| "udp://h")) {
            assert!(said.as_ref().unwrap().contains(part), "{said:?}");
        }
        assert!(plan(true).is_ok(), "a server of our own is loaded over TCP as well");
    }
}

#[test]
fn a_printed_seed_is_taken_back() {
    let seed = 0xFEDC_BA98_7654_3210;
    assert_eq!(plan(&format!("shout-load udp://h --seed {seed:X}")).seed, seed);
}
