//! What the program does to disks and to the world, in the kernel's order, as `strace` sees it.

use std::collections::HashMap;
use std::process::Command;

use crate::support::output::CommandOutput;
use crate::support::world::{World, finish};

/// The calls that make data durable, or change something.
const CALLS: &str = "trace=openat,mkdir,mkdirat,write,writev,pwrite64,fsync,fdatasync,ftruncate,execve,connect,sendto,sendmsg,\
                     rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat";

/// Something that a crash may follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Bytes for a file: from now on they may be on the disk.
    Write { path: String, offset: usize, bytes: Vec<u8> },
    /// A file's end for a later place.
    Cut { path: String, length: usize },
    /// The flush of a file or folder is over; it covers what came before the event with this number.
    Flushed { path: String, since: usize },
    /// A new file or folder has a name.
    Named { path: String },
    /// Something begins that is called so in the runbook. What goes over a connection begins with it.
    Effect { name: String },
    /// A connection to the server of the test over which nothing has gone yet.
    Connected { socket: String },
}

/// Runs a command of the program under `strace`: what it said, and its events. `port` is the test's server.
pub(super) fn traced(world: &World, command: &Command, port: u16) -> (CommandOutput, Vec<Event>) {
    let path = world.path("trace");
    let mut strace = world.command("strace");
    strace.args(["-f", "-y", "-xx", "-s", "4194304", "-e", "signal=none", "-e", CALLS, "-o"]);
    strace.arg(&path).arg(command.get_program()).args(command.get_args());
    let output = finish(&mut strace);
    let text = std::fs::read_to_string(&path).expect(
        "strace wrote a trace: it is installed by `scripts/servers up`, and may trace here",
    );
    (output, events(&text, port))
}

/// A call whose end has not been seen.
struct Begun<'a> {
    text: &'a str,
    at: usize,
}

/// The events of a trace. Data and effects count from the beginning of their call, flushes and names from its end.
fn events(trace: &str, port: u16) -> Vec<Event> {
    let mut events = Vec::new();
    let mut open: HashMap<&str, Begun<'_>> = HashMap::new();
    for line in trace.lines() {
        let (process, text) = line.split_once(' ').expect("a line begins with a process");
        let text = text.trim_start();
        if let Some(rest) = text.strip_prefix("<... ") {
            let Some(begun) = open.remove(process) else { continue };
            let (_, rest) = rest.split_once("resumed>").expect("a call goes on");
            events.extend(at_end(&format!("{}{rest}", begun.text), begun.at));
        } else if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            open.insert(process, Begun { text: begun, at: events.len() });
            begin(begun, port, &mut events);
        } else {
            let at = events.len();
            begin(text, port, &mut events);
            events.extend(at_end(text, at));
        }
    }
    events
}

fn begin(text: &str, port: u16, events: &mut Vec<Event>) {
    let Some(event) = at_beginning(text, port) else { return };
    let over = descriptor(text).filter(|_| matches!(event, Event::Effect { .. }));
    let connection = over.and_then(|over| {
        events
            .iter_mut()
            .rfind(|event| matches!(event, Event::Connected { socket } if *socket == over))
    });
    match connection {
        Some(connection) => *connection = event,
        None => events.push(event),
    }
}

fn at_beginning(text: &str, port: u16) -> Option<Event> {
    let (call, arguments) = text.split_once('(')?;
    let strings = strings(arguments);
    match call {
        "pwrite64" => Some(Event::Write {
            path: descriptor(arguments)?,
            offset: last_number(arguments)?,
            bytes: strings.into_iter().next()?,
        }),
        "ftruncate" => {
            Some(Event::Cut { path: descriptor(arguments)?, length: last_number(arguments)? })
        }
        "connect" => {
            let ours = arguments.contains(&format!("htons({port})"));
            descriptor(arguments).filter(|_| ours).map(|socket| Event::Connected { socket })
        }
        "write" | "writev" | "sendto" | "sendmsg" => {
            descriptor(arguments)?.starts_with("socket:").then(|| effect(&strings, false))?
        }
        "openat" => arguments.contains("O_CREAT").then(|| effect(&strings, false))?,
        "execve" | "mkdir" | "mkdirat" => effect(&strings, false),
        "rename" | "renameat" | "renameat2" | "link" | "linkat" | "symlink" | "symlinkat"
        | "unlink" | "unlinkat" => effect(&strings, true),
        _ => None,
    }
}

fn at_end(text: &str, since: usize) -> Option<Event> {
    let (call, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    match call {
        "fsync" | "fdatasync" => Some(Event::Flushed { path: descriptor(arguments)?, since }),
        "openat" if arguments.contains("O_CREAT") => {
            Some(Event::Named { path: descriptor(result)? })
        }
        "mkdir" => {
            let path = strings(arguments).into_iter().next()?;
            Some(Event::Named { path: String::from_utf8_lossy(&path).into_owned() })
        }
        _ => None,
    }
}

/// The effect that a call's texts name: `effect-07`, or `undo-07` for its way back. Where a file with exactly the effect's name is moved
/// or removed (`leaves`), that is the way back.
fn effect(strings: &[Vec<u8>], leaves: bool) -> Option<Event> {
    let named = |prefix: &str| {
        strings.iter().find_map(|text| {
            let text = String::from_utf8_lossy(text);
            let at = text.find(prefix)? + prefix.len();
            Some(text.get(at..at + 2)?.to_owned())
        })
    };
    if let Some(number) = named("undo-") {
        return Some(Event::Effect { name: format!("undo-{number}") });
    }
    let number = named("effect-")?;
    let whole = format!("effect-{number}.txt");
    let back = leaves && strings.first().is_some_and(|name| name == whole.as_bytes());
    Some(Event::Effect { name: format!("{}-{number}", if back { "undo" } else { "effect" }) })
}

/// What a descriptor stands for: `12</path>`.
fn descriptor(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('<')?;
    let (name, _) = rest.split_once('>')?;
    Some(String::from_utf8_lossy(&plain(name)).into_owned())
}

fn strings(arguments: &str) -> Vec<Vec<u8>> {
    // All of them are hexadecimal, so none contains a quotation mark.
    arguments.split('"').skip(1).step_by(2).map(plain).collect()
}

/// The last of the call's numbers: `…, 4096)`.
fn last_number(arguments: &str) -> Option<usize> {
    let arguments = arguments.rsplit_once(" = ").map_or(arguments, |(arguments, _)| arguments);
    let number = arguments.trim_end().trim_end_matches(')').rsplit(',').next()?;
    number.trim().parse().ok()
}

/// Bytes that `strace -xx` wrote as `\x41`.
fn plain(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    let digits = text.split("\\x").skip(1);
    digits.map(|two| u8::from_str_radix(two, 16).expect("two hexadecimal digits")).collect()
}

#[test]
fn a_trace_is_read_in_the_kernels_order() {
    let trace = r#"7 mkdir("\x2f\x61", 0700) = 0
7 fsync(9<\x2f> <unfinished ...>
8 pwrite64(12<\x2f\x6a>, "\x41\x42", 2, 5) = 2
7 <... fsync resumed>) = 0
9 execve("\x2f\x74", ["\x2f\x74", "\x65\x66\x66\x65\x63\x74\x2d\x30\x37\x2e\x64"], 0x5 /* 4 vars */ <unfinished ...>
8 fdatasync(12<\x2f\x6a>) = -1 EIO (Input/output error)
9 <... execve resumed>) = 0
8 connect(14<\x73\x6f\x63\x6b\x65\x74\x3a\x5b\x31\x5d>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("\x31")}, 16) = -1 EINPROGRESS
8 sendto(14<\x73\x6f\x63\x6b\x65\x74\x3a\x5b\x31\x5d>, "\x75\x6e\x64\x6f\x2d\x30\x32", 7, MSG_NOSIGNAL, NULL, 0) = 7
8 renameat(3<\x2f>, "\x65\x66\x66\x65\x63\x74\x2d\x30\x31\x2e\x74\x78\x74", 3<\x2f>, "\x62") = 0
8 ftruncate(12<\x2f\x6a>, 7) = 0
8 +++ exited with 0 +++"#;
    let name = |name: &str| Event::Effect { name: name.to_owned() };
    let wanted = [
        Event::Named { path: "/a".to_owned() },
        Event::Write { path: "/j".to_owned(), offset: 5, bytes: b"AB".to_vec() },
        Event::Flushed { path: "/".to_owned(), since: 1 },
        name("effect-07"),
        // Sent later, begun with the connection.
        name("undo-02"),
        name("undo-01"),
        Event::Cut { path: "/j".to_owned(), length: 7 },
    ];
    assert_eq!(events(trace, 80), wanted);
}
