//! A step whose proof fails is taken back by its own undo, and once more when a resumed run has made the change again.

use crate::support::counter::Counter;
use crate::support::desk::Desk;

/// Two changes that work and are never proved. The first that fails stops the run, so each is given time to be made.
fn steps(server: &str) -> String {
    let fate = "on_failure: undo\n        verify: {within: 2s, probe: {file.expect: {path: /never, exists: true}}}";
    format!(
        "
      - id: command
        {fate}
        script.shell: {{run: echo done >> done, undo: [sh, -c, echo undone >> undone], cwd: \"{{{{ environment.dir }}}}\"}}
      - id: request
        after: []
        {fate}
        http.call: {{method: PUT, url: \"{server}/change\", undo: {{method: DELETE, url: \"{server}/change\"}}}}
"
    )
}

#[test]
fn a_change_is_taken_back_each_time_that_it_was_made() {
    let server = Counter::start(|request, _| request.to_owned());
    let desk = Desk::new(&steps(server.url()));
    desk.environment(&format!(
        "connections:\n  files: {{root: {}}}",
        desk.world.path("home").display()
    ));
    let lines = |file: &str| {
        let path = desk.world.path("home").join(file);
        std::fs::read_to_string(path).unwrap_or_default().lines().count()
    };
    for times in 1..=2 {
        let output = if times == 1 { desk.run() } else { desk.resume() };
        let output = output.expect_code(6);
        assert_eq!((lines("done"), lines("undone")), (times, times), "{output:?}");
        let counts: Vec<_> = server.counts().into_iter().collect();
        let each = u64::try_from(times).expect("a small number");
        let wanted = [("DELETE /change".to_owned(), each), ("PUT /change".to_owned(), each)];
        assert_eq!(counts, wanted, "{output:?}");
    }
}
