//! Each check alone, and what they make of whole runs.

use super::checks::{arrivals, stationary, switches};
use super::*;
use crate::evidence::Signs;

/// A run with nothing wrong, of which every check can be made.
pub(crate) fn healthy() -> Facts {
    let signs = Signs { heard: Some(9_999_000_000), unheard: 1, ..Signs::default() };
    let (sent, answered, sending) = (99_990, 99_980, 10 * SECOND);
    Facts {
        presence: vec![Presence { transport: "udp", sending, sent, answered, refusals: 0, lanes: 1, alive: 1, signs }],
        offered: Some(Offered { scheduled: 100_000, sent: 99_990, is_held_up: false, arrivals: Some((0.05, 4096)) }),
        lag_p99: 90_000,
        service_p50: 38_000,
        own_cpu: Some(0.4),
        server_cpu: Some(0.6),
        waited: Some(0.002),
        steal: Some(0.0),
        switches: Some(3.0),
        slices: (0..40).map(|slice| 200_000.0 + f64::from(slice * 7919 % 40) * 1000.0).collect(),
        effective_size: 38_000.0,
        p99: 212_400,
        p99_interval: (Some(205_100), Some(219_800)),
        little: Some((5.21, 5.2)),
        own_tail: Some((0.5, 100_000)),
    }
}

fn offered(change: impl Fn(&mut Offered)) -> impl Fn(&mut Facts) {
    move |facts| change(facts.offered.as_mut().unwrap())
}

#[test]
fn a_healthy_run_is_valid_and_every_check_is_made() {
    let validity = judge(&healthy());
    assert_eq!(validity.verdict, Verdict::Valid, "{:#?}", validity.checks);
    let made: Vec<&str> = validity.checks.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(
        made,
        [
            "server_there",
            "rate_reached",
            "lag",
            "own_cpu",
            "cpu_wait",
            "steal",
            "involuntary_switches",
            "arrivals",
            "stationary",
            "effective_size",
            "p99_interval",
            "little",
            "own_tail"
        ]
    );
}

/// One thing goes wrong; what the verdict is, and which check says so.
#[test]
fn each_thing_that_goes_wrong_is_named() {
    use Verdict::{Invalid, Suspect};
    type Change = Box<dyn Fn(&mut Facts)>;
    let growing = |to: f64| {
        move |facts: &mut Facts| {
            facts.slices = (0..40).map(|slice| 100_000.0 * (1.0 + to * f64::from(slice) / 40.0)).collect();
        }
    };
    let table: Vec<(&str, Verdict, Change)> = vec![
        (
            "server_there",
            Invalid,
            Box::new(|facts| facts.presence[0].signs = Signs { unheard: 9_000, ..Signs::default() }),
        ),
        ("rate_reached", Suspect, Box::new(offered(|offered| offered.sent = 98_000))),
        ("rate_reached", Invalid, Box::new(offered(|offered| offered.sent = 90_000))),
        ("lag", Suspect, Box::new(|facts| facts.lag_p99 = 300_000)),
        ("lag", Invalid, Box::new(|facts| facts.lag_p99 = 1_900_000)),
        ("own_cpu", Suspect, Box::new(|facts| facts.own_cpu = Some(0.97))),
        ("cpu_wait", Suspect, Box::new(|facts| facts.waited = Some(0.1))),
        ("cpu_wait", Invalid, Box::new(|facts| facts.waited = Some(0.4))),
        ("steal", Suspect, Box::new(|facts| facts.steal = Some(0.03))),
        ("steal", Invalid, Box::new(|facts| facts.steal = Some(0.2))),
        ("involuntary_switches", Suspect, Box::new(|facts| (facts.switches, facts.waited) = (Some(300.0), Some(0.04)))),
        ("arrivals", Suspect, Box::new(offered(|offered| offered.arrivals = Some((0.3, 4096))))),
        ("stationary", Suspect, Box::new(growing(1.5))),
        ("stationary", Invalid, Box::new(growing(20.0))),
        ("effective_size", Suspect, Box::new(|facts| facts.effective_size = 400.0)),
        ("p99_interval", Suspect, Box::new(|facts| facts.p99_interval = (Some(100_000), Some(400_000)))),
        ("p99_interval", Suspect, Box::new(|facts| facts.p99_interval.1 = None)),
        ("little", Invalid, Box::new(|facts| facts.little = Some((5.2, 4.0)))),
        ("own_tail", Suspect, Box::new(|facts| facts.own_tail = Some((0.85, 51_000)))),
        ("own_tail", Invalid, Box::new(|facts| facts.own_tail = Some((0.95, 51_000)))),
    ];
    for (id, verdict, change) in table {
        let mut facts = healthy();
        change(&mut facts);
        let validity = judge(&facts);
        let bad: Vec<&Check> = validity.checks.iter().filter(|check| !check.ok).collect();
        assert_eq!((bad.len(), bad[0].id.as_str()), (1, id), "{bad:#?}");
        assert_eq!((validity.verdict, bad[0].verdict), (verdict, verdict), "{bad:#?}");
        assert!(bad[0].why.len() > 20, "{}", bad[0].why);
    }
}

#[test]
fn times_are_written_as_everywhere_else() {
    let facts = Facts { lag_p99: 4_089_900, service_p50: 38_060, own_tail: Some((0.95, 51_550)), ..healthy() };
    let why = |id: &str| judge(&facts).checks.into_iter().find(|check| check.id == id).unwrap().why;
    assert!(
        why("lag").contains("lag p99 4,089.9 us is 107.5 times the median service time of 38.1 us"),
        "{}",
        why("lag")
    );
    assert!(why("own_tail").contains("network and server took 51.6 us"), "{}", why("own_tail"));
}

#[test]
fn the_tail_of_a_generator_that_was_behind_is_not_said_to_be_somebody_elses() {
    let good = |lag_p99| {
        let facts = Facts { lag_p99, ..healthy() };
        let check = judge(&facts).checks.into_iter().find(|check| check.id == "own_tail").unwrap();
        assert!(check.ok);
        check.why
    };
    assert_eq!(good(90_000), "the tail is not the generator's");
    assert_eq!(good(1_900_000), "50% of the slowest responses passed inside the generator");
}

#[test]
fn a_saturated_generator_is_invalid_in_several_ways() {
    let mut facts = healthy();
    facts.offered = Some(Offered { scheduled: 1_000_000, sent: 300_000, is_held_up: false, arrivals: None });
    (facts.lag_p99, facts.own_cpu) = (700_000_000, Some(1.0));
    let validity = judge(&facts);
    assert_eq!(validity.verdict, Verdict::Invalid);
    assert!(validity.checks[1].why.starts_with("generator saturated: 30.00% of the offered rate"));
}

#[test]
fn a_server_that_takes_no_more_is_not_blamed_on_a_generator_with_headroom() {
    let mut facts = healthy();
    facts.offered = Some(Offered { scheduled: 100_000, sent: 50_000, is_held_up: true, arrivals: None });
    facts.lag_p99 = 900_000_000;
    assert_eq!(judge(&facts).verdict, Verdict::Suspect);
    facts.own_cpu = Some(0.99);
    assert_eq!(judge(&facts).verdict, Verdict::Invalid);
}

#[test]
fn a_closed_loop_is_not_asked_for_a_rate_and_may_be_busy_beside_a_busy_server() {
    let mut facts = Facts { offered: None, own_cpu: Some(1.0), server_cpu: Some(0.85), ..healthy() };
    let validity = judge(&facts);
    assert_eq!(validity.verdict, Verdict::Valid, "{:#?}", validity.checks);
    assert!(validity.checks.iter().all(|check| check.id != "rate_reached" && check.id != "arrivals"));
    let own = validity.checks.iter().find(|check| check.id == "own_cpu").unwrap();
    assert_eq!(own.why, "generator no busier than the server", "it had no headroom");
    facts.server_cpu = Some(0.3);
    assert_eq!(judge(&facts).verdict, Verdict::Suspect);
}

#[test]
fn switches_that_cost_no_time_are_the_servers_turns_on_a_shared_processor() {
    assert!(switches(3000.0, Some(0.005)).ok && !switches(3000.0, Some(0.02)).ok && !switches(3000.0, None).ok);
}

#[test]
fn a_small_sample_may_stray_by_chance() {
    assert!(arrivals((0.2, 50)).ok && !arrivals((0.2, 4096)).ok);
}

#[test]
fn a_run_too_short_for_drift_is_not_judged_by_it() {
    assert!(stationary(&[1.0; 15]).is_none());
    assert!(stationary(&[1.0; 16]).unwrap().ok);
}
