//! One more durable step: the time of a long runbook less that of a short one.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use super::place::{COMMAND, Place, finish};
use super::series::{ROUNDS, Series, in_turns, timed};
use super::table::{Bound, Line, Row};

/// Steps of the long runbook.
const STEPS: usize = 200;
/// About the size of a journal record.
const RECORD: [u8; 300] = [b'.'; 300];

pub(crate) fn measure(place: &Place) -> Vec<Row> {
    let (short, long) = (place.trivial("one", "", 1), place.trivial("many", "", STEPS));
    let (one, many) = (script(place, 1), script(place, STEPS));
    let more = u32::try_from(STEPS - 1).expect("a small number");
    let bash = |script: &std::path::Path| timed(|| finish(place.bare("bash").arg(script)));
    let measured = in_turns(
        ROUNDS,
        &mut [
            &mut || {
                let without = place.run(&short);
                place.run(&long).saturating_sub(without) / more
            },
            &mut || spawn_and_flush(place, more) / more,
            &mut || {
                let without = bash(&one);
                bash(&many).saturating_sub(without) / more
            },
        ],
    );
    let mut series = measured.into_iter().map(Series::ms);
    let mut next = |who: &str| Line::perhaps(who, series.next());
    vec![Row {
        title: "step: one more trivial step, ms".to_owned(),
        ours: next("rollback run, script.run"),
        others: vec![
            next("append 300 bytes, flush, spawn"),
            next("bash, one more line").noting("writes nothing down"),
        ],
        bound: Some(Bound::Times { goal: 1.3, gate: 3.0 }),
    }]
}

fn script(place: &Place, lines: usize) -> std::path::PathBuf {
    place.write(
        &format!("lines-{lines}.sh"),
        &format!("set -e\n{}", format!("{COMMAND}\n").repeat(lines)),
    )
}

fn spawn_and_flush(place: &Place, times: u32) -> Duration {
    let mut file = File::create(place.path("floor")).expect("the bench's folder is writable");
    timed(|| {
        for _ in 0..times {
            file.write_all(&RECORD).and_then(|()| file.sync_data()).expect("the disk works");
            finish(&mut Command::new(COMMAND));
        }
    })
}
