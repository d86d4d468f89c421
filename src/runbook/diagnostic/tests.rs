use super::*;

fn span(start: usize, end: usize) -> Span {
    Span { start, end }
}

#[test]
fn columns_count_characters_and_lines_count_from_one() {
    let source = Source::new("x", "äöü: 1\nb: 2\n");
    assert_eq!(source.location(0), Location { line: 1, column: 1 });
    assert_eq!(source.location("äöü".len()), Location { line: 1, column: 4 });
    assert_eq!(source.location("äöü: 1\n".len()), Location { line: 2, column: 1 });
    assert_eq!(source.location(1), Location { line: 1, column: 1 }, "inside a character");
    assert_eq!(source.location(1000), Location { line: 3, column: 1 }, "behind the end");
}

#[test]
fn problems_are_sorted_and_not_repeated() {
    let late = Diagnostic::error("b", "late").at(span(5, 6));
    let early = Diagnostic::warning("a", "early").at(span(1, 2));
    let all = Diagnostics::new(Source::new("x", "0123456789"), vec![late.clone(), early, late]);
    assert_eq!(all.iter().map(|found| found.code).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(all.summary(), "1 error and 1 warning in x");
}

#[test]
fn errors_are_kept_when_there_are_too_many_problems() {
    let mut list: Vec<Diagnostic> =
        (0..150).map(|at| Diagnostic::warning("w", format!("{at}")).at(span(at, at + 1))).collect();
    list.push(Diagnostic::error("e", "the last").at(span(200, 201)));
    let all = Diagnostics::new(Source::new("x", "x".repeat(300)), list);
    assert!(all.has_errors());
    assert_eq!((all.iter().len(), all.omitted()), (100, 51));
    assert!(all.render(false).contains("and 51 more problems"));
}

#[test]
fn color_is_only_there_when_asked_for() {
    let found = Diagnostic::error("a", "wrong").at(span(0, 1)).hint("Do it right.");
    let all = Diagnostics::new(Source::new("x", "abc"), vec![found]);
    assert!(!all.render(false).contains('\u{1b}'));
    assert!(all.render(true).contains('\u{1b}'));
}

#[test]
fn nothing_of_a_file_drives_the_terminal() {
    let hostile = "\u{1b}]52;c;x\u{7}\u{9b}2J\u{202e}\r\u{e000}s\u{e001}";
    let found = Diagnostic::error("a", hostile)
        .at(span(2, 3))
        .label(hostile)
        .hint(hostile)
        .also(span(4, 5), hostile);
    let source = Source::new(hostile, format!("a {hostile} b\nc"));
    let shown = Diagnostics::new(source, vec![found]).render(false);
    let bad = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!shown.chars().any(bad), "{shown:?}");
}
