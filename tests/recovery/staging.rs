//! A drill on real servers is killed at random instants, and `resume` ends it: Docker Engine with two fleets, nginx between them,
//! PostgreSQL, a Redis cluster, users who ask all the while.
//!
//! `make test` kills a small fleet's drill twice. `make crash` sets `ROLLBACK_STAGING_KILLS`, such as `12x100,131x10`: a hundred
//! kills with 12 agents on each side, then ten with 131. `ROLLBACK_CRASH_SEED` chooses the instants, which are printed;
//! `ROLLBACK_CRASH_FIRST=40` goes on with round 40 of the same seed, in the first campaign.

mod data;
mod ledger;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use data::Data;
use ledger::{Events, Ledger, Served, Traffic};
use stage::{Member, Stage, to_end};

use super::runbooks::Seeded;
use crate::support::output::CommandOutput;
use crate::support::world::Running;

const SHORT: &str = "3x2";
/// How often the runbook changes nginx's configuration: the switch, and the service discovery. A kill after a change's last
/// write makes resume reload once more; that is safe.
const CHANGES: usize = 2;

/// What a campaign came to.
#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    during_resume: u64,
    recovered: u64,
    /// Of those that recovered: the register is restored and the metrics are gone, which the run can do without.
    with_data: u64,
    for_a_person: u64,
    never_begun: u64,
    ended_before: u64,
    reloads: usize,
    requests: u64,
}

/// What is there before a drill.
struct Before {
    green: BTreeMap<String, String>,
    blue: Vec<Member>,
    legacy_image: String,
    data: Data,
}

#[test]
fn a_drill_on_real_servers_that_is_killed_ends_after_resume() {
    let campaigns = variable("ROLLBACK_STAGING_KILLS").unwrap_or_else(|| SHORT.to_owned());
    let number = |name: &str| variable(name).map(|text| text.parse().expect("a number"));
    let seed = number("ROLLBACK_CRASH_SEED").unwrap_or(1);
    let mut first = number("ROLLBACK_CRASH_FIRST").unwrap_or(1);
    for campaign in campaigns.split(',') {
        let (agents, kills) = campaign.split_once('x').expect("AGENTSxKILLS");
        let (agents, kills) = (agents.parse().expect("agents"), kills.parse().expect("kills"));
        campaign_of(agents, kills, seed, std::mem::replace(&mut first, 1));
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[expect(clippy::print_stdout, reason = "instants and figures are what the long form is run for")]
fn told(line: &str) {
    println!("{line}");
}

fn campaign_of(agents: usize, kills: u64, seed: u64, first: u64) {
    let stage = Stage::start(agents);
    the_rest_is_deployed(&stage);
    let mut ledger = Ledger::open(&stage);
    let mut figures = Figures::default();
    let mut whole = undisturbed(&stage, &mut ledger);
    let mut round = first;
    while figures.kills < kills.saturating_sub(first - 1) {
        // Every round has numbers of its own, so that a campaign can go on where it was left.
        let mut seeded = Seeded::new(seed.wrapping_mul(1_000_003).wrapping_add(round));
        killed(&stage, &mut ledger, &mut whole, (seed, round), &mut seeded, &mut figures);
        round += 1;
    }
    // Before the servers are removed, which may fail on its own account.
    told(&format!(
        "staging with {agents} + {agents} agents, seed {seed}: kills {} (and during resume {}), recovered {} ({} with register and metrics), exit 7 naming the \
         unknown step {}, killed before anything had begun {}, ended before the kill {}; done twice 0, lost 0; nginx reloads {}, \
         requests answered {} of {}",
        figures.kills,
        figures.during_resume,
        figures.recovered,
        figures.with_data,
        figures.for_a_person,
        figures.never_begun,
        figures.ended_before,
        figures.reloads,
        figures.requests,
        figures.requests,
    ));
}

/// The cluster is in the middle of the rollout that goes wrong, and Prometheus reads what the agents say.
fn the_rest_is_deployed(stage: &Stage) {
    let status = stage.status();
    for told in [
        "ollama/ollama-integration revision 2 from ollama/integration:2.0.0, 2 of 4 updated, 3 available",
        ": 18 series of the agents, 0 alerts firing",
    ] {
        assert!(status.contains(told), "{told:?} is missing:\n{status}");
    }
}

/// A drill that nobody disturbs; how long it takes.
#[expect(clippy::disallowed_methods, reason = "a figure is real time")]
fn undisturbed(stage: &Stage, ledger: &mut Ledger) -> Duration {
    let before = look(stage);
    ledger.begin();
    let traffic = Traffic::start(stage);
    let started = Instant::now();
    let output = to_end(&mut stage.drill());
    let took = started.elapsed();
    let served = traffic.end();
    assert!(matches!(output.code(), Some(0 | 5)), "nobody disturbed it:\n{output}");
    let context = || format!("undisturbed, {served:?}:\n{output}");
    nothing_twice(stage, &before, &ledger.events(), &context());
    let run = stage.begun().expect("the run has a journal");
    let everything = nothing_lost(stage, &before, &ledger.events(), &run, &context());
    assert!(everything, "the register is restored and the metrics are gone; {}", context());
    users_were_served(&served, &context());
    assert_eq!(ledger.reloads(), CHANGES, "{}", context());
    let on_blue = served.on_blue().unwrap_or_else(|| panic!("traffic moves; {}", context()));
    told(&format!(
        "staging with {0} + {0} agents, nobody disturbs: exit {1}, traffic on blue after {2:.1?}, ended after {took:.1?}, {3} of {3} \
         requests answered",
        stage.agents,
        output.code().unwrap_or_default(),
        on_blue,
        served.requests,
    ));
    took
}

fn look(stage: &Stage) -> Before {
    let green = stage.fleet("ollama-optimized").into_iter();
    let before = Before {
        green: green.map(|member| (member.id, member.service)).collect(),
        blue: stage.fleet("legacy"),
        legacy_image: stage.legacy_image(),
        data: Data::of(stage),
    };
    before.data.assert_untouched(stage.agents);
    assert_eq!((before.green.len(), before.blue.len()), (stage.agents, stage.agents));
    before
}

fn killed(
    stage: &Stage,
    ledger: &mut Ledger,
    whole: &mut Duration,
    (seed, round): (u64, u64),
    seeded: &mut Seeded,
    figures: &mut Figures,
) {
    stage.reset();
    let before = look(stage);
    ledger.begin();
    let traffic = Traffic::start(stage);
    let instant = some_instant(*whole, seeded);
    let mut story = format!("seed {seed}, round {round}: killed after {instant:.2?}");
    if let Err(took) = kill_after(&mut stage.drill(), instant) {
        figures.ended_before += 1;
        // The first run of all may be a slow one, and then too many of the others end before their kill.
        *whole = (*whole + took) / 2;
        users_were_served(&traffic.end(), &story);
        return;
    }
    figures.kills += 1;
    let mut kills = 1;
    let Some(run) = stage.begun() else {
        assert!(ledger.events().is_empty(), "nothing happens before a run has begun; {story}");
        assert_eq!(ledger.reloads(), 0, "nothing happens before a run has begun; {story}");
        users_were_served(&traffic.end(), &story);
        figures.never_begun += 1;
        return;
    };
    if seeded.below(3) == 0 {
        let again = some_instant(*whole, seeded);
        if kill_after(&mut stage.resume(&run), again).is_ok() {
            story += &format!(", resume killed after {again:.2?}");
            figures.during_resume += 1;
            kills += 1;
        }
    }
    let output = to_end(&mut stage.resume(&run));
    let served = traffic.end();
    story += &format!(", exit {:?}", output.code());
    told(&story);
    let context = || format!("{story}, {served:?}:\n{output}");
    let events = ledger.events();
    nothing_twice(stage, &before, &events, &context());
    users_were_served(&served, &context());
    assert!(ledger.reloads() <= CHANGES + kills, "{} reloads; {}", ledger.reloads(), context());
    match output.code() {
        Some(0 | 5) => {
            let everything = nothing_lost(stage, &before, &events, &run, &context());
            figures.recovered += 1;
            figures.with_data += u64::from(everything);
        }
        Some(7) => {
            names_the_unknown_step(stage, &run, &output);
            figures.for_a_person += 1;
        }
        _ => panic!("{}", context()),
    }
    figures.reloads += ledger.reloads();
    figures.requests += served.requests;
}

fn some_instant(whole: Duration, seeded: &mut Seeded) -> Duration {
    let millis = usize::try_from(whole.as_millis()).expect("a drill ends this year");
    Duration::from_millis(seeded.below(millis.max(1)) as u64)
}

/// Fails when the end came before the kill, with the time that it took.
#[expect(clippy::disallowed_methods, reason = "a random instant is one of real time")]
fn kill_after(command: &mut Command, instant: Duration) -> Result<(), Duration> {
    let started = Instant::now();
    let output = Running::start(command).kill_after(instant);
    if output.signal() == Some(9) { Ok(()) } else { Err(started.elapsed()) }
}

/// How long after a reload nginx's former worker may still answer a connection.
const RELOADING: Duration = Duration::from_secs(2);

/// Users see green, then blue, and never green again; every one of them is answered.
fn users_were_served(served: &Served, context: &str) {
    let late = served.on_blue().unwrap_or(Duration::MAX).saturating_add(RELOADING);
    for (after, version) in &served.versions {
        let known = match version.as_str() {
            "1.0.0" => true,
            "2.0.0" => *after < late,
            _ => false,
        };
        assert!(known, "{version} answered after {after:.2?}; {context}");
    }
    assert_eq!(served.failed, 0, "of {} requests; {context}", served.requests);
}

fn nothing_twice(stage: &Stage, before: &Before, events: &Events, context: &str) {
    let count = |id: &str, what: &str| {
        events.get(id).and_then(|events| events.get(what)).copied().unwrap_or(0)
    };
    for member in &before.blue {
        assert!(
            !events.contains_key(&member.id),
            "{} of blue was touched; {context}",
            member.service
        );
    }
    for (id, service) in &before.green {
        assert!(count(id, "die") <= 1, "{service} was stopped twice; {context}");
        let revived = count(id, "start") + count(id, "destroy");
        assert_eq!(revived, 0, "{service} was started again or removed; {context}");
    }
    for (id, events) in events.iter().filter(|(id, _)| !before.green.contains_key(*id)) {
        let started = events.get("start").copied().unwrap_or(0);
        assert!(started <= 1, "{id} was started {started} times; {context}");
        let ended = ["die", "destroy"].iter().any(|what| events.contains_key(*what));
        assert!(started == 0 || !ended, "{id} ran and was stopped; {context}");
    }
    for (message, times) in stage.chat.counts() {
        assert_eq!(times, 1, "`{message}` was said {times} times; {context}");
    }
    Data::of(stage).assert_nothing_twice(&before.data, context);
}

/// Returns whether the steps that the run can do without are done, too.
fn nothing_lost(stage: &Stage, before: &Before, events: &Events, run: &str, context: &str) -> bool {
    assert_eq!(stage.fleet("legacy").len(), before.blue.len(), "{context}");
    let services: BTreeSet<_> = before.green.values().cloned().collect();
    let (parked, live): (Vec<_>, Vec<_>) =
        stage.fleet("ollama-optimized").into_iter().partition(|member| member.parked);
    let live_services: BTreeSet<_> = live.iter().map(|member| member.service.clone()).collect();
    assert_eq!((live.len(), &live_services), (services.len(), &services), "{context}");
    for member in &live {
        let well = member.running && member.healthy && member.image == before.legacy_image;
        assert!(well, "{member:?} is not a legacy agent that is well; {context}");
        assert_eq!(events[&member.id].get("start"), Some(&1), "{member:?}; {context}");
    }
    let kept: BTreeMap<_, _> =
        parked.iter().map(|member| (member.id.clone(), member.service.clone())).collect();
    assert_eq!(kept, before.green, "what was exchanged is kept; {context}");
    for member in &parked {
        assert!(!member.running, "{member:?}; {context}");
        assert_eq!(events[&member.id].get("die"), Some(&1), "{member:?}; {context}");
    }
    for path in ["/health", "/agents/health"] {
        // Once more, as a person would: the engine may still be busy with what the run has just done.
        let ask = || ledger::version(&stage.balancer(), path);
        let version = ask().or_else(|first| ask().map_err(|second| (first, second)));
        let version = version.unwrap_or_else(|errors| panic!("{path}: {errors:?}; {context}"));
        assert_eq!(version, "1.0.0", "{path}; {context}");
    }
    files_are_back(stage, context);
    Data::of(stage).assert_nothing_lost(&before.data, &stage.told(run), context)
}

fn files_are_back(stage: &Stage, context: &str) {
    let app = stage.root().join("opt/sutazaiapp");
    let lock = app.join("deployment/.rollback-in-progress");
    assert!(!lock.exists(), "the lock is released; {context}");
    let mut diff = Command::new("diff");
    diff.arg("-r").arg(app.join("backup/agent-configs")).arg(app.join("agents/configs"));
    let diff = to_end(&mut diff);
    assert_eq!(diff.code(), Some(0), "{diff}\n{context}");
}

fn names_the_unknown_step(stage: &Stage, run: &str, output: &CommandOutput) {
    let told = stage.told(run);
    let steps = told["steps"].as_object().expect("steps by name");
    let unknown: Vec<_> =
        steps.iter().filter(|(_, step)| step["outcome"] == "unknown").map(|(id, _)| id).collect();
    assert!(!unknown.is_empty(), "exit 7 has a reason:\n{output}");
    for step in unknown {
        assert!(output.stdout.contains(step.as_str()), "{step} is not named:\n{output}");
    }
}
