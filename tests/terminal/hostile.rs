//! Hostile paths are refused without hanging, and hostile text from anywhere moves no terminal.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::as_root;
use crate::support::desk::{Desk, touch};
use crate::support::world::finish;

/// Makes a bad state folder at the first path; the second is a folder elsewhere.
type Prepare = fn(&Path, &Path);

#[test]
fn a_state_folder_that_others_could_have_made_is_refused() {
    let prepare: [(&str, Prepare); 3] = [
        ("symbolic link", |state, elsewhere| symlink(elsewhere, state).unwrap()),
        ("other users can write", |state, _| {
            std::fs::create_dir(state).unwrap();
            std::fs::set_permissions(state, PermissionsExt::from_mode(0o770)).unwrap();
        }),
        ("belongs to another user", |state, _| {
            std::fs::create_dir(state).unwrap();
            let given = as_root("chown").arg("12345").arg(state).status();
            assert!(given.is_ok_and(|status| status.success()), "root gives a folder away");
        }),
    ];
    for (why, prepare) in prepare {
        let desk = Desk::new(&touch("before"));
        let elsewhere = desk.world.path("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        prepare(&desk.state(), &elsewhere);
        let refused = desk.run().expect_code(1);
        assert!(refused.stderr.contains(why), "{why}: {refused}");
        assert!(!desk.has("before.done"), "{refused}");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0, "nothing goes elsewhere");
        let looked = desk.world.rollback(["history"]).expect_code(1);
        assert!(looked.stderr.contains(why), "{why}: {looked}");
    }
}

#[test]
fn what_is_no_file_is_no_runbook() {
    let desk = Desk::new(&touch("before"));
    let fifo = desk.world.path("home/fifo.yaml");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let folder = desk.world.path("home/folder.yaml");
    std::fs::create_dir(&folder).unwrap();
    let home = desk.world.path("home");
    for path in [fifo.as_path(), folder.as_path(), home.as_path(), Path::new("/dev/zero")] {
        for command in ["run", "plan", "check"] {
            let mut asked = desk.world.program();
            asked.arg(command).arg(path);
            if command != "check" {
                asked.args(["--env", "local"]);
            }
            if command == "check" && path == home {
                continue;
            }
            let output = finish(&mut asked);
            assert!(matches!(output.code(), Some(2 | 3)), "{command} {}: {output}", path.display());
            assert!((output.stderr.clone() + &output.stdout).contains("error"), "{output}");
        }
    }
}

/// What a terminal would obey, by its bytes: cursor, screen, title, clipboard, links, keyboard, character sets, single bytes of C0 and C1,
/// and what changes the direction of text.
fn sequences() -> Vec<String> {
    let mut all: Vec<String> = [
        "\x1b[2J",
        "\x1b[H",
        "\x1b[38;5;9m",
        "\x1b[1;1H",
        "\x1b[2K",
        "\x1b[6n",
        "\x1b[c",
        "\x1b[?25l",
        "\x1b[?1049h",
        "\x1b[?2004h",
        "\x1b[8m",
        "\x1b[5i",
        "\x1b[20t",
        "\x1b[21t",
        "\x1b[100A",
        "\x1b[s",
        "\x1b[u",
        "\x1b[!p",
        "\x1b[?1000h",
        "\x1b[4h",
        "\x1b[2q",
        "\x1b[1;5r",
        "\x1b[3J",
        "\x1b[1P",
        "\x1b[1L",
        "\x1b[0c",
        "\x1b[>c",
        "\x1b[=c",
        "\x1bc",
        "\x1bD",
        "\x1bE",
        "\x1bM",
        "\x1bZ",
        "\x1b7",
        "\x1b8",
        "\x1b#8",
        "\x1b%G",
        "\x1b(0",
        "\x1bN",
        "\x1b=",
        "\x1b\\",
        "\x1b]0;title\x07",
        "\x1b]2;title\x1b\\",
        "\x1b]4;1;?\x07",
        "\x1b]8;;http://evil\x1b\\x\x1b]8;;\x1b\\",
        "\x1b]10;?\x07",
        "\x1b]52;c;ZXZpbA==\x07",
        "\x1b]777;notify;a;b\x07",
        "\x1b]1337;File=:x\x07",
        "\x1b]50;x\x07",
        "\x1bP+q544e\x1b\\",
        "\x1bP1$r\x1b\\",
        "\x1b_x\x1b\\",
        "\x1b^x\x1b\\",
        "\x1bXx\x1b\\",
        "\u{9b}31m",
        "\u{9b}2J",
        "\u{9d}0;x\u{9c}",
        "\u{90}q\u{9c}",
        "\u{85}",
        "\u{8d}",
        "\u{9e}x\u{9c}",
        "\u{202e}txt.exe",
        "\u{2066}x\u{2069}",
        "\u{200e}",
        "\u{200b}",
        "\u{61c}",
        "\u{feff}",
        "\u{2028}",
        "\u{e0041}",
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend(
        ['\x07', '\x08', '\x0b', '\x0c', '\r', '\x0e', '\x0f', '\x11', '\x13', '\x18', '\x7f']
            .map(String::from),
    );
    all
}

/// Asserts that a terminal obeys nothing in `text` but ends of lines.
#[track_caller]
fn harmless(text: &str, what: &str) {
    let bad = text.chars().find(|character| {
        (character.is_control() && *character != '\n')
            || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    });
    assert_eq!(bad, None, "{what}:\n{text:?}");
}

/// `text` without the colours and weights that the program itself may use.
fn without_colours(text: &str) -> String {
    let mut plain = text.to_owned();
    for style in
        ["0", "1", "2", "31", "32", "33", "34", "35", "36", "91", "92", "93", "94", "95", "96"]
    {
        plain = plain.replace(&format!("\x1b[{style}m"), "");
    }
    plain
}

/// `text` as a YAML double-quoted scalar without any raw control character.
fn quoted(text: &str) -> String {
    let mut scalar = String::from("\"");
    for character in text.chars() {
        scalar.push_str(&format!("\\U{:08x}", u32::from(character)));
    }
    scalar.push('"');
    scalar
}

#[test]
fn text_from_a_script_and_from_the_runbook_moves_no_terminal() {
    let all = sequences();
    assert!(all.len() >= 60, "{}", all.len());
    let desk = Desk::new("");
    let hostile = all.join("|");
    let raw = desk.world.write("home/hostile.bin", &hostile);
    let title = quoted(&format!("Title {hostile}"));
    // Every sequence on its own, so that no cut of a long text hides one.
    let mut items = String::new();
    let mut files = String::new();
    for (number, sequence) in all.iter().enumerate() {
        desk.world.write(format!("home/hostile/{number}"), &format!("out {sequence} end"));
        items.push_str(&format!(
            "          - {{item: {}}}\n",
            quoted(&format!("{number} {sequence} end"))
        ));
        files.push_str(&format!("{number} "));
    }
    desk.runbook(&format!(
        r#"version: 1
name: book
title: {title}
scenario: partial
subject: book
phases:
  - id: work
    title: {title}
    steps:
      - id: items
        title: {title}
        manual.confirm:
{items}
      - id: output
        title: {title}
        on_failure: continue
        for_each: [{list}]
        script.shell: {{run: "cat \"$FILE\"; cat \"$FILE\" >&2; exit 3", undo: ["true"], env: {{FILE: "{dir}/hostile/{{{{ item }}}}"}}}}
      - id: all
        script.shell: {{run: "cat \"$FILE\"; cat \"$FILE\" >&2; exit 3", undo: ["true"], env: {{FILE: {raw}}}}}
"#,
        list = files.trim().replace(' ', ", "),
        dir = desk.world.path("home").display(),
        raw = raw.display(),
    ));
    let run = desk.run();
    // The scripts ran and ended with 3: nobody knows what they changed.
    assert!(run.code() == Some(7), "{run}");
    harmless(&run.stderr, "live");
    harmless(&run.stdout, "the last word");
    for arguments in [
        vec!["status", "latest"],
        vec!["report", "latest"],
        vec!["report", "latest", "--format", "json"],
        vec!["status", "latest", "--format", "json"],
        vec!["history"],
        vec!["history", "--format", "json"],
        vec!["plan", "book.yaml", "--env", "local"],
        vec!["plan", "book.yaml", "--env", "local", "--explain"],
        vec!["plan", "book.yaml", "--env", "local", "--format", "json"],
        vec!["check", "book.yaml"],
        vec!["confirm", "latest"],
    ] {
        let output = desk.world.rollback(&arguments);
        assert!(output.code() != Some(20) && output.code().is_some(), "{arguments:?}: {output}");
        harmless(&output.stdout, &format!("{arguments:?}, standard output"));
        harmless(&output.stderr, &format!("{arguments:?}, standard error"));
        let mut coloured = desk.world.program();
        let coloured = finish(coloured.args(&arguments).args(["--color", "always"]));
        harmless(&without_colours(&coloured.stdout), &format!("{arguments:?}, coloured data"));
        harmless(&without_colours(&coloured.stderr), &format!("{arguments:?}, coloured progress"));
    }
}

/// A system that answers every request with this status and text.
fn answering(status: u16, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let body = body.clone();
            // A client that goes away in the middle is none of the test's business.
            std::thread::spawn(move || answer(stream, status, &body).ok());
        }
    });
    address
}

fn answer(mut stream: TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && !line.trim().is_empty() {
        line.clear();
    }
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn text_from_remote_systems_moves_no_terminal() {
    let hostile = sequences().join("|");
    let text = serde_json::Value::from(hostile.as_str());
    let labels = serde_json::json!({
        "com.docker.compose.project": "legacy",
        "com.docker.compose.service": hostile,
        "com.docker.compose.oneoff": "False",
    });
    let fleet = serde_json::json!([{
        "Id": "0123456789ab", "Names": [format!("/{hostile}")], "Image": hostile, "ImageID": hostile,
        "State": "exited", "Status": hostile, "Labels": labels,
    }]);
    let failing = answering(500, serde_json::json!({"message": text}).to_string());
    let named = answering(200, fleet.to_string());
    let refusing = answering(400, hostile.clone());
    let telling = answering(200, serde_json::json!({"version": text}).to_string());
    for engine in [&failing, &named] {
        let desk = Desk::new(&format!(
            r#"
      - id: fleet
        on_failure: continue
        docker.expect: {{project: legacy, running: 3}}
      - id: tell
        optional: true
        notify.slack: {{text: Hello}}
      - id: call
        on_failure: continue
        http.call: {{method: PUT, url: "http://{refusing}/", undo: {{method: DELETE, url: "http://{refusing}/"}}}}
      - id: ask
        timeout: 2s
        on_failure: continue
        http.expect: {{url: "http://{telling}/", json: {{version: "1.0.0"}}}}
      - id: power
        docker.start: {{project: legacy}}
"#
        ));
        desk.environment(&format!(
            "connections:\n  slack: {{webhook: {{file: hook.txt}}}}\n  docker: {{host: \"tcp://{engine}\"}}"
        ));
        let hook =
            desk.world.write("home/environments/hook.txt", &format!("http://{refusing}/hook\n"));
        std::fs::set_permissions(hook, PermissionsExt::from_mode(0o600)).expect("it is ours");
        let plan = desk.world.rollback(["plan", "book.yaml", "--env", "local"]);
        let run = desk.run();
        let said = [plan.to_string(), run.to_string()].concat();
        assert!(
            said.contains("version") || said.contains("Hello"),
            "the systems were asked: {said}"
        );
        let mut all = vec![plan, run];
        for arguments in [
            &["status", "latest"][..],
            &["report", "latest"],
            &["report", "latest", "--format", "json"],
            &["history"],
            &["doctor", "--env", "local"],
        ] {
            all.push(desk.world.rollback(arguments));
        }
        for output in all {
            harmless(&output.stdout, "standard output");
            harmless(&output.stderr, "standard error");
            assert_ne!(output.code(), Some(20), "{output}");
        }
    }
}

#[test]
fn broken_runbooks_with_hostile_text_move_no_terminal() {
    for sequence in sequences() {
        let desk = Desk::new("");
        for text in [
            format!("version: 1\nname: {}\nunknown{}: 1\n", quoted(&sequence), sequence),
            format!("version: 1\n{}: 1\n", quoted(&format!("key {sequence}"))),
            format!("version: 1\nname: book\nscenario: {}\n", quoted(&sequence)),
        ] {
            desk.runbook(&text);
            let output = desk.world.rollback(["check", "book.yaml"]).expect_code(3);
            harmless(&output.stderr, "standard error");
            harmless(&output.stdout, "standard output");
        }
    }
}
