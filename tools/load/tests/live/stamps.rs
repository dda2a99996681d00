//! Kernel timestamps on real sockets: what a slow server takes is found between them, and nowhere else.
#![cfg(target_os = "linux")]

use std::time::Duration;

use shout_load::report::breakdown::Breakdown;
use shout_load::report::document::Document;

use crate::servers::{DatagramServer, RealServer, StreamServer, measure};

const DELAY: Duration = Duration::from_millis(3);

fn breakdown<'a>(run: &'a Document, transport: &str) -> &'a Breakdown {
    run.per_transport[transport].breakdown.as_ref().expect("loopback has timestamps")
}

/// The delay of the server is in its part, and makes up nearly all of what the generator sees.
fn assert_is_the_servers(run: &Document, transport: &str) {
    let breakdown = breakdown(run, transport);
    assert!(breakdown.samples >= 50, "{breakdown:?}");
    let band = &breakdown.bands[0];
    let delay = DELAY.as_nanos() as u64;
    assert!(band.network_server_ns >= delay, "{band:?}");
    let sum = band.lag_ns + band.own_kernel_ns + band.network_server_ns + band.wake_up_ns;
    assert_eq!(sum, band.response_ns);
    // Taken as ours, the delay would exceed the response time.
    assert!(band.lag_ns + band.own_kernel_ns + band.wake_up_ns + delay <= band.response_ns, "{band:?}");
}

#[test]
fn a_slow_server_shows_between_the_stamps_of_datagrams() {
    let server = DatagramServer::start(|_, bytes, peer| {
        std::thread::sleep(DELAY); // the fault that is measured
        vec![(peer, bytes.to_ascii_uppercase())]
    });
    let (run, code) = measure(&[&server.url(), "-n", "200", "-w", "0", "-p", "1", "--stamps", "1/1"]);
    assert_eq!((run.counts.replied, code), (200, 0));
    assert_is_the_servers(&run, "udp");
}

#[test]
fn a_slow_server_shows_between_the_stamps_of_a_stream() {
    let server = StreamServer::start(1, |_, mut stream| {
        use std::io::{Read as _, Write as _};
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            std::thread::sleep(DELAY); // the fault that is measured
            let _ = stream.write_all(&buffer[..length].to_ascii_uppercase());
        }
    });
    let (run, code) = measure(&[&server.url(), "-n", "200", "-w", "0", "-c", "1", "--stamps", "1/1"]);
    assert_eq!((run.counts.replied, code), (200, 0));
    assert_is_the_servers(&run, "tcp");
}

#[test]
fn stamps_change_no_message_and_can_be_left_out() {
    let server = RealServer::start();
    for scheme in ["udp", "tcp"] {
        for load in [&["-p", "64"][..], &["-R", "20k"], &["-p", "16", "-c", "3", "-s", "2000"]] {
            for (stamps, sampled) in [("1/1", true), ("1/64", true), ("off", false)] {
                let target = format!("{scheme}://{}", server.address);
                let (run, code) = measure(&[&[&target, "-n", "5000", "-w", "50ms", "--stamps", stamps], load].concat());
                let what = format!("{scheme} {load:?} {stamps}");
                assert_eq!((run.counts.sent, run.counts.replied, code), (5000, 5000, 0), "{what}");
                assert_eq!((run.counts.wrong, run.counts.stray, run.counts.duplicated), (0, 0, 0), "{what}");
                let breakdown = run.per_transport[scheme].breakdown.as_ref();
                assert_eq!(breakdown.is_some_and(|breakdown| breakdown.samples > 0), sampled, "{what}");
                // On a stream an open loop may read answers together that were asked for one by one.
                let is_certain = scheme == "udp" || load[0] == "-p";
                let is_kept = breakdown.is_none_or(|breakdown| breakdown.rejected * 10 <= breakdown.samples);
                assert!(is_kept || !is_certain, "{what}: {breakdown:?}");
            }
        }
    }
}

#[test]
fn a_lost_sample_does_not_end_the_sampling() {
    let server =
        DatagramServer::start(
            |number, bytes, peer| {
                if number % 3 == 1 { Vec::new() } else { vec![(peer, bytes.to_ascii_uppercase())] }
            },
        );
    let load = ["-n", "300", "-w", "0", "-p", "1", "--stamps", "1/1", "--timeout", "5ms"];
    let (run, _) = measure(&[&[server.url().as_str()][..], &load].concat());
    assert!(run.counts.lost >= 100, "{:?}", run.counts);
    assert!(breakdown(&run, "udp").samples > 50, "{:?}", run.per_transport["udp"].breakdown);
}
