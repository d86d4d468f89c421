//! A runbook with 10,000 steps: from Enter to its first request, and the most memory that a whole run of it holds.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::door::Door;
use super::place::{COMMAND, Place};
use super::series::{Series, in_turns};
use super::table::{Bound, Line, Row};

const STEPS: usize = 10_000;
const ROUNDS: usize = 5;
/// Between two looks at a run's memory.
const LOOK: Duration = Duration::from_millis(2);

pub(crate) fn measure(place: &Place) -> Vec<Row> {
    let door = Door::open();
    let url = format!("http://127.0.0.1:{}/", door.port());
    let asking = format!("      - id: ask\n        http.expect: {{url: \"{url}\"}}\n");
    let runbook = place.trivial("size", &asking, STEPS);
    let script = format!("set -e\ncurl -fsS {url}\n{}", format!("{COMMAND}\n").repeat(STEPS));
    let script = place.write("size.sh", &script);

    let started = in_turns(
        ROUNDS,
        &mut [&mut || door.first_request(&mut place.running(&runbook)), &mut || {
            door.first_request(place.bare("bash").arg(&script))
        }],
    );
    let mut started = started.into_iter().map(Series::ms);
    let mut next = |who: &str| Line::perhaps(who, started.next());
    vec![
        Row {
            title: "size: Enter to first request, 10,000 steps, ms".to_owned(),
            ours: next("rollback run"),
            others: vec![next("bash and curl").noting("reads its script as it goes")],
            bound: None,
        },
        Row {
            title: "size: peak memory of a run of 10,000 steps, MB".to_owned(),
            ours: Line::of("rollback run", Series::of([peak_mb(place, &runbook)])),
            others: Vec::new(),
            bound: Some(Bound::AtMost { goal: 40.0, gate: 120.0 }),
        },
    ]
}

/// The peak of the resident memory of a whole run, as the kernel has counted it by the last look.
fn peak_mb(place: &Place, runbook: &Path) -> f64 {
    let mut command = place.running(runbook);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program can be started");
    let mut peak = 0.0;
    loop {
        if let Some(kilobytes) = high_water(child.id()) {
            peak = kilobytes / 1000.0 * 1.024;
        }
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            assert!(status.success(), "{command:?} ended with {status}");
            return peak;
        }
        std::thread::sleep(LOOK);
    }
}

/// `VmHWM` of a process in KiB; none once it has ended (see `proc_pid_status(5)`).
fn high_water(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
