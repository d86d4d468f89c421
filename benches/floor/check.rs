//! Validation takes time in proportion to the runbook and no more.

use std::path::Path;

use super::place::{Place, finish};
use super::series::{ROUNDS, Series, in_turns, timed};
use super::table::{Bound, Line, Row};

pub(crate) fn measure(place: &Place) -> Vec<Row> {
    let (large, small) =
        (place.trivial("check-10000", "", 10_000), place.trivial("check-1000", "", 1_000));
    let check = |runbook: &Path| timed(|| finish(place.program().arg("check").arg(runbook)));
    let measured = in_turns(ROUNDS, &mut [&mut || check(&large), &mut || check(&small) * 10]);
    let mut series = measured.into_iter().map(Series::ms);
    let mut next = |who: &str| Line::perhaps(who, series.next());
    vec![Row {
        title: "check: validation of a long runbook, ms".to_owned(),
        ours: next("rollback check, 10,000 steps"),
        others: vec![next("rollback check, 1,000 steps, ten times")],
        bound: Some(Bound::Times { goal: 1.0, gate: 1.5 }),
    }]
}
