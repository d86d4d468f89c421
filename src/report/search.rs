//! Finding something again: in runs, in the records of drills, and in the rollback log.

use super::View;
use super::lessons::Lesson;
use crate::event::Drill;

/// Words that all have to be found, whatever their case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search(Vec<String>);

/// A place that holds at least one of the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it is: `reason`, `question`, `line 12`.
    pub what: String,
    /// Its text.
    pub text: String,
}

impl Search {
    /// The words of a text; `None` when there are none.
    pub fn of(text: &str) -> Option<Self> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        (!words.is_empty()).then_some(Self(words))
    }

    /// The places with at least one of the words, when each word is in one of them.
    pub fn among(&self, places: impl IntoIterator<Item = Place>) -> Option<Vec<Place>> {
        let mut missing: Vec<&String> = self.0.iter().collect();
        let mut found = Vec::new();
        for place in places {
            let text = place.text.to_lowercase();
            if self.0.iter().any(|word| text.contains(word.as_str())) {
                missing.retain(|word| !text.contains(word.as_str()));
                found.push(place);
            }
        }
        missing.is_empty().then_some(found)
    }
}

fn place(what: &str, text: impl Into<String>) -> Place {
    Place { what: what.to_owned(), text: text.into() }
}

/// Everything that people may remember of a run.
pub fn of_run(view: &View) -> Vec<Place> {
    let header = &view.header;
    let plan = &header.plan;
    let mut places = vec![
        place("run", &header.run),
        place("runbook", &plan.runbook),
        place("title", &plan.title),
        place("subject", &plan.subject),
        place("environment", &plan.environment),
        place("by", format!("{}@{}", header.by.user, header.by.host)),
        place("end", super::facts::verdict(view)),
    ];
    places.extend(header.reason.as_ref().map(|reason| place("reason", reason)));
    places.extend(header.drill.as_ref().map(|part| place("kind", part.words())));
    for asked in &view.questions {
        let remark = asked.answer.as_ref().and_then(|(_, _, remark)| remark.as_deref());
        let remark = remark.map(|remark| format!(": {remark}")).unwrap_or_default();
        places.push(place("question", format!("{}{remark}", asked.text)));
    }
    places.extend(view.warnings.iter().map(|warning| place("warning", warning)));
    for (id, step) in &view.steps {
        let failed = step.outcome.filter(|outcome| !outcome.is_success());
        let note = failed.and_then(|_| step.evidence());
        places.extend(note.map(|note| place("step", format!("{id}: failed to {note}"))));
    }
    places
}

/// What the record of a drill adds to its run.
pub fn of_drill(drill: &Drill) -> Vec<Place> {
    let faults = drill.faults.iter().map(|fault| place("fault", &fault.fault));
    faults.chain([place("result", format!("drill {}", drill.result.word()))]).collect()
}

/// The lines of an entry of the log.
pub fn of_lesson(lesson: &Lesson) -> Vec<Place> {
    let lines = lesson.lines.iter();
    lines.map(|(number, text)| place(&format!("line {number}"), text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    #[test]
    fn every_word_has_to_be_somewhere_whatever_its_case() {
        let (view, _) = testing::begun();
        let among = |words: &str| Search::of(words).expect("words").among(of_run(&view));
        let found = among("TEST not").expect("found");
        assert!(found.iter().any(|place| place.what == "run"), "{found:?}");
        assert!(found.iter().any(|place| place.what == "end"), "{found:?}");
        assert_eq!(among("test nowhere"), None);
        assert_eq!(Search::of(" \n"), None);
    }
}
