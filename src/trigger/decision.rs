//! What the readings of a table come to.

use super::evaluate::{Reading, State};
use super::model::{Table, Trigger};

/// What a table says at one moment.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'a> {
    /// This trigger fires, and asks for the most of all that do.
    Respond(&'a Trigger),
    /// None fires, and of some nobody knows.
    NoData,
    /// None fires.
    Quiet,
}

/// Decides: of the triggers that fire, the one that asks for the most; of several, the most severe; then the first of the file.
pub fn decide<'a>(table: &'a Table, readings: &[Reading]) -> Decision<'a> {
    let firing = table
        .triggers
        .iter()
        .zip(readings)
        .filter(|(_, reading)| matches!(reading.state, State::Firing { .. }))
        .map(|(trigger, _)| trigger)
        // Of equals `max_by_key` takes the last, which from the end is the first of the file.
        .rev()
        .max_by_key(|trigger| (trigger.response, trigger.severity));
    let unknown = || readings.iter().any(|reading| matches!(reading.state, State::NoData { .. }));
    match firing {
        Some(trigger) => Decision::Respond(trigger),
        None if unknown() => Decision::NoData,
        None => Decision::Quiet,
    }
}
