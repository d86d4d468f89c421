//! Waits that take hours: `hold.while`.
//!
//! The engine waits, since its clock alone goes on while nobody runs the run; here is only what is asked meanwhile.

#[cfg(test)]
mod tests;
mod wait;

use crate::action::{System, Verb};

/// The system `hold`.
pub(super) fn system() -> System {
    System {
        name: "hold",
        summary: "Waits of hours, during which nothing is changed and gates have to keep holding",
        connections: Vec::new(),
        verbs: vec![Verb::of::<wait::While>()],
    }
}
