//! How a run ended, as plain text that messages carry to people.

use super::state::View;
use super::summary;
use crate::action::Ending;
use crate::event::RunVerdict;

/// The end of a run whose journal's last record has this hash.
pub fn of(view: &View, journal_head: &str) -> Ending {
    let header = &view.header;
    let lines: Vec<String> = summary::lines(view)
        .iter()
        .map(|line| anstream::adapter::strip_str(line).to_string())
        .collect();
    let verdict = lines.iter().find(|line| !line.is_empty()).cloned().unwrap_or_default();
    let (title, environment) = (header.plan.title.clone(), header.plan.environment.clone());
    let headline = format!("{title} ({environment}): {verdict}");
    let text = format!(
        "{title}, run {} in environment {environment}\n{}\n\njournal: {journal_head}",
        header.run,
        lines.join("\n").trim()
    );
    Ending {
        run: header.run.clone(),
        title,
        environment,
        succeeded: matches!(
            view.verdict,
            Some((RunVerdict::Recovered | RunVerdict::RecoveredLate, _))
        ),
        headline: crate::secret::hide_markers(&headline),
        text: crate::secret::hide_markers(&text),
        journal_head: journal_head.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::report::testing;

    #[test]
    fn the_end_is_told_without_colours_and_with_the_journals_head() {
        let (mut view, mut take) = testing::begun();
        assert!(!of(&view, "00ff").succeeded);
        let verdict = RunVerdict::RecoveredLate;
        take(&mut view, Event::RunEnded { verdict, exit_code: 5 });
        let ending = of(&view, "00ff");
        assert!(ending.succeeded);
        let title = &view.header.plan.title;
        assert!(ending.headline.starts_with(title.as_str()), "{}", ending.headline);
        assert!(ending.headline.contains("): RECOVERED in "), "{}", ending.headline);
        assert!(!ending.headline.contains('\n'), "{}", ending.headline);
        assert!(ending.text.ends_with("journal: 00ff"), "{}", ending.text);
        assert!(ending.text.contains(&view.header.run), "{}", ending.text);
        assert!(!ending.text.contains('\u{1b}'), "{:?}", ending.text);
    }
}
