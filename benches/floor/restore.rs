//! A damaged table is brought back while somebody reads it.

use std::time::Duration;

use super::database::{Database, Plain, SNAPSHOT};
use super::place::{Place, option};
use super::readers::{Reader, Seen};
use super::series::Series;
use super::table::{Bound, Line, Row};

/// How many times each side restores; the document's way, which takes the readers' rows away, once.
const SIDES: [(&str, Option<Plain>, bool); 4] = [
    ("rollback run, postgres.restore", None, true),
    ("plain SQL, differential, by bytes (*<>)", Some(Plain::Bytes), true),
    ("plain SQL, differential, IS DISTINCT FROM", Some(Plain::Differential), true),
    ("the document's TRUNCATE and INSERT, one transaction", Some(Plain::Truncate), false),
];

pub(crate) fn measure(place: &Place) -> Vec<Row> {
    let rows = option("ROLLBACK_BENCH_ROWS", 300_000);
    // The first one meets what the snapshot has left to be written.
    let rounds = option("ROLLBACK_BENCH_ROUNDS", 5);
    let database = Database::create(rows);
    let megabytes = database.megabytes();
    // It has a password in it, and is a reference therefore.
    let url = place.write("url", &database.url());
    place.connect(&format!("connections:\n  postgres: {{url: {{file: {}}}}}\n", url.display()));
    let snapshot = place.runbook(
        "snapshot",
        &format!("      - id: keep\n        postgres.snapshot: {{table: public.embeddings, name: {SNAPSHOT}}}\n"),
    );
    let _time = place.run(&snapshot);
    let ours = place.runbook(
        "restore",
        &format!("      - id: back\n        postgres.restore: {{snapshot: {SNAPSHOT}}}\n"),
    );

    let mut times: [Vec<Duration>; SIDES.len()] = Default::default();
    let mut seen = [Seen::default(); SIDES.len()];
    for round in 0..rounds {
        eprintln!("bench: restore, round {} of {rounds}", round + 1);
        for (side, (_, plain, always)) in SIDES.into_iter().enumerate() {
            if round > 0 && !always {
                continue;
            }
            database.damage();
            let reader = Reader::watch(&database.url());
            times[side]
                .push(plain.map_or_else(|| place.run(&ours), |plain| database.restore(plain)));
            seen[side] = seen[side].and(reader.tell());
            database.expect_restored();
        }
    }
    seen[0].expect_served();
    let mut lines = SIDES.iter().zip(times).zip(seen).map(|(((who, ..), times), seen)| {
        Line::of(*who, Series::seconds(times)).noting(seen.to_string())
    });
    let ours = lines.next().expect("ours is the first");
    vec![Row {
        title: format!("restore: {rows} rows, {megabytes} MB, 1.5 % damaged, s"),
        ours,
        others: lines.collect(),
        bound: Some(Bound::Times { goal: 1.1, gate: 2.0 }),
    }]
}
