//! A view of a run that has just begun, and events to go on with, for the tests of the reports.

use jiff::Timestamp;

use super::View;
use crate::clock::{self, Boot};
use crate::event::{Actor, Event, Header, Place, Record};
use crate::plan::StepId;
use crate::plan::testing::{plan, planned, planned_phase};

/// A run of one step, and how to let an event happen in it, each 10 ms after the one before.
pub(crate) fn begun() -> (View, impl FnMut(&mut View, Event)) {
    let started = clock::now();
    let record = move |seq: u64, event| Record { seq, at: started, elapsed_ms: seq * 10, event };
    let first = record(0, Event::RunStarted { header: header(started).into() });
    let mut seq = 0;
    let take = move |view: &mut View, event| {
        seq += 1;
        view.take(&record(seq, event));
    };
    (View::start(&first).expect("it is a start"), take)
}

pub(crate) fn actor() -> Actor {
    Actor { user: "ada".into(), host: "here".into(), pid: 1 }
}

/// The one item of the one step.
pub(crate) fn place() -> Place {
    Place { step: StepId("p/a".into()), item: String::new() }
}

pub(crate) fn opened(text: &str) -> Event {
    Event::QuestionOpened {
        at: place(),
        text: text.into(),
        required: true,
        window: None,
        hold_ms: None,
    }
}

/// A run of one step that began then.
pub(crate) fn header(started: Timestamp) -> Header {
    Header {
        run: "test".into(),
        program: "0".into(),
        runbook_path: "memory".into(),
        runbook_text: "".into(),
        runbook_sha256: String::new(),
        environment_path: String::new(),
        environment_sha256: String::new(),
        plan: plan(vec![planned_phase("p", vec![planned(&place().step.0, &[])])], &[]),
        reason: None,
        by: actor(),
        since: None,
        started,
        boot: Boot { id: "boot".into(), elapsed_ms: 0 },
        left_out: std::collections::BTreeMap::default(),
        drill: None,
        log: None,
    }
}
