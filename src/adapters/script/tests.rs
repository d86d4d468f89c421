//! Scripts as real processes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::process::{MARK_VARIABLE, kill_marked, marked_with};
use crate::action::contract::{self, World, action, already_done, applied, needed, probe};
use crate::action::{
    Action, ActionError, Connections, ErrorKind, Evidence, Present, Recorder, Registry, Repeat,
    Reversal, Saved, StepContext, Verdict, Work,
};
use crate::secret::Secrets;

const AMPLE: Duration = Duration::from_secs(30);

/// A run of its own for each test: children are told apart by their run.
fn world() -> World {
    World::new(&format!("run-{}", uuid::Uuid::new_v4()))
}

async fn make(verb: &str, args: Value) -> Result<Vec<(String, Work)>, ActionError> {
    make_with(verb, args, Secrets::default()).await
}

async fn make_with(
    verb: &str,
    args: Value,
    secrets: Secrets,
) -> Result<Vec<(String, Work)>, ActionError> {
    let connections = Connections::new("test", HashMap::new(), Arc::new(secrets));
    contract::make(Registry::new(vec![super::system()]), connections, verb, args).await
}

async fn script(args: Value) -> Box<dyn Action> {
    action(make("script.run", args).await.expect("a valid script"))
}

async fn shell(args: Value) -> Box<dyn Action> {
    action(make("script.shell", args).await.expect("a valid script"))
}

async fn apply(
    action: &dyn Action,
    world: &World,
    time: Duration,
) -> Result<Evidence, ActionError> {
    action.apply(&world.context(time), &Saved::default()).await
}

/// Whether a process runs; a zombie that nobody collects does not.
fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

/// Waits for something that is about to be so; hangs no longer than [`AMPLE`].
async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + AMPLE;
    while !so() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn path_in(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("UTF-8").to_owned()
}

#[tokio::test]
async fn keeps_the_contract_with_check_and_undo() {
    let folder = temp();
    let file = path_in(&folder, "made");
    let made = script(json!({
        "argv": ["touch", file], "undo": ["rm", file], "check": ["test", "-e", file],
    }))
    .await;
    contract::holds(&*made, &world()).await;
    assert_eq!(
        (made.repeat(), made.repeat_of_undo()),
        (Repeat::AfterInspect, Repeat::AfterInspect)
    );
}

#[tokio::test]
async fn a_second_undo_runs_nothing_even_without_a_check() {
    let folder = temp();
    let log = path_in(&folder, "log");
    let made = shell(json!({
        "run": "echo apply >> $LOG", "env": {"LOG": log},
        "undo": ["sh", "-c", "echo undo >> $LOG"],
    }))
    .await;
    let world = world();
    let (saved, evidence) = applied(&*made, &world).await;
    let look = async || made.present(&world.context(AMPLE), &saved, None).await.expect("a look");
    assert_eq!(look().await, Present::Unseen);
    contract::undone(&*made, &world, &saved, &evidence).await;
    assert_eq!(std::fs::read_to_string(&log).expect("the log"), "apply\nundo\n");
    assert_eq!((made.repeat(), made.repeat_of_undo()), (Repeat::Never, Repeat::Never));
    assert_eq!(look().await, Present::AsBefore);
}

#[tokio::test]
async fn without_undo_it_is_irreversible_and_says_so() {
    let made = script(json!({"argv": ["true"]})).await;
    assert!(matches!(made.reversal(), Reversal::Irreversible { .. }));
    assert!(made.describe().undo.contains("cannot be undone"));
    let refused = made.undo(&world().context(AMPLE), &Saved::default(), None).await;
    assert_eq!(refused.expect_err("no undo").kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn an_unexpected_exit_code_fails_and_quotes_the_output() {
    let made = shell(json!({"run": "echo out; echo oh no >&2; exit 3"})).await;
    let error = apply(&*made, &world(), AMPLE).await.expect_err("exit code 3");
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(!error.retryable);
    assert_eq!(error.message, "run `/bin/sh`: exit code 3, expected 0");
    assert_eq!(error.causes, ["standard error ends with: oh no"]);

    let expected = shell(json!({"run": "exit 3", "expect_exit": [0, 3]})).await;
    let evidence = apply(&*expected, &world(), AMPLE).await.expect("3 is fine");
    assert_eq!(evidence.facts["status"], "exit code 3");
}

#[tokio::test]
async fn a_shell_stops_at_the_first_failure_and_at_unset_variables() {
    for run in ["false; true", "echo $NOT_SET_ANYWHERE"] {
        let failed = apply(&*shell(json!({"run": run})).await, &world(), AMPLE).await;
        assert_eq!(failed.expect_err(run).kind, ErrorKind::Failed);
    }
}

#[tokio::test]
async fn the_environment_is_clean() {
    let made = script(json!({"argv": ["env"], "env": {"GIVEN": "a value"}})).await;
    let evidence = apply(&*made, &World::new("run-7"), AMPLE).await.expect("env");
    let printed = evidence.facts["stdout"].as_str().expect("text").to_owned();
    let names: Vec<&str> = printed.lines().filter_map(|line| line.split('=').next()).collect();
    for name in &names {
        let known = super::child::INHERITED.contains(name);
        assert!(known || ["GIVEN", "ROLLBACK_STEP"].contains(name), "{name} leaked: {printed}");
    }
    assert!(printed.contains("GIVEN=a value\n"));
    assert!(printed.contains("ROLLBACK_STEP=run-7/"));

    let (more, _) = std::env::vars()
        .find(|(name, _)| !super::child::INHERITED.contains(&name.as_str()))
        .expect("the test itself has more than its children");
    let inherits = script(json!({"argv": ["env"], "inherit": [more]})).await;
    let evidence = apply(&*inherits, &World::new("run-7"), AMPLE).await.expect("env");
    assert!(evidence.facts["stdout"].as_str().expect("text").contains(&format!("{more}=")));
}

#[tokio::test]
async fn the_standard_input_is_empty_unless_given() {
    let silent = script(json!({"argv": ["cat"]})).await;
    let evidence = apply(&*silent, &world(), AMPLE).await.expect("cat");
    assert_eq!(evidence.facts["stdout"], "");

    let fed = script(json!({"argv": ["cat"], "stdin": "some words"})).await;
    let evidence = apply(&*fed, &world(), AMPLE).await.expect("cat");
    assert_eq!(evidence.facts["stdout"], "some words");

    let deaf = script(json!({"argv": ["true"], "stdin": "x".repeat(1_000_000)})).await;
    let _evidence = apply(&*deaf, &world(), AMPLE).await.expect("input is optional");
}

#[tokio::test]
async fn secrets_reach_the_child_and_come_back_redacted() {
    let mut secrets = Secrets::default();
    let marker = secrets.insert("token", "CANARY-0123456789".to_owned().into());
    let args = json!({
        "run": "test ${#TOKEN} = 17; echo \"$TOKEN\"; cat; echo \"$TOKEN\" | base64",
        "env": {"TOKEN": marker}, "stdin": marker,
    });
    let made = action(make_with("script.shell", args, secrets).await.expect("valid"));
    let evidence = apply(&*made, &world(), AMPLE).await.expect("the secret is right");
    let told = format!("{evidence:?}{:?}", made.describe());
    assert!(!told.contains("CANARY"), "{told}");
    assert!(told.contains("[secret]\\n[secret]"), "{told}");
}

#[tokio::test]
async fn a_secret_among_the_arguments_is_refused() {
    let mut secrets = Secrets::default();
    let marker = secrets.insert("token", "CANARY-0123456789".to_owned().into());
    for key in ["argv", "undo", "check"] {
        let mut args = json!({"argv": ["true"]});
        args[key] = json!(["true", format!("--token={marker}")]);
        let error = make("script.run", args).await.err().expect("refused");
        assert!(error.message.contains("public in `ps`"), "{error}");
    }
}

#[tokio::test]
async fn a_grandchild_that_holds_the_output_open_delays_nothing_and_is_killed() {
    let made = shell(json!({"run": "sleep 300 & echo $!"})).await;
    let evidence = apply(&*made, &world(), AMPLE).await.expect("the shell has ended");
    assert_eq!(evidence.facts["leaked"], true);
    let pid = evidence.facts["stdout"].as_str().expect("a pid").trim().to_owned();
    eventually("the grandchild ends", || !runs(&pid)).await;
}

#[tokio::test]
async fn a_grandchild_in_its_own_session_delays_nothing() {
    let made = shell(json!({"run": "setsid sleep 20 & echo $!"})).await;
    let evidence = apply(&*made, &world(), Duration::from_secs(15)).await;
    let evidence = evidence.expect("the shell has ended");
    assert_eq!(evidence.facts["leaked"], true);
    let pid = evidence.facts["stdout"].as_str().expect("a pid").trim().to_owned();
    let _status = Command::new("kill").arg(pid).status().expect("kill");
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_killed_at_the_deadline_with_all_it_started() {
    let folder = temp();
    let pids = path_in(&folder, "pids");
    let made = shell(json!({
        "run": "trap '' TERM; setsid sleep 300 & echo $! > $PIDS; echo $$ >> $PIDS; while :; do sleep 1; done",
        "env": {"PIDS": pids}, "grace": "100ms",
    }))
    .await;
    let world = world();
    let context = world.context(Duration::from_secs(2));
    let deadline = context.deadline();
    let error = made.apply(&context, &Saved::default()).await.expect_err("never ends");
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    assert!(Instant::now() < deadline + Duration::from_secs(2), "a hang guard");
    for pid in std::fs::read_to_string(&pids).expect("pids").lines() {
        eventually("all of it ends", || !runs(pid)).await;
    }
}

#[tokio::test]
async fn sigterm_comes_first_and_is_given_its_grace() {
    let folder = temp();
    let log = path_in(&folder, "log");
    let made = shell(json!({
        "run": "trap 'echo settled > $LOG; exit 0' TERM; while :; do sleep 0.02; done",
        "env": {"LOG": log},
    }))
    .await;
    let error = apply(&*made, &world(), Duration::from_secs(3)).await;
    assert_eq!(error.expect_err("stopped").kind, ErrorKind::Unknown);
    assert_eq!(std::fs::read_to_string(&log).expect("the trap ran"), "settled\n");
}

#[tokio::test]
async fn a_stop_ends_the_child_long_before_its_deadline() {
    let made = script(json!({"argv": ["sleep", "300"]})).await;
    let world = world();
    let stop = async {
        eventually("the child is noted", || pid_noted(&world.notes()).is_some()).await;
        world.cancel();
    };
    let started = Instant::now();
    let (stopped, ()) = tokio::join!(apply(&*made, &world, Duration::from_secs(250)), stop);
    assert_eq!(stopped.expect_err("stopped").kind, ErrorKind::Unknown);
    assert!(started.elapsed() < Duration::from_secs(60), "a hang guard");
    let pid = pid_noted(&world.notes()).expect("noted");
    assert!(!runs(&pid));

    let refused = apply(&*made, &world, AMPLE).await.expect_err("the run has been stopped");
    assert_eq!(refused.kind, ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_dropped_step_leaves_no_process_behind() {
    let made = script(json!({"argv": ["sleep", "300"]})).await;
    let world = world();
    tokio::select! {
        _ = apply(&*made, &world, AMPLE) => panic!("it sleeps"),
        () = eventually("the child is noted", || pid_noted(&world.notes()).is_some()) => {}
    }
    let pid = pid_noted(&world.notes()).expect("noted");
    eventually("the child ends", || !runs(&pid)).await;
}

#[tokio::test]
async fn a_hundred_megabytes_of_output_are_cut_to_both_ends() {
    let made = shell(json!({
        "run": "echo first line; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo last line",
        "output_limit": 1000,
    }))
    .await;
    let evidence = apply(&*made, &world(), AMPLE).await.expect("it ends");
    let text = evidence.facts["stdout"].as_str().expect("text");
    assert!(text.starts_with("first line\n") && text.ends_with("last line\n"), "{text}");
    assert!(text.len() < 1200, "{}", text.len());
    assert!(evidence.facts["dropped_bytes"].as_u64().expect("a number") > 99_000_000);
}

/// Puts a script into `tool`, by another process: a file that this one has open for writing cannot be executed while
/// a parallel test forks.
fn install(folder: &tempfile::TempDir, text: &str, mode: &str) {
    let draft = path_in(folder, "draft");
    std::fs::write(&draft, format!("#!/bin/sh\necho {text}\n")).expect("write");
    let arguments = ["-m", mode, &draft, &path_in(folder, "tool")];
    assert!(Command::new("install").args(arguments).status().expect("install").success());
}

#[tokio::test]
async fn an_executable_is_found_before_the_start_and_compared_with_its_checksum() {
    let missing = make("script.run", json!({"argv": ["no-such-program"]})).await.err();
    assert_eq!(missing.expect("refused").kind, ErrorKind::NotFound);

    let folder = temp();
    let tool = path_in(&folder, "tool");
    install(&folder, "one", "644");
    let unset = make("script.run", json!({"argv": [tool]})).await.err();
    assert_eq!(unset.expect("not executable").kind, ErrorKind::NotFound);
    install(&folder, "one", "755");

    let wrong = json!({"argv": [tool], "sha256": "0".repeat(64)});
    let refused = make("script.run", wrong).await.err().expect("refused");
    assert_eq!(refused.kind, ErrorKind::Conflict);
    let found = refused.message.split("SHA-256 is ").nth(1).expect("a sum")[..64].to_owned();

    let made = script(json!({"argv": [tool], "sha256": found})).await;
    let _evidence = apply(&*made, &world(), AMPLE).await.expect("the right one");
    install(&folder, "two", "755");
    let changed = apply(&*made, &world(), AMPLE).await.expect_err("changed since");
    assert_eq!(changed.kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn arguments_are_refused_where_they_cannot_work() {
    for (args, part) in [
        (json!({"argv": []}), "needs an executable"),
        (json!({"argv": ["true", "a\u{0}b"]}), "NUL"),
        (json!({"argv": ["true"], "env": {"A=B": "x"}}), "no variable can have"),
        (json!({"argv": ["true"], "env": {"ROLLBACK_STEP": "x"}}), "must not set"),
        (json!({"argv": ["true"], "cwd": "here"}), "absolute"),
        (json!({"argv": ["true"], "expect_exit": [256]}), "0 to 255"),
        (json!({"argv": ["true"], "repeat": "after-inspect"}), "needs a `check`"),
        (json!({"argv": ["true"], "sha256": "abc"}), "64 hexadecimal"),
        (json!({"argv": ["true"], "output_limit": 0}), "output_limit"),
        (json!({"argv": ["true"], "shell": true}), "unknown field `shell`"),
        (json!({"argv": ["true"], "inherit": ["NOT_SET_ANYWHERE"]}), "not set"),
        (json!({"argv": ["true"], "cwd": "/not/there"}), "working directory"),
    ] {
        let error = make("script.run", args.clone()).await.err().expect("refused");
        assert!(error.message.contains(part), "{args}: {error}");
    }
    for (args, part) in [
        (json!({"run": "echo {{ inputs.reason }}"}), "pass the value as a variable"),
        (json!({"run": " "}), "empty"),
        (json!({"run": "true", "argv": ["true"]}), "unknown field `argv`"),
        (json!({}), "missing field `run`"),
        (json!({"run": "true", "grcae": "1s"}), "unknown field `grcae`"),
    ] {
        let error = make("script.shell", args.clone()).await.err().expect("refused");
        assert!(error.message.contains(part), "{args}: {error}");
    }
}

#[test]
fn the_schema_of_the_shell_is_that_of_run_with_other_words() {
    let mut generator = schemars::SchemaGenerator::default();
    let schema = <super::shell::ShellArgs as schemars::JsonSchema>::json_schema(&mut generator);
    let properties = schema.get("properties").expect("properties");
    assert_eq!(properties["run"]["x-rollback"], "no-template");
    assert!(properties.get("argv").is_none() && properties.get("check").is_some());
    assert_eq!(schema.get("additionalProperties"), Some(&json!(false)));
    assert_eq!(schema.get("required"), Some(&json!(["run"])));
}

#[tokio::test]
async fn a_question_holds_by_exit_code_and_output() {
    let ask = async |args: Value| {
        let question = probe(make("script.expect", args).await.expect("valid"));
        question.observe(&world().context(AMPLE)).await
    };
    let holds = |verdict: Result<Verdict, ActionError>| {
        matches!(verdict.expect("an answer"), Verdict::Holds { .. })
    };
    assert!(holds(ask(json!({"argv": ["true"]})).await));
    assert!(!holds(ask(json!({"argv": ["false"]})).await));
    assert!(holds(ask(json!({"argv": ["false"], "exit": 1})).await));
    let echo = |stdout: Value| json!({"argv": ["echo", "version 1.0.0"], "stdout": stdout});
    assert!(holds(ask(echo(json!({"contains": "1.0"}))).await));
    assert!(holds(ask(echo(json!({"equals": "version 1.0.0"}))).await));
    assert!(!holds(ask(echo(json!({"equals": "version 1.0"}))).await));
    let long = json!({"argv": ["head", "-c", "1000000", "/dev/zero"], "stdout": {"contains": "a"}});
    assert_eq!(ask(long).await.expect_err("too long").kind, ErrorKind::Failed);
}

#[tokio::test]
async fn a_silent_question_ends_in_time() {
    let args = json!({"argv": ["sleep", "300"]});
    let question = probe(make("script.expect", args).await.expect("valid"));
    let error = question.observe(&world().context(Duration::from_millis(300))).await;
    assert_eq!(error.expect_err("no answer").kind, ErrorKind::TimedOut);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arguments_reach_the_child_byte_for_byte(arguments in prop::collection::vec(argument(), 1..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()
            .expect("a runtime");
        let printed = runtime.block_on(async {
            let mut argv = vec!["printf".to_owned(), "%s\\0".to_owned()];
            argv.extend(arguments.iter().cloned());
            let made = script(json!({"argv": argv, "output_limit": 100_000})).await;
            apply(&*made, &world(), AMPLE).await.expect("printf").facts["stdout"].clone()
        });
        let printed = printed.as_str().expect("text");
        let seen: Vec<&str> = printed.strip_suffix('\0').expect("an end").split('\0').collect();
        prop_assert_eq!(seen, arguments);
    }
}

/// Arguments that a shell would do something with, and any other text without NUL.
fn argument() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("; rm -rf /tmp/none".to_owned()),
        Just("$(touch /tmp/none)".to_owned()),
        Just("`id`".to_owned()),
        Just("-rf".to_owned()),
        Just("--flag=x".to_owned()),
        Just("line\nbreak\r\n".to_owned()),
        Just("{{ inputs.reason }}".to_owned()),
        Just(String::new()),
        "[^\u{0}\u{E000}]{0,40}",
    ]
}

/// Writes notes into a file, since the process that takes them will be killed.
struct NoteFile(std::path::PathBuf);

#[async_trait::async_trait]
impl Recorder for NoteFile {
    async fn note(&self, note: Value) -> Result<(), ActionError> {
        self.jot(note);
        Ok(())
    }

    fn jot(&self, note: Value) {
        use std::io::Write as _;
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(&self.0).expect("open");
        writeln!(file, "{note}").expect("write");
    }
}

fn notes_in(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn pid_noted(notes: &[Value]) -> Option<String> {
    notes.iter().rev().find_map(|note| note["pid"].as_i64()).map(|pid| pid.to_string())
}

/// The arguments of the script that is interrupted: it works for a while, then leaves its mark.
fn interrupted(folder: &Path, seconds: &str) -> Value {
    let mark = folder.join("mark").to_str().expect("UTF-8").to_owned();
    json!({
        "run": "sleep $SECONDS_; touch $MARK",
        "env": {"MARK": mark, "SECONDS_": seconds}, "check": ["test", "-e", mark],
    })
}

/// Not a test by itself: the process that the tests below kill.
#[tokio::test]
#[ignore = "started by the tests of orphans"]
async fn helper_that_runs_a_script() {
    let Some(folder) = std::env::var_os("ORPHAN_TEST_FOLDER") else { return };
    let folder = Path::new(&folder);
    let seconds = std::env::var("ORPHAN_TEST_SECONDS").expect("seconds");
    let made = shell(interrupted(folder, &seconds)).await;
    let notes = Arc::new(NoteFile(folder.join("notes")));
    let cancel = tokio_util::sync::CancellationToken::new();
    let run = std::env::var("ORPHAN_TEST_RUN").expect("a run's id");
    let cx =
        StepContext::new(Instant::now() + AMPLE, cancel, folder, run).recording(notes, Vec::new());
    made.apply(&cx, &Saved::default()).await.ok();
}

/// Starts the helper, kills it with SIGKILL while its script runs, and returns the world that a resume finds.
async fn kill_a_run(folder: &Path, seconds: &str) -> (World, String) {
    let world = world();
    let mut helper = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "adapters::script::tests::helper_that_runs_a_script", "--ignored"])
        .env("ORPHAN_TEST_FOLDER", folder)
        .env("ORPHAN_TEST_SECONDS", seconds)
        .env("ORPHAN_TEST_RUN", world.context(AMPLE).run())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the helper starts");
    let notes = folder.join("notes");
    eventually("the script runs", || pid_noted(&notes_in(&notes)).is_some()).await;
    helper.kill().expect("SIGKILL");
    let _status = helper.wait().expect("it is dead");
    for note in notes_in(&notes) {
        world.noted(note);
    }
    let pid = pid_noted(&world.notes()).expect("noted");
    assert!(runs(&pid), "the script outlives the killed run");
    (world, pid)
}

#[tokio::test]
async fn an_orphan_is_waited_for_and_its_work_is_seen() {
    let folder = temp();
    let (world, pid) = kill_a_run(folder.path(), "1").await;
    let made = shell(interrupted(folder.path(), "1")).await;
    let evidence = already_done(&*made, &world).await;
    assert!(evidence.summary.contains("an earlier attempt had ended"), "{}", evidence.summary);
    assert!(!runs(&pid));
}

#[tokio::test]
async fn an_orphan_that_takes_too_long_is_killed_before_the_check_decides() {
    let folder = temp();
    let (world, pid) = kill_a_run(folder.path(), "300").await;
    let made = shell(interrupted(folder.path(), "300")).await;
    let found = made.inspect(&world.context(Duration::from_secs(4))).await.expect("inspect");
    assert!(matches!(found, crate::action::Readiness::Needed { .. }));
    assert!(!runs(&pid));
}

#[tokio::test]
async fn an_orphan_whose_process_id_was_never_written_down_is_found_by_its_mark() {
    let folder = temp();
    let (killed, pid) = kill_a_run(folder.path(), "300").await;
    let resumed = World::new(killed.context(AMPLE).run());
    let made = shell(interrupted(folder.path(), "300")).await;
    let found = made.inspect(&resumed.context(Duration::from_secs(4))).await.expect("inspect");
    assert!(matches!(found, crate::action::Readiness::Needed { .. }));
    assert!(!runs(&pid));
}

#[test]
fn a_child_is_found_whatever_bytes_its_name_has() {
    let folder = temp();
    let program = folder.path().join(OsStr::from_bytes(b"\xe9t\xe9) R 1 1"));
    std::os::unix::fs::symlink("/bin/sleep", &program).expect("a name that a file system takes");
    let mark = format!("run-{}/a/apply", uuid::Uuid::new_v4());
    let mut command = Command::new(&program);
    let mut child = command.arg("300").env(MARK_VARIABLE, &mark).spawn().expect("a program");
    assert_eq!(marked_with(std::slice::from_ref(&mark)).len(), 1);
    kill_marked(mark);
    let status = child.wait().expect("nobody has collected it");
    assert_eq!(status.signal(), Some(9), "{status}");
}

#[tokio::test]
async fn a_reused_process_id_is_left_alone() {
    let mut stranger = Command::new("sleep").arg("300").spawn().expect("sleep");
    let world = world();
    world.noted(json!({
        "script": "started", "part": "apply", "pid": stranger.id(),
        "start_time": 1, "boot_id": crate::clock::Boot::now().id, "program": "/bin/sleep",
    }));
    let _saved = needed(&*script(json!({"argv": ["true"]})).await, &world).await;
    assert!(stranger.try_wait().expect("wait").is_none(), "the stranger lives");
    stranger.kill().expect("kill");
    let _status = stranger.wait().expect("wait");
}
