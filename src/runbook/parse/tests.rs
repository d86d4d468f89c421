//! Hostile files: every one is refused with a place, quickly and in little memory.

use std::fmt::Write as _;

use super::*;
use crate::runbook::diagnostic::Diagnostics;
use crate::runbook::{load, load_text, testing};

fn parsed(text: &str) -> Node {
    parse(&Source::new("test.yaml", text)).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn refused(text: &str) -> Vec<Diagnostic> {
    parse(&Source::new("test.yaml", text)).expect_err("refused")
}

fn codes(text: &str) -> Vec<&'static str> {
    refused(text).iter().map(|found| found.code).collect()
}

fn rendered(text: &str) -> String {
    Diagnostics::new(Source::new("test.yaml", text), refused(text)).render(false)
}

#[test]
fn values_and_keys_know_their_places() {
    let text = "a: [1, 'zwei', drei]\nb:\n  ü: \"x\"\n";
    let root = parsed(text);
    let slice = |span: Span| &text[span.start..span.end];
    let NodeValue::Map(entries) = &root.value else { panic!("a mapping") };
    assert_eq!(slice(entries[0].0.span), "a");
    assert_eq!(slice(entries[0].1.span), "[1, 'zwei', drei]");
    let NodeValue::List(items) = &entries[0].1.value else { panic!("a list") };
    assert_eq!(
        items.iter().map(|item| slice(item.span)).collect::<Vec<_>>(),
        ["1", "'zwei'", "drei"]
    );
    let NodeValue::Map(inner) = &entries[1].1.value else { panic!("a mapping") };
    assert_eq!(slice(inner[0].0.span), "ü");
    assert_eq!(slice(entries[1].1.span), "ü: \"x\"");
}

#[test]
fn plain_scalars_follow_the_core_schema_without_surprises() {
    let root = parsed(
        "{a: on, b: yes, c: 012, d: 0x1F, e: true, f: ~, g: 1.50, h: 5, i: 1e3, j: 1.2.3, k: '5', l: -3, m: no, n: .5}",
    );
    assert_eq!(
        root.to_json(),
        serde_json::json!({
            "a": "on", "b": "yes", "c": "012", "d": "0x1F", "e": true, "f": null, "g": 1.5, "h": 5,
            "i": 1000.0, "j": "1.2.3", "k": "5", "l": -3, "m": "no", "n": 0.5
        })
    );
}

#[test]
fn a_byte_order_mark_is_accepted() {
    let loaded = load_text("x.yaml", "\u{FEFF}version: 7\n", &testing::registry());
    let problems = loaded.expect_err("a newer version");
    assert_eq!(problems.iter().next().map(|found| found.code), Some("newer-version"));
    assert_eq!(problems.source.location(9).column, 10);
}

#[test]
fn an_alias_bomb_is_refused_without_being_expanded() {
    let mut bomb = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..40 {
        let before = level - 1;
        writeln!(
            bomb,
            "a{level}: &a{level} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}]"
        )
        .expect("a String");
    }
    let found = codes(&bomb);
    assert!(found.iter().all(|code| ["anchor", "alias"].contains(code)), "{found:?}");
    assert!(rendered(&bomb).starts_with("error[anchor]: the anchor `&a0`"));
}

#[test]
fn a_scalar_alias_bomb_is_refused() {
    let mut bomb = format!("big: &big \"{}\"\nall:\n", "x".repeat(100_000));
    for _ in 0..50_000 {
        bomb.push_str("  - *big\n");
    }
    let shown = rendered(&bomb);
    assert!(shown.contains("test.yaml:1:6"), "{}", &shown[..200]);
    assert!(shown.len() < 100_000, "{} bytes", shown.len());
    assert!(shown.contains("more problems"));
}

#[test]
fn an_alias_to_itself_is_refused() {
    assert_eq!(codes("a: &a [*a]\n"), ["anchor", "alias"]);
    assert_eq!(codes("*nothing : 1\n"), ["alias"]);
}

#[test]
fn deep_nesting_is_refused_in_every_notation() {
    assert_eq!(codes(&"[".repeat(10_000)), ["too-deep"]);
    assert_eq!(codes(&"{a: ".repeat(10_000)), ["too-deep"]);
    let mut block = String::new();
    for level in 0..3000 {
        writeln!(block, "{}k:", " ".repeat(level)).expect("a String");
    }
    assert_eq!(codes(&block), ["too-deep"]);
    assert_eq!(codes(&format!("{}x", "- ".repeat(10_000))), ["too-deep"]);
    let fine = format!("{}x{}", "[".repeat(60), "]".repeat(60));
    let _node = parsed(&fine);
}

#[test]
fn repeated_keys_are_refused_once_each() {
    let mut text = String::new();
    for _ in 0..10_000 {
        text.push_str("a: 1\n");
    }
    assert_eq!(codes(&text).len(), 9999);
    assert!(rendered(&text).contains("test.yaml:2:1"));
}

#[test]
fn too_many_values_are_refused() {
    let list = format!("[{}]", "1,".repeat(300_000));
    assert_eq!(codes(&list), ["too-many-values"]);
}

#[test]
fn control_characters_and_other_documents_are_refused() {
    assert_eq!(codes("a: 1\0\n"), ["nul-character"]);
    assert_eq!(codes("a: \"x\\0y\"\n"), ["nul-character"]);
    assert_eq!(codes("a: 1\n---\nb: 2\n"), ["second-document"]);
    assert_eq!(codes("a:\n\t- 1\n"), ["tab"]);
    assert_eq!(codes("%TAG ! tag:example.org,2000:\n---\na: 1\n"), ["directive"]);
    assert_eq!(codes("a: !!python/object:os.system x\n"), ["tag"]);
    assert_eq!(codes("<<: {a: 1}\n"), ["merge-key"]);
    assert_eq!(codes("? [a, b]\n: 1\n"), ["key-not-text"]);
    assert_eq!(codes(""), ["empty-file"]);
}

#[test]
fn one_huge_line_does_not_fill_the_screen() {
    let shown = rendered(&format!("a: \"{}\"\nb: *x\n", "y".repeat(1_000_000)));
    assert!(shown.len() < 2000);
    let shown =
        rendered(&format!("a: [\"{}\", *x, \"{}\"]\n", "y".repeat(500_000), "z".repeat(500_000)));
    assert!(shown.contains("test.yaml:1:500009"), "{shown}");
    assert!(shown.len() < 2000, "{} bytes", shown.len());
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latin1.yaml");
    std::fs::write(&path, b"version: 1\ntitle: Zur\xfcck\n").expect("written");
    let problems = load(&path, &testing::registry()).expect_err("refused");
    let shown = problems.render(false);
    assert!(shown.contains("byte 21 (0xfc) is not UTF-8"), "{shown}");
    assert!(shown.contains("latin1.yaml:2:11"), "{shown}");
}

#[test]
fn a_file_of_100_megabytes_is_refused_unread() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("huge.yaml");
    let file = std::fs::File::create(&path).expect("created");
    file.set_len(100 * 1024 * 1024).expect("sparse");
    let problems = load(&path, &testing::registry()).expect_err("refused");
    assert_eq!(problems.iter().next().map(|found| found.code), Some("file-too-large"));
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe.yaml");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a named pipe");
    for path in [pipe.as_path(), std::path::Path::new("/dev/zero"), folder.path()] {
        let problems = load(path, &testing::registry()).expect_err("refused");
        assert_eq!(problems.iter().next().map(|found| found.code), Some("unreadable-file"));
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 1000, ..Default::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}:,&*!|>'\"%@`#?<\\- \t\na-c0-9.~é\u{7}]{0,120}") {
        let source = Source::new("test.yaml", text.as_str());
        let problems = match parse(&source) {
            Ok(_) => load_text("test.yaml", &text, &testing::registry()).err().into_iter().collect(),
            Err(problems) => vec![Diagnostics::new(source, problems)],
        };
        for found in problems {
            let shown = found.render(false);
            proptest::prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
