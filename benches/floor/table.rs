//! The table: for each work ours, the floor and the peers, and what became of the goal and the gate.

use std::fmt::Write as _;

use super::series::Series;

/// One work's results.
pub(crate) struct Row {
    /// The work and what is measured, with its unit.
    pub(crate) title: String,
    /// How we did it, and how long it took.
    pub(crate) ours: Line,
    /// What it is compared with; the first one is the floor.
    pub(crate) others: Vec<Line>,
    /// What is wanted.
    pub(crate) bound: Option<Bound>,
}

/// One side of a comparison.
pub(crate) struct Line {
    /// Who.
    pub(crate) who: String,
    /// The measurements; none when this machine lacks it.
    pub(crate) series: Option<Series>,
    /// More that was seen.
    pub(crate) note: String,
}

impl Line {
    /// A side that was measured.
    pub(crate) fn of(who: impl Into<String>, series: Series) -> Self {
        Self { who: who.into(), series: Some(series), note: String::new() }
    }

    /// A side that may be missing here.
    pub(crate) fn perhaps(who: impl Into<String>, series: Option<Series>) -> Self {
        Self { who: who.into(), series, note: String::new() }
    }

    /// With a note.
    pub(crate) fn noting(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}

/// A goal, and the gate that fails.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    /// Times the floor.
    Times {
        /// What we want.
        goal: f64,
        /// What must be.
        gate: f64,
    },
    /// In the row's own unit.
    AtMost {
        /// What we want.
        goal: f64,
        /// What must be.
        gate: f64,
    },
}

impl Row {
    fn floor(&self) -> Option<f64> {
        self.others.first()?.series.as_ref().map(Series::median)
    }

    fn median(&self) -> f64 {
        self.ours.series.as_ref().map(Series::median).unwrap_or_default()
    }

    /// What is held against the bound.
    fn reached(&self) -> Option<f64> {
        match self.bound? {
            Bound::Times { .. } => Some(self.median() / self.floor()?),
            Bound::AtMost { .. } => Some(self.median()),
        }
    }

    /// Whether the gate fails, or could not be measured.
    pub(crate) fn missed(&self) -> bool {
        self.bound.is_some_and(|bound| {
            let (Bound::Times { gate, .. } | Bound::AtMost { gate, .. }) = bound;
            self.reached().is_none_or(|reached| reached > gate)
        })
    }

    fn verdict(&self) -> String {
        let Some(bound) = self.bound else { return "no goal".to_owned() };
        let Some(reached) = self.reached() else {
            return "NO FLOOR HERE: the gate is not shown to hold".to_owned();
        };
        let (goal, gate, times) = match bound {
            Bound::Times { goal, gate } => (goal, gate, " times the floor"),
            Bound::AtMost { goal, gate } => (goal, gate, ""),
        };
        let verdict = match reached {
            reached if reached <= goal => "reached",
            reached if reached <= gate => "not reached; the gate holds",
            _ => "GATE MISSED",
        };
        format!("{reached:.2}{times}: goal at most {goal}, gate {gate}: {verdict}")
    }
}

/// All rows, for people.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let median = row.median();
        line(&mut text, &row.title, "min / median / max", "ours is", "");
        for (number, side) in std::iter::once(&row.ours).chain(&row.others).enumerate() {
            let floor = if number == 1 { " (floor)" } else { "" };
            let who = format!("  {}{floor}", side.who);
            let Some(series) = &side.series else {
                line(&mut text, &who, "not installed here", "", &side.note);
                continue;
            };
            let ratio = if number == 0 {
                String::new()
            } else {
                format!("{:.2}x", median / series.median())
            };
            line(&mut text, &who, &series.to_string(), &ratio, &side.note);
        }
        let _ = writeln!(text, "  -> {}\n", row.verdict());
    }
    text
}

fn line(text: &mut String, who: &str, series: &str, ratio: &str, note: &str) {
    let whole = format!("{who:<52} {series:>26} {ratio:>8}  {note}");
    let _ = writeln!(text, "{}", whole.trim_end());
}
