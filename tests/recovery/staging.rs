//! A drill on real servers is killed at random instants, and `resume` ends it: Docker Engine with two fleets, nginx between them,
//! PostgreSQL, a Redis cluster, users who ask all the while.
//!
//! `make test` kills a small fleet's drill twice. `make crash-staging` sets `ROLLBACK_STAGING_KILLS`, such as `12x100,131x10`: a
//! hundred kills with 12 agents on each side, then ten with 131. `ROLLBACK_STAGING_SEED` chooses the instants, which are printed;
//! `ROLLBACK_STAGING_FIRST=40` begins with round 40 of the same seed, in the first campaign, and makes as many kills from there.

mod data;
mod ledger;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use data::Data;
use ledger::{Events, Ledger, Served, Traffic};
use serde_json::Value;
use stage::{Member, Stage, to_end};

use super::runbooks::Seeded;
use crate::support::output::CommandOutput;
use crate::support::world::Running;

const SHORT: &str = "3x2";
/// How often the runbook changes nginx's configuration: the switch, and the service discovery. A kill after a change's last
/// write makes resume reload once more; that is safe.
const CHANGES: usize = 2;

/// The Deployment as `scripts/staging status` reads it from the control plane: when green is deployed, and taken back once.
const DEPLOYED: &str = "ollama/ollama-integration revision 2 from ollama/integration:2.0.0";
const TAKEN_BACK: &str = "ollama/ollama-integration revision 3 from legacy/integration:1.0.0";
const UNDO: &str = "swap/undo-deployment";
/// The steps that say something in the chat, with the message's first two words.
const MESSAGES: [(&str, &str); 2] = [
    ("stop/tell-the-team", "ROLLBACK STARTED:"),
    ("validate/tell-the-team-recovered", "ROLLBACK DONE:"),
];

/// What a campaign came to.
#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    during_resume: u64,
    recovered: u64,
    /// Of those that recovered: what the run can do without is done, too, as it tells.
    with_everything: u64,
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
    let seed = number("ROLLBACK_STAGING_SEED").unwrap_or(1);
    let mut first = number("ROLLBACK_STAGING_FIRST").unwrap_or(1);
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
    while figures.kills < kills {
        // Every round has numbers of its own, so that a campaign can begin with any of them.
        let mut seeded = Seeded::new(seed.wrapping_mul(1_000_003).wrapping_add(round));
        killed(&stage, &mut ledger, &mut whole, (seed, round), &mut seeded, &mut figures);
        round += 1;
    }
    assert_eq!(figures.recovered + figures.for_a_person + figures.never_begun, figures.kills);
    // Before the servers are removed, which may fail on its own account.
    told(&format!(
        "staging with {agents} + {agents} agents, seed {seed}: kills {} (and during resume {}), recovered {} ({} with all that a run can do without), exit 7 naming the \
         unknown step {}, killed before anything had begun {}, ended before the kill {}; done twice 0, lost 0; nginx reloads {}, \
         requests answered {} of {}",
        figures.kills,
        figures.during_resume,
        figures.recovered,
        figures.with_everything,
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
        &format!("{DEPLOYED}, 2 of 4 updated, 3 available"),
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
    assert_eq!(output.code(), Some(0), "nobody disturbed it:\n{output}");
    let context = || format!("undisturbed, {served:?}:\n{output}");
    nothing_twice(stage, &before, &ledger.events(), &context());
    let run = stage.begun().expect("the run has a journal");
    let everything = nothing_lost(stage, &before, &ledger.events(), &run, &context());
    assert!(everything, "a run that nobody disturbs can do all of it; {}", context());
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
    let mut story = format!("seed {seed}, round {round}: kill after {instant:.2?}");
    let mut kills = 0;
    let mut ended = kill_after(&mut stage.drill(), instant);
    if let Some((_, took)) = ended {
        story += &format!(", ended before, after {took:.2?}");
        figures.ended_before += 1;
        // The first run of all may be a slow one, and then too many of the others end before their kill.
        *whole = (*whole + took) / 2;
    } else {
        figures.kills += 1;
        kills += 1;
    }
    let Some(run) = stage.begun() else {
        let served = traffic.end();
        assert!(ended.is_none(), "it ended without having begun: {ended:?}; {story}");
        nothing_happened(stage, &before, &ledger.events(), &story);
        assert_eq!(ledger.reloads(), 0, "nothing happens before a run has begun; {story}");
        users_were_served(&served, &story);
        figures.never_begun += 1;
        figures.requests += served.requests;
        return;
    };
    if kills > 0 && seeded.below(3) == 0 {
        let again = some_instant(whole.saturating_sub(instant), seeded);
        story += &format!(", resume: kill after {again:.2?}");
        ended = kill_after(&mut stage.resume(&run), again);
        if let Some((_, took)) = ended {
            story += &format!(", ended before, after {took:.2?}");
        } else {
            figures.during_resume += 1;
            kills += 1;
        }
    }
    let output = ended.map_or_else(|| to_end(&mut stage.resume(&run)), |(output, _)| output);
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
            if kills > 0 {
                figures.recovered += 1;
                figures.with_everything += u64::from(everything);
            }
        }
        Some(7) if kills > 0 => {
            names_the_unknown_step(stage, &run, &output);
            let _everything = what_is_told_is_done(stage, &before, &run, &context());
            figures.for_a_person += 1;
        }
        _ => panic!("{}", context()),
    }
    figures.reloads += ledger.reloads();
    figures.requests += served.requests;
}

/// The same share for the same seed, however fast the machine is: of a little more than `whole`, which is that of a quick drill.
fn some_instant(whole: Duration, seeded: &mut Seeded) -> Duration {
    const PARTS: u16 = 10_000;
    let part = u32::try_from(seeded.below(PARTS.into())).expect("there are few parts");
    whole * part / u32::from(PARTS) * 11 / 10
}

/// What it came to and how long it took, when it ended before its kill.
#[expect(clippy::disallowed_methods, reason = "a random instant is one of real time")]
fn kill_after(command: &mut Command, instant: Duration) -> Option<(CommandOutput, Duration)> {
    let started = Instant::now();
    let output = Running::start(command).kill_after(instant);
    (output.signal() != Some(9)).then(|| (output, started.elapsed()))
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

/// Of a run that was killed before its first record.
fn nothing_happened(stage: &Stage, before: &Before, events: &Events, context: &str) {
    assert!(events.is_empty(), "{events:?}; {context}");
    assert_eq!(stage.chat.counts(), BTreeMap::new(), "{context}");
    assert_eq!(Data::of(stage), before.data, "{context}");
    let status = stage.status();
    assert!(status.contains(DEPLOYED) && !status.contains("paused"), "{status}\n{context}");
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

/// Returns whether all that the run can do without is done, too.
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
    what_is_told_is_done(stage, before, run, context)
}

/// The steps that a run can do without are done when it tells so. Returns whether all of them are.
fn what_is_told_is_done(stage: &Stage, before: &Before, run: &str, context: &str) -> bool {
    let told = stage.told(run);
    let said = stage.chat.counts();
    for (step, words) in MESSAGES {
        assert!(
            !is_done(&told, step) || said.contains_key(words),
            "{words} of {said:?}; {context}"
        );
    }
    let status = stage.status();
    let back = status.contains(TAKEN_BACK) && !status.contains(", paused");
    assert!(!is_done(&told, UNDO) || back, "{status}\n{context}");
    let data = Data::of(stage).assert_nothing_lost(&before.data, &told, context);
    data && is_done(&told, UNDO) && MESSAGES.iter().all(|(step, _)| is_done(&told, step))
}

/// Whether the run tells that this step's effect is there.
fn is_done(told: &Value, step: &str) -> bool {
    matches!(told["steps"][step]["outcome"].as_str(), Some("done" | "already-done"))
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
