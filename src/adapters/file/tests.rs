//! The verbs of `file` on real files below a root.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::copy_tree::{CopyTreeArgs, Trees};
use super::swap::Stage;
use super::work::Until;
use crate::action::contract::{self, World, action, already_done, applied, needed, probe, undone};
use crate::action::{
    Action, ActionError, Connections, ErrorKind, Prediction, Readiness, Registry, Verdict, Work,
};
use crate::secret::Secrets;

const AMPLE: Duration = Duration::from_secs(30);

/// A root in a temporary folder.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// A disk with the new version in `/app` and the backup of the old one in `/backup`.
    fn with_trees() -> Self {
        let disk = Self::new();
        disk.put("/backup/agent.yaml", "version: 1.0.0\n");
        disk.put("/backup/.hidden", "dotfile\n");
        disk.put("/backup/sub/run.sh", "#!/bin/sh\n");
        disk.mode("/backup/sub/run.sh", 0o750);
        symlink("agent.yaml", disk.at("/backup/link")).expect("a link");
        disk.put("/app/agent.yaml", "version: 2.0.0\n");
        disk.put("/app/only-new.yaml", "added by 2.0.0\n");
        disk
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("write");
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| format!("({error})"))
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).expect("chmod");
    }

    fn connections(&self) -> Connections {
        self.connections_with(Secrets::default())
    }

    fn connections_with(&self, secrets: Secrets) -> Connections {
        fs::create_dir_all(self.at("/")).expect("the root");
        let settings = json!({"root": self.at("/").to_str().expect("UTF-8")});
        let settings = HashMap::from([("files".to_owned(), settings)]);
        Connections::new("test", settings, Arc::new(secrets))
    }

    async fn make(&self, verb: &str, args: Value) -> Result<Vec<(String, Work)>, ActionError> {
        let registry = Registry::new(vec![super::system()]);
        contract::make(registry, self.connections(), verb, args).await
    }

    async fn action(&self, verb: &str, args: Value) -> Box<dyn Action> {
        action(self.make(verb, args).await.expect("valid"))
    }

    /// Everything on the disk, apart from times.
    fn everything(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.at("/"), &mut found);
        found.sort();
        found
    }
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let meta = fs::symlink_metadata(&path).expect("a stat");
        let what = if meta.is_symlink() {
            format!("-> {}", fs::read_link(&path).expect("a link").display())
        } else if meta.is_dir() {
            walk(&path, found);
            "folder".into()
        } else {
            fs::read_to_string(&path).expect("text")
        };
        found.push(format!("{} {:o} {what}", path.display(), meta.mode()));
    }
}

async fn inspected(action: &dyn Action, world: &World) -> Result<Readiness, ActionError> {
    action.inspect(&world.context(AMPLE)).await
}

fn refusal(found: Result<Readiness, ActionError>) -> ActionError {
    found.expect_err("refused")
}

fn copy_args(more: &Value) -> Value {
    let mut args = json!({"from": "/backup", "to": "/app"});
    for (key, value) in more.as_object().into_iter().flatten() {
        args[key] = value.clone();
    }
    args
}

// --- lock -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_lock_keeps_the_contract_and_says_who_holds_it() {
    let disk = Disk::new();
    let lock = disk
        .action("file.lock", json!({"path": "/lock", "owner": "on-call", "expires": "1h"}))
        .await;
    let world = World::new("run-1");
    contract::holds(&*lock, &world).await;
    assert_eq!(disk.everything(), Vec::<String>::new());

    let _held = applied(&*lock, &world).await;
    let text: Value = serde_json::from_str(&disk.get("/lock")).expect("JSON");
    assert_eq!(text["run"], "run-1");
    assert_eq!(text["owner"], "on-call");
    assert_eq!(text["pid"], std::process::id());
    assert!(text["expires"].is_string() && text["host"].is_string() && text["since"].is_string());
}

#[tokio::test]
async fn another_runs_lock_is_a_conflict_that_names_it() {
    let disk = Disk::new();
    let lock = disk.action("file.lock", json!({"path": "/lock"})).await;
    let first = World::new("run-1");
    let (saved, evidence) = applied(&*lock, &first).await;

    let second = World::new("run-2");
    let error = refusal(inspected(&*lock, &second).await);
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains("with run run-1"), "{error}");
    let since = error.message.split("since ").nth(1).and_then(|rest| rest.split(" with").next());
    let since = since.expect("it says since when");
    assert_eq!(since.len(), "2026-01-01 00:00:00 UTC".len(), "{error}");
    let advice = ["rollback status run-1", "rollback resume run-1", "rm /lock"];
    for (hint, command) in error.hints.iter().zip(advice) {
        assert!(hint.contains(&format!("`{command}`")), "{error:?}");
    }
    assert_eq!(error.hints.len(), advice.len());
    // Two that looked at the same free lock: one of them takes it.
    let late = lock.apply(&second.context(AMPLE), &saved).await.expect_err("too late");
    assert_eq!(late.kind, ErrorKind::Conflict);
    let stranger = lock.undo(&second.context(AMPLE), &saved, None).await.expect_err("not ours");
    assert_eq!(stranger.kind, ErrorKind::Conflict);
    undone(&*lock, &first, &saved, &evidence).await;
}

#[tokio::test]
async fn a_lock_that_names_nobody_is_a_conflict() {
    for (content, made) in [("", "as `touch` makes it"), ("pid 4711\n", "another tool's")] {
        let disk = Disk::new();
        disk.put("/lock", content);
        let lock = disk.action("file.lock", json!({"path": "/lock"})).await;
        let error = refusal(inspected(&*lock, &World::new("run-1")).await);
        assert!(error.message.contains("does not say who"), "{error}");
        assert!(error.message.contains(made), "{error}");
        assert!(error.hints[0].contains("`rm /lock`"), "{error:?}");
    }
}

#[tokio::test]
async fn an_expired_lock_is_taken_over() {
    let disk = Disk::new();
    let brief = disk.action("file.lock", json!({"path": "/lock", "expires": "1ms"})).await;
    let _held = applied(&*brief, &World::new("run-1")).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let lock = disk.action("file.lock", json!({"path": "/lock"})).await;
    let world = World::new("run-2");
    let (saved, _) = applied(&*lock, &world).await;
    assert_eq!(saved.state["expired"]["run"], "run-1");
    assert_eq!(disk.everything().len(), 1, "nothing is left beside it: {:?}", disk.everything());
}

#[tokio::test]
async fn unlocking_keeps_the_contract_and_only_removes_our_own() {
    let disk = Disk::new();
    let lock = disk.action("file.lock", json!({"path": "/lock"})).await;
    let unlock = disk.action("file.unlock", json!({"path": "/lock"})).await;
    let world = World::new("run-1");
    let _evidence = already_done(&*unlock, &world).await;
    let _held = applied(&*lock, &world).await;
    let before = disk.get("/lock");
    contract::holds(&*unlock, &world).await;
    assert_eq!(disk.get("/lock"), before, "undo brings back the same lock");
    let error = refusal(inspected(&*unlock, &World::new("run-2")).await);
    assert_eq!(error.kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn a_plan_knows_that_the_lock_will_be_there() {
    let disk = Disk::new();
    let lock = disk.action("file.lock", json!({"path": "/lock"})).await;
    let unlock = disk.action("file.unlock", json!({"path": "/lock"})).await;
    let world = World::new("run-1");
    let Readiness::Needed { predicted, .. } = inspected(&*lock, &world).await.expect("free") else {
        panic!("not needed");
    };
    let [Prediction { resource, state }] = predicted.try_into().expect("one prediction");
    let knows = Arc::new(move |name: &str| (name == resource).then(|| state.clone()));
    let found = unlock.inspect(&world.context(AMPLE).predicting(knows)).await.expect("inspect");
    assert!(matches!(found, Readiness::Needed { .. }));
}

// --- write ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn writing_keeps_the_contract_for_new_and_for_existing_files() {
    let disk = Disk::new();
    let write = disk.action("file.write", json!({"path": "/new", "content": "hello\n"})).await;
    contract::holds(&*write, &World::new("run-1")).await;
    assert_eq!(disk.everything(), Vec::<String>::new());

    disk.put("/old", "former\n");
    disk.mode("/old", 0o600);
    let before = disk.everything();
    let args = json!({"path": "/old", "content": "later\n", "mode": "0640"});
    let write = disk.action("file.write", args).await;
    contract::holds(&*write, &World::new("run-1")).await;
    assert_eq!(disk.everything(), before);
    let _written = applied(&*write, &World::new("run-1")).await;
    assert_eq!(disk.get("/old"), "later\n");
    assert_eq!(fs::metadata(disk.at("/old")).expect("a stat").mode() & 0o7777, 0o640);
}

#[tokio::test]
async fn appending_keeps_the_contract_and_the_mode() {
    let disk = Disk::new();
    disk.put("/list", "one\n");
    disk.mode("/list", 0o604);
    let append = json!({"path": "/list", "content": "two\n", "append": true});
    let append = disk.action("file.write", append).await;
    contract::holds(&*append, &World::new("run-1")).await;
    let _written = applied(&*append, &World::new("run-1")).await;
    assert_eq!(disk.get("/list"), "one\ntwo\n");
    assert_eq!(fs::metadata(disk.at("/list")).expect("a stat").mode() & 0o7777, 0o604);
}

#[tokio::test]
async fn somebody_elses_content_is_neither_overwritten_nor_undone() {
    let disk = Disk::new();
    disk.put("/file", "former");
    let write = disk.action("file.write", json!({"path": "/file", "content": "ours"})).await;
    let world = World::new("run-1");
    let saved = needed(&*write, &world).await;
    disk.put("/file", "theirs");
    let error = write.apply(&world.context(AMPLE), &saved).await.expect_err("changed since");
    assert_eq!(error.kind, ErrorKind::Conflict);
    let error = write.undo(&world.context(AMPLE), &saved, None).await.expect_err("not ours");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(disk.get("/file"), "theirs");
}

#[tokio::test]
async fn secrets_are_written_but_not_told_and_former_content_is_kept_apart() {
    let disk = Disk::new();
    disk.put("/token", "FORMER-CANARY");
    let mut secrets = Secrets::default();
    let marker = secrets.insert("token", "LATER-CANARY".to_owned().into());
    let registry = Registry::new(vec![super::system()]);
    let args = json!({"path": "/token", "content": format!("token={marker}\n")});
    let made = contract::make(registry, disk.connections_with(secrets), "file.write", args).await;
    let write = action(made.expect("valid"));
    let (saved, evidence) = applied(&*write, &World::new("run-1")).await;
    assert_eq!(disk.get("/token"), "token=LATER-CANARY\n");
    let told = format!("{:?}{evidence:?}{:?}", write.describe(), saved.state);
    assert!(!told.contains("CANARY"), "{told}");
    assert!(saved.private.is_some());
}

#[tokio::test]
async fn what_is_no_regular_file_is_left_alone() {
    let disk = Disk::new();
    disk.put("/target", "safe");
    symlink("target", disk.at("/link")).expect("a link");
    fs::create_dir(disk.at("/folder")).expect("a folder");
    let pipe = rustix::fs::mknodat(
        rustix::fs::CWD,
        disk.at("/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    );
    pipe.expect("a pipe");
    for path in ["/link", "/folder", "/pipe"] {
        let write = disk.action("file.write", json!({"path": path, "content": "x"})).await;
        let error = refusal(inspected(&*write, &World::new("run-1")).await);
        assert_eq!(error.kind, ErrorKind::Conflict, "{path}: {error}");
    }
    assert_eq!(disk.get("/target"), "safe");
}

// --- the root -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn nothing_leads_out_of_the_root() {
    let disk = Disk::new();
    disk.put("/inside/file", "inside");
    let outside = disk.folder.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    fs::write(outside.join("file"), "outside").expect("write");
    symlink(&outside, disk.at("/absolute")).expect("a link");
    symlink("../outside", disk.at("/relative")).expect("a link");
    symlink("/proc/self/root", disk.at("/magic")).expect("a link");
    symlink(outside.join("file"), disk.at("/file-link")).expect("a link");
    let magic = format!("/magic{}", outside.join("file").display());
    for path in ["/absolute/file", "/relative/file", magic.as_str(), "/file-link"] {
        for (verb, args) in [
            ("file.write", json!({"path": path, "content": "escaped"})),
            ("file.lock", json!({"path": path})),
            ("file.copy-tree", json!({"from": "/inside", "to": path})),
        ] {
            let change = disk.action(verb, args).await;
            let error = refusal(inspected(&*change, &World::new("run-1")).await);
            assert!(
                matches!(error.kind, ErrorKind::NotFound | ErrorKind::Conflict),
                "{verb} {path}: {error:?}"
            );
        }
    }
    assert_eq!(fs::read_to_string(outside.join("file")).expect("text"), "outside");
    for path in ["/../outside/file", "relative", "/a/./b", "/", "/a\u{0}b", "\u{E000}x\u{E001}"] {
        for verb in ["file.lock", "file.unlock", "file.remove", "file.expect"] {
            let error = disk.make(verb, json!({"path": path})).await.err().expect("refused");
            assert_eq!(error.kind, ErrorKind::Invalid, "{verb} {path}");
        }
    }
}

#[tokio::test]
async fn links_inside_the_root_work_as_after_a_chroot() {
    let disk = Disk::new();
    disk.put("/real/file", "there");
    symlink("/real", disk.at("/alias")).expect("a link");
    let question = probe(
        disk.make("file.expect", json!({"path": "/alias/file", "contains": "there"}))
            .await
            .expect("valid"),
    );
    let verdict = question.observe(&World::new("run-1").context(AMPLE)).await;
    match verdict {
        Ok(verdict) => assert!(matches!(verdict, Verdict::Holds { .. }), "{verdict:?}"),
        // Without openat2 links are refused.
        Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}"),
    }
}

#[test]
fn without_openat2_every_link_is_refused() {
    let disk = Disk::new();
    disk.put("/real/deep/file", "there");
    symlink("real", disk.at("/alias")).expect("a link");
    let root = fs::File::open(disk.at("/")).expect("the root");
    assert!(super::root::one_by_one(&root, "real/deep").is_ok());
    for path in ["alias", "alias/deep", "..", "real/../.."] {
        let error = super::root::one_by_one(&root, path).expect_err("refused");
        assert_eq!(error, rustix::io::Errno::LOOP, "{path}");
    }
}

// --- remove ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn removing_keeps_the_contract() {
    let disk = Disk::with_trees();
    let before = disk.everything();
    for args in [json!({"path": "/app/agent.yaml"}), json!({"path": "/app", "recursive": true})] {
        let remove = disk.action("file.remove", args).await;
        contract::holds(&*remove, &World::new("run-1")).await;
        assert_eq!(disk.everything(), before);
    }
    let careful = disk.action("file.remove", json!({"path": "/app"})).await;
    let error = refusal(inspected(&*careful, &World::new("run-1")).await);
    assert!(error.hints[0].contains("recursive: true"), "{error:?}");
}

#[tokio::test]
async fn what_took_the_name_of_a_removed_file_stays() {
    let disk = Disk::new();
    disk.put("/file", "former");
    let remove = disk.action("file.remove", json!({"path": "/file"})).await;
    let world = World::new("run-1");
    let (saved, evidence) = applied(&*remove, &world).await;
    disk.put("/file", "theirs");
    let undo = remove.undo(&world.context(AMPLE), &saved, Some(&evidence)).await;
    assert_eq!(undo.expect_err("taken").kind, ErrorKind::Conflict);
    assert_eq!(disk.get("/file"), "theirs");
    // The same run can remove that one too.
    let _again = applied(&*remove, &world).await;
}

// --- copy-tree ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn copying_a_tree_keeps_the_contract() {
    for more in [json!({}), json!({"keep_extra": true})] {
        let disk = Disk::with_trees();
        let before = disk.everything();
        let copy = disk.action("file.copy-tree", copy_args(&more)).await;
        contract::holds(&*copy, &World::new("run-1")).await;
        assert_eq!(disk.everything(), before, "{more}");
    }
}

#[tokio::test]
async fn the_copy_has_dotfiles_modes_and_links_and_loses_what_was_added() {
    let disk = Disk::with_trees();
    let copy = disk.action("file.copy-tree", copy_args(&json!({}))).await;
    let (_, evidence) = applied(&*copy, &World::new("run-1")).await;
    assert_eq!(disk.get("/app/agent.yaml"), "version: 1.0.0\n");
    assert_eq!(disk.get("/app/.hidden"), "dotfile\n");
    assert_eq!(fs::metadata(disk.at("/app/sub/run.sh")).expect("a stat").mode() & 0o777, 0o750);
    assert_eq!(fs::read_link(disk.at("/app/link")).expect("a link"), Path::new("agent.yaml"));
    assert!(!disk.at("/app/only-new.yaml").exists());
    assert!(evidence.summary.contains("4 entries added, 1 changed, 1 removed"), "{evidence:?}");
}

#[tokio::test]
async fn extra_files_stay_when_asked_for() {
    let disk = Disk::with_trees();
    let copy = disk.action("file.copy-tree", copy_args(&json!({"keep_extra": true}))).await;
    let _copied = applied(&*copy, &World::new("run-1")).await;
    assert_eq!(disk.get("/app/only-new.yaml"), "added by 2.0.0\n");
    assert_eq!(disk.get("/app/agent.yaml"), "version: 1.0.0\n");
}

#[tokio::test]
async fn a_tree_is_copied_to_where_there_was_none() {
    let disk = Disk::with_trees();
    let copy = disk.action("file.copy-tree", json!({"from": "/backup", "to": "/fresh"})).await;
    contract::holds(&*copy, &World::new("run-1")).await;
    assert!(!disk.at("/fresh").exists());
}

#[tokio::test]
async fn a_backup_must_agree_with_its_manifest() {
    let sum = |text: &str| crate::digest::sha256(text);
    let disk = Disk::with_trees();
    let good = format!(
        "{}  ./agent.yaml\n{} *.hidden\n{}  sub/run.sh\n",
        sum("version: 1.0.0\n"),
        sum("dotfile\n"),
        sum("#!/bin/sh\n")
    );
    disk.put("/backup/SHA256SUMS", &good);
    let args = copy_args(&json!({"manifest": "/backup/SHA256SUMS"}));
    let copy = disk.action("file.copy-tree", args.clone()).await;
    let _saved = needed(&*copy, &World::new("run-1")).await;

    for (list, part) in [
        (good.replace(&sum("dotfile\n"), &sum("tampered")), "another checksum"),
        (good.lines().take(2).collect::<Vec<_>>().join("\n"), "not listed"),
        (format!("{good}{}  gone.yaml\n", sum("x")), "listed and missing"),
        ("words".to_owned(), "not a line"),
    ] {
        disk.put("/backup/SHA256SUMS", &list);
        let error = refusal(inspected(&*copy, &World::new("run-1")).await);
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.message.contains(part), "{error}");
    }
}

/// A crash after any number of steps, on a file system with exchange and on one without: the next look recognises it,
/// the resumed run completes it, and undo brings the old tree back, from the half-way state too.
#[tokio::test]
async fn a_crash_between_any_two_steps_is_recognised_finished_and_undone() {
    for exchange in [true, false] {
        for steps in 0..=Stage::ALL.len() {
            for keep_extra in [false, true] {
                let case = format!("exchange {exchange}, {steps} steps, keep_extra {keep_extra}");
                let more = json!({"keep_extra": keep_extra});

                let disk = Disk::with_trees();
                let before = disk.everything();
                let world = World::new("run-1");
                let copy = disk.action("file.copy-tree", copy_args(&more)).await;
                let saved = needed(&*copy, &world).await;
                crash_after(&disk, &more, steps, exchange);
                match inspected(&*copy, &world).await.expect("inspect") {
                    Readiness::Needed { saved: again, .. } => {
                        assert_eq!(again, saved, "{case}");
                        let _evidence =
                            copy.apply(&world.context(AMPLE), &again).await.expect("apply");
                    }
                    Readiness::AlreadyDone { .. } => assert!(steps >= 2, "{case}"),
                }
                assert_eq!(disk.get("/app/agent.yaml"), "version: 1.0.0\n", "{case}");
                assert_eq!(disk.at("/app/only-new.yaml").exists(), keep_extra, "{case}");
                undo_twice(&*copy, &world, &saved).await;
                assert_eq!(disk.everything(), before, "{case}: finished, then undone");

                crash_after(&disk, &more, steps, exchange);
                undo_twice(&*copy, &world, &saved).await;
                assert_eq!(disk.everything(), before, "{case}: undone at once");
            }
        }
    }
}

async fn undo_twice(copy: &dyn Action, world: &World, saved: &crate::action::Saved) {
    for attempt in ["undo", "undo again"] {
        copy.undo(&world.context(AMPLE), saved, None).await.expect(attempt);
    }
}

fn crash_after(disk: &Disk, more: &Value, steps: usize, exchange: bool) {
    let args: CopyTreeArgs = serde_json::from_value(copy_args(more)).expect("arguments");
    let until = Until::never();
    let trees = Trees::look(&args, &disk.connections(), "run-1", &until).expect("a look");
    for stage in Stage::ALL.into_iter().take(steps) {
        trees.advance(&trees.swap, stage, exchange, &until).expect("a step");
    }
}

#[tokio::test]
async fn a_partial_copy_is_made_anew() {
    let disk = Disk::with_trees();
    let copy = disk.action("file.copy-tree", copy_args(&json!({}))).await;
    let world = World::new("run-1");
    let saved = needed(&*copy, &world).await;
    let partial = format!("/{}", saved.state["new"].as_str().expect("a name"));
    disk.put(&format!("{partial}/agent.yaml"), "half of i");
    disk.mode(&partial, 0o500);
    let _evidence = copy.apply(&world.context(AMPLE), &saved).await.expect("apply");
    assert_eq!(disk.get("/app/agent.yaml"), "version: 1.0.0\n");
}

#[tokio::test]
async fn a_changed_target_is_neither_replaced_nor_undone() {
    let disk = Disk::with_trees();
    let copy = disk.action("file.copy-tree", copy_args(&json!({}))).await;
    let world = World::new("run-1");
    let saved = needed(&*copy, &world).await;
    disk.put("/app/agent.yaml", "version: 3.0.0\n");
    let error = copy.apply(&world.context(AMPLE), &saved).await.expect_err("changed since");
    assert_eq!(error.kind, ErrorKind::Conflict);
    let (saved, evidence) = applied(&*copy, &world).await;
    disk.put("/app/agent.yaml", "version: 4.0.0\n");
    let undo = copy.undo(&world.context(AMPLE), &saved, Some(&evidence)).await;
    assert_eq!(undo.expect_err("not ours").kind, ErrorKind::Conflict);
    assert_eq!(disk.get("/app/agent.yaml"), "version: 4.0.0\n");
}

#[tokio::test]
async fn trees_that_lie_in_each_other_are_refused() {
    let disk = Disk::with_trees();
    for (from, to) in [("/app", "/app/"), ("/app", "/app/copy"), ("/app/sub", "/app")] {
        let made = disk.make("file.copy-tree", json!({"from": from, "to": to})).await;
        assert!(made.err().expect("refused").message.contains("lies in the other"));
    }
    let missing = disk.action("file.copy-tree", json!({"from": "/none", "to": "/app"})).await;
    assert_eq!(refusal(inspected(&*missing, &World::new("r")).await).kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn no_time_left_changes_nothing() {
    let disk = Disk::with_trees();
    let before = disk.everything();
    let copy = disk.action("file.copy-tree", copy_args(&json!({}))).await;
    let world = World::new("run-1");
    let saved = needed(&*copy, &world).await;
    let late = copy.apply(&world.context(Duration::ZERO), &saved).await.expect_err("no time");
    assert_eq!(late.kind, ErrorKind::TimedOut);
    assert_eq!(disk.everything(), before);
}

// --- expect ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn questions_about_files_are_answered() {
    let disk = Disk::new();
    disk.put("/file", "hello");
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    for (args, holds) in [
        (json!({"path": "/file"}), true),
        (json!({"path": "/file", "exists": false}), false),
        (json!({"path": "/none"}), false),
        (json!({"path": "/none", "exists": false}), true),
        (json!({"path": "/file", "contains": "ell"}), true),
        (json!({"path": "/file", "contains": "elk"}), false),
        (json!({"path": "/file", "sha256": sha256}), true),
        (json!({"path": "/file", "sha256": "0".repeat(64)}), false),
    ] {
        let question = probe(disk.make("file.expect", args.clone()).await.expect("valid"));
        let verdict = question.observe(&World::new("r").context(AMPLE)).await.expect("an answer");
        assert_eq!(matches!(verdict, Verdict::Holds { .. }), holds, "{args}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_missing_root_is_told() {
    let settings = HashMap::from([("files".to_owned(), json!({"root": "/no/such/root"}))]);
    let connections = Connections::new("test", settings, Arc::new(Secrets::default()));
    let error = super::root::reach(&connections).await.expect_err("no root");
    assert_eq!(error.kind, ErrorKind::NotFound);
    let disk = Disk::new();
    assert!(super::root::reach(&disk.connections()).await.expect("a root").contains("is there"));
}
