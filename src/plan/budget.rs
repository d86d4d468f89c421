//! The budget: when a run will reach its targets, as far as can be known.
//!
//! Pure arithmetic over a [`Plan`]'s order and expected durations. `check` and `plan` project from nothing done; the
//! engine and the terminal project from the [`Progress`] of a run, and ask whether an optional step still fits into the
//! spare time. All times are measured from where the targets are measured (the start, or `--since`).
//! Nothing here ever cancels anything: rule 3 of the language.

use std::time::Duration;

use indexmap::IndexSet;

use super::layers::wait_indices;
use super::{Plan, StepId};
use crate::value::brief;

/// A plan reduced to what its timing depends on. Build it once, project often.
#[derive(Debug, Clone)]
pub struct Schedule {
    steps: Vec<Slot>,
    phases: Vec<PhaseSlot>,
    targets: Vec<TargetSlot>,
    /// The steps' ids, in the same order.
    ids: IndexSet<StepId>,
}

#[derive(Debug, Clone)]
struct Slot {
    phase: usize,
    waits: Vec<usize>,
    expected: Duration,
    optional: bool,
}

#[derive(Debug, Clone)]
struct PhaseSlot {
    id: String,
    budget: Option<Duration>,
    /// Its steps in an order in which each comes after those it waits for.
    order: Vec<usize>,
}

#[derive(Debug, Clone)]
struct TargetSlot {
    name: String,
    within: Duration,
    /// The step with whose end its time begins, if it does not begin with the run.
    from: Option<usize>,
    step: Option<usize>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// Not started.
    #[default]
    Waiting,
    /// Started at this time.
    Running(Duration),
    /// Ended at this time, however it ended; also for a step that was skipped.
    Ended(Duration),
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The time now.
    pub now: Duration,
    stages: Vec<Stage>,
}

/// When everything will be over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// When each step ends, in the order of the plan.
    pub steps: Vec<Duration>,
    /// When each phase starts and its required steps have ended.
    pub phases: Vec<ProjectedPhase>,
    /// When each target is reached, in the order of the plan.
    pub targets: Vec<ProjectedTarget>,
    /// When the last required step ends.
    pub run: Duration,
}

/// The times of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectedPhase {
    /// When it starts.
    pub start: Duration,
    /// When its required steps have ended.
    pub end: Duration,
}

/// The time of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectedTarget {
    /// When its step ends.
    pub at: Duration,
    /// When its time begins: zero, or the end of the step that it counts from.
    pub since: Duration,
    /// Whether its time has begun.
    pub begun: bool,
    /// The time it should be reached within.
    pub within: Duration,
    /// Whether its step has ended already.
    pub ended: bool,
}

impl ProjectedTarget {
    /// Whether it is (or will be) missed.
    pub fn is_late(&self) -> bool {
        self.takes() > self.within
    }

    /// How long it takes, from when its time begins.
    pub fn takes(&self) -> Duration {
        self.at.saturating_sub(self.since)
    }
}

/// An optional step that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSpareTime {
    /// What it needs.
    pub needs: Duration,
    /// The spare time that is left; zero when the run is late.
    pub left: Duration,
}

/// Something that cannot fit into its time, as `check` and `plan` say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// `target traffic-on-blue` or `phase stop`.
    pub what: String,
    /// The time that the critical path needs.
    pub needs: Duration,
    /// The time that there is.
    pub has: Duration,
    /// The steps of the critical path with their times, in order; steps that take no time are left out.
    pub path: Vec<(StepId, Duration)>,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} needs {} of {}", self.what, brief(self.needs), brief(self.has))?;
        for (index, (step, time)) in self.path.iter().enumerate() {
            let lead = if index == 0 { ": " } else { " → " };
            write!(f, "{lead}{step} {}", brief(*time))?;
        }
        Ok(())
    }
}

impl Schedule {
    /// The timing of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut steps = Vec::with_capacity(plan.steps().count());
        let mut phases = Vec::with_capacity(plan.phases.len());
        for (number, phase) in plan.phases.iter().enumerate() {
            let first = steps.len();
            for (step, waits) in phase.steps.iter().zip(wait_indices(phase)) {
                steps.push(Slot {
                    phase: number,
                    waits: waits.into_iter().map(|wait| first + wait).collect(),
                    expected: step.skip.as_ref().map_or(step.policy.expected, |_| Duration::ZERO),
                    optional: step.policy.optional,
                });
            }
            phases.push(PhaseSlot {
                id: phase.id.clone(),
                budget: phase.budget,
                order: sorted(&steps, first),
            });
        }
        let mut ids = IndexSet::with_capacity(steps.len());
        ids.extend(plan.steps().map(|step| step.id.clone()));
        let targets = plan
            .targets
            .iter()
            .map(|target| TargetSlot {
                name: target.name.clone(),
                within: target.within,
                from: target.from.as_ref().and_then(|from| ids.get_index_of(from)),
                step: ids.get_index_of(&target.reached_by),
            })
            .collect();
        Self { steps, phases, targets, ids }
    }

    /// Nothing done yet, at this time.
    pub fn progress(&self, now: Duration) -> Progress {
        Progress { now, stages: vec![Stage::Waiting; self.steps.len()] }
    }

    /// Notes where a step stands. A step that is not part of the plan changes nothing.
    pub fn note(&self, progress: &mut Progress, step: &StepId, stage: Stage) {
        if let Some(place) = self.ids.get_index_of(step) {
            progress.stages[place] = stage;
        }
    }

    /// When everything will be over, if every step takes as long as expected from now on.
    pub fn project(&self, progress: &Progress) -> Projection {
        let mut ends = vec![Duration::ZERO; self.steps.len()];
        let mut phases = Vec::with_capacity(self.phases.len());
        let mut start = Duration::ZERO;
        for phase in &self.phases {
            let mut end = start;
            let mut first = None;
            for &index in &phase.order {
                let slot = &self.steps[index];
                let ready = slot.waits.iter().map(|wait| ends[*wait]).fold(start, Duration::max);
                let (began, ended) = times(slot, progress.stages[index], ready, progress.now);
                ends[index] = ended;
                if !slot.optional {
                    end = end.max(ended);
                }
                first = Some(first.map_or(began, |first: Duration| first.min(began)));
            }
            phases.push(ProjectedPhase { start: first.unwrap_or(start).min(end), end });
            start = end;
        }
        let ended = |step: usize| matches!(progress.stages[step], Stage::Ended(_));
        let targets = self
            .targets
            .iter()
            .map(|target| ProjectedTarget {
                at: target.step.map_or(start, |step| ends[step]),
                since: target.from.map_or(Duration::ZERO, |from| ends[from]),
                begun: target.from.is_none_or(ended),
                within: target.within,
                ended: target.step.is_some_and(ended),
            })
            .collect();
        Projection { steps: ends, phases, targets, run: start }
    }

    /// Whether an optional step may start now: only when it would fit even if everything required waited for
    /// it. So the time that targets need, their verification included, is kept back.
    pub fn fits(&self, step: &StepId, progress: &Progress) -> Result<(), NoSpareTime> {
        let Some(place) = self.ids.get_index_of(step) else { return Ok(()) };
        let needs = self.steps[place].expected;
        match self.spare(self.steps[place].phase, progress) {
            Some(left) if left < needs => Err(NoSpareTime { needs, left }),
            _ => Ok(()),
        }
    }

    /// The spare time of a phase: what the run could wait without missing an open target, and what
    /// is left of the phase's budget. `None` when neither sets a limit.
    fn spare(&self, phase: usize, progress: &Progress) -> Option<Duration> {
        let projection = self.project(progress);
        // What waits before a target's time has begun takes nothing of it.
        let open = projection
            .targets
            .iter()
            .filter(|target| !target.ended && target.begun)
            .map(|target| target.within.saturating_sub(target.takes()));
        let budget = self.phases[phase]
            .budget
            .map(|budget| (projection.phases[phase].start + budget).saturating_sub(progress.now));
        open.chain(budget).min()
    }

    /// When everything will be over, seen from the start.
    pub fn start(&self) -> Projection {
        self.project(&self.progress(Duration::ZERO))
    }

    /// The targets that fit, and would not if everybody who is asked for an approval took all of the time.
    pub fn slow_approvals(plan: &Plan) -> Vec<Misfit> {
        let mut asked = plan
            .approval
            .iter()
            .chain(plan.steps().filter_map(|step| step.policy.approval.as_ref()));
        if asked.next().is_none() {
            return Vec::new();
        }
        let mut slow = Self::of(plan);
        let sure: Vec<String> = slow.late_targets(&slow.start()).map(|late| late.what).collect();
        for (slot, step) in slow.steps.iter_mut().zip(plan.steps()) {
            let approval = step.policy.approval.as_ref().filter(|_| step.skip.is_none());
            slot.expected += approval.map_or(Duration::ZERO, |approval| approval.within);
        }
        let begins = plan.approval.as_ref().map_or(Duration::ZERO, |approval| approval.within);
        let projection = slow.project(&slow.progress(begins));
        slow.late_targets(&projection).filter(|late| !sure.contains(&late.what)).collect()
    }

    fn late_targets<'a>(&'a self, projection: &'a Projection) -> impl Iterator<Item = Misfit> + 'a {
        self.targets.iter().zip(&projection.targets).filter_map(|(slot, target)| {
            let step = slot.step.filter(|_| target.is_late())?;
            let from = slot.from.map(|from| format!(" (from {})", self.ids[from]));
            let mut path = self.critical_path(step, 0, projection);
            // What has ended when the target's time begins takes nothing of it.
            path.retain(|(step, _)| {
                let end = self.ids.get_index_of(step).map(|step| projection.steps[step]);
                end.is_none_or(|end| slot.from.is_none() || end > target.since)
            });
            Some(Misfit {
                what: format!("target {}{}", slot.name, from.unwrap_or_default()),
                needs: target.takes(),
                has: target.within,
                path,
            })
        })
    }

    /// What cannot fit if everything goes as expected: targets first, then phases.
    pub fn misfits(&self) -> Vec<Misfit> {
        let projection = self.start();
        let late_phases = self.phases.iter().enumerate().filter_map(|(number, phase)| {
            let times = projection.phases[number];
            let needs = times.end.saturating_sub(times.start);
            let has = phase.budget.filter(|budget| needs > *budget)?;
            let last = self.last_required(number, &projection)?;
            Some(Misfit {
                what: format!("phase {}", phase.id),
                needs,
                has,
                path: self.critical_path(last, number, &projection),
            })
        });
        self.late_targets(&projection).chain(late_phases).collect()
    }

    /// The chain of steps that decides when `step` ends, beginning not before phase `first`.
    fn critical_path(
        &self,
        step: usize,
        first: usize,
        projection: &Projection,
    ) -> Vec<(StepId, Duration)> {
        let mut path = Vec::new();
        let mut next = Some(step);
        while let Some(index) = next {
            let slot = &self.steps[index];
            if !slot.expected.is_zero() {
                path.push((self.ids[index].clone(), slot.expected));
            }
            let slowest = slot.waits.iter().copied().max_by_key(|wait| projection.steps[*wait]);
            next = slowest.or_else(|| {
                (first..slot.phase).rev().find_map(|phase| self.last_required(phase, projection))
            });
        }
        path.reverse();
        path
    }

    fn last_required(&self, phase: usize, projection: &Projection) -> Option<usize> {
        self.phases[phase]
            .order
            .iter()
            .copied()
            .filter(|index| !self.steps[*index].optional)
            .max_by_key(|index| projection.steps[*index])
    }
}

/// When a step began (or will) and ends.
fn times(slot: &Slot, stage: Stage, ready: Duration, now: Duration) -> (Duration, Duration) {
    match stage {
        Stage::Ended(at) => (ready.min(at), at),
        Stage::Running(since) => (since, now.max(since + slot.expected)),
        Stage::Waiting => {
            let begins = ready.max(now);
            (begins, begins + slot.expected)
        }
    }
}

/// The steps from `first` on, each after those it waits for. Steps that wait for each other come last.
fn sorted(steps: &[Slot], first: usize) -> Vec<usize> {
    let mut placed = vec![false; steps.len() - first];
    let mut order = Vec::with_capacity(placed.len());
    let mut open: Vec<usize> = (first..steps.len()).collect();
    while !open.is_empty() {
        let before = open.len();
        open.retain(|&index| {
            let ready = steps[index].waits.iter().all(|wait| placed[wait - first]);
            if ready {
                placed[index - first] = true;
                order.push(index);
            }
            !ready
        });
        if open.len() == before {
            order.append(&mut open);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::PlannedApproval;
    use crate::plan::testing::{lasting, plan, planned_phase};

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// stop: a 4 s, b 6 s beside it, chat optional 9 s. redirect: shift 4 s, proof 5 s, drain 20 s after it.
    fn example() -> Plan {
        let mut chat = lasting("stop/chat", &[], 9);
        chat.policy.optional = true;
        let mut stop =
            planned_phase("stop", vec![lasting("stop/a", &[], 4), lasting("stop/b", &[], 6), chat]);
        stop.budget = Some(s(30));
        let redirect = planned_phase(
            "redirect",
            vec![
                lasting("redirect/shift", &[], 4),
                lasting("redirect/proof", &["redirect/shift"], 5),
                lasting("redirect/drain", &["redirect/proof"], 20),
            ],
        );
        plan(
            vec![stop, redirect],
            &[("traffic", 20, "redirect/proof"), ("recovered", 60, "redirect/drain")],
        )
    }

    fn id(name: &str) -> StepId {
        StepId(name.into())
    }

    #[test]
    fn an_approval_that_takes_its_time_can_miss_a_target_that_fits() {
        let approval = |seconds| PlannedApproval {
            role: "lead".into(),
            within: Duration::from_secs(seconds),
            reason: None,
            approvers: Vec::new(),
        };
        let mut plan = plan(
            vec![planned_phase("p", vec![lasting("p/a", &[], 5), lasting("p/b", &["p/a"], 5)])],
            &[("early", 6, "p/a"), ("late", 60, "p/b"), ("never", 1, "p/b")],
        );
        let slow = |plan: &Plan| -> Vec<String> {
            Schedule::slow_approvals(plan).into_iter().map(|misfit| misfit.what).collect()
        };
        assert!(slow(&plan).is_empty());
        plan.phases[0].steps[1].policy.approval = Some(approval(50));
        assert!(slow(&plan).is_empty());
        plan.phases[0].steps[1].policy.approval = Some(approval(51));
        assert_eq!(slow(&plan), ["target late"]);
        plan.phases[0].steps[1].skip = Some("its condition is false".into());
        assert!(slow(&plan).is_empty());
        plan.approval = Some(approval(2));
        assert_eq!(slow(&plan), ["target early"]);
        plan.approval = Some(approval(120));
        assert_eq!(slow(&plan), ["target early", "target late"]);
    }

    #[test]
    fn a_target_that_counts_from_a_step_has_the_time_between_the_two() {
        let day = 86_400;
        let steps = vec![lasting("p/hold", &[], 2 * day), lasting("p/decided", &["p/hold"], 60)];
        let cut = vec![lasting("q/dns", &[], 600), lasting("q/proof", &["q/dns"], 300)];
        let phases = vec![planned_phase("p", steps), planned_phase("q", cut)];
        let mut plan = plan(phases, &[("recovered", 1000, "q/proof")]);
        assert_eq!(Schedule::of(&plan).misfits()[0].what, "target recovered");
        plan.targets[0].from = Some(id("p/decided"));
        let target = Schedule::of(&plan).start().targets[0];
        assert_eq!((target.takes(), target.is_late(), target.begun), (s(900), false, false));
        assert!(Schedule::of(&plan).misfits().is_empty());
        plan.targets[0].within = s(899);
        let misfits = Schedule::of(&plan).misfits();
        assert_eq!(
            misfits[0].to_string(),
            "target recovered (from p/decided) needs 15m of 14m 59s: q/dns 10m → q/proof 5m"
        );
    }

    #[test]
    fn projects_from_nothing_done() {
        let schedule = Schedule::of(&example());
        let projection = schedule.project(&schedule.progress(Duration::ZERO));
        assert_eq!(projection.phases[0], ProjectedPhase { start: s(0), end: s(6) });
        assert_eq!(projection.phases[1], ProjectedPhase { start: s(6), end: s(35) });
        assert_eq!(projection.targets[0].at, s(15));
        assert_eq!(projection.run, s(35));
        assert!(schedule.misfits().is_empty());
    }

    #[test]
    fn projects_from_progress() {
        // (now, stages, projected end of the first target, projected end of the run)
        type Case = (u64, Vec<(&'static str, Stage)>, u64, u64);
        let table: Vec<Case> = vec![
            // Nothing has started although time passes.
            (5, vec![], 20, 40),
            // b is slower than expected: its end moves with the time.
            (9, vec![("stop/a", Stage::Ended(s(3))), ("stop/b", Stage::Running(s(0)))], 18, 38),
            // b was quicker.
            (2, vec![("stop/a", Stage::Ended(s(1))), ("stop/b", Stage::Ended(s(2)))], 11, 31),
            // The proof runs since 12.
            (
                14,
                vec![
                    ("stop/a", Stage::Ended(s(4))),
                    ("stop/b", Stage::Ended(s(8))),
                    ("redirect/shift", Stage::Ended(s(12))),
                    ("redirect/proof", Stage::Running(s(12))),
                ],
                17,
                37,
            ),
            // The first target is reached; only the rest is projected.
            (
                30,
                vec![
                    ("stop/a", Stage::Ended(s(4))),
                    ("stop/b", Stage::Ended(s(8))),
                    ("redirect/shift", Stage::Ended(s(12))),
                    ("redirect/proof", Stage::Ended(s(16))),
                    ("redirect/drain", Stage::Running(s(16))),
                ],
                16,
                36,
            ),
        ];
        let schedule = Schedule::of(&example());
        for (now, stages, traffic, run) in table {
            let mut progress = schedule.progress(s(now));
            for (step, stage) in &stages {
                schedule.note(&mut progress, &id(step), *stage);
            }
            let projection = schedule.project(&progress);
            assert_eq!(projection.targets[0].at, s(traffic), "at {now}: {stages:?}");
            assert_eq!(projection.run, s(run), "at {now}: {stages:?}");
        }
    }

    #[test]
    fn optional_steps_start_only_into_spare_time() {
        let schedule = Schedule::of(&example());
        // The first target has 20 s and needs 15: 5 s to spare, the chat needs 9.
        let nothing = schedule.progress(Duration::ZERO);
        assert_eq!(
            schedule.fits(&id("stop/chat"), &nothing),
            Err(NoSpareTime { needs: s(9), left: s(5) })
        );
        let mut roomy = example();
        roomy.targets[0].within = s(24);
        let schedule = Schedule::of(&roomy);
        assert_eq!(schedule.fits(&id("stop/chat"), &schedule.progress(s(0))), Ok(()));
        let late = schedule.progress(s(25));
        assert_eq!(
            schedule.fits(&id("stop/chat"), &late),
            Err(NoSpareTime { needs: s(9), left: s(0) })
        );
    }

    #[test]
    fn a_used_up_phase_budget_leaves_no_spare_time() {
        let mut plan = example();
        plan.targets.clear();
        plan.phases[0].budget = Some(s(10));
        let schedule = Schedule::of(&plan);
        let mut progress = schedule.progress(s(2));
        schedule.note(&mut progress, &id("stop/a"), Stage::Running(s(0)));
        assert_eq!(
            schedule.fits(&id("stop/chat"), &progress),
            Err(NoSpareTime { needs: s(9), left: s(8) })
        );
        plan.phases[0].budget = None;
        let schedule = Schedule::of(&plan);
        assert_eq!(schedule.fits(&id("stop/chat"), &progress), Ok(()), "nothing limits it");
    }

    #[test]
    fn what_cannot_fit_is_named_with_its_critical_path() {
        let mut plan = example();
        plan.targets[0].within = s(10);
        plan.phases[0].budget = Some(s(5));
        let misfits: Vec<String> =
            Schedule::of(&plan).misfits().iter().map(ToString::to_string).collect();
        assert_eq!(
            misfits,
            [
                "target traffic needs 15s of 10s: stop/b 6.0s → redirect/shift 4.0s → redirect/proof 5.0s",
                "phase stop needs 6.0s of 5.0s: stop/b 6.0s",
            ]
            .map(|line| line.replace(".0s", "s"))
        );
    }

    #[test]
    fn a_skipped_step_takes_no_time() {
        let mut plan = example();
        plan.phases[0].steps[1].skip = Some("`when` is false".into());
        let schedule = Schedule::of(&plan);
        let projection = schedule.project(&schedule.progress(Duration::ZERO));
        assert_eq!(projection.phases[0].end, s(4));
    }

    /// A plan of two phases whose steps wait for random earlier ones.
    fn random_plan() -> impl Strategy<Value = Plan> {
        let step = (0_u64..10, proptest::collection::vec(any::<prop::sample::Index>(), 0..3));
        let phase = proptest::collection::vec(step, 1..8);
        proptest::collection::vec(phase, 1..3).prop_map(|phases| {
            let phase = |(number, steps): (usize, &Vec<(u64, Vec<prop::sample::Index>)>)| {
                let name = |index: usize| format!("{number}/{index}");
                let step = |(index, (seconds, waits)): (usize, &(u64, Vec<_>))| {
                    let earlier = |wait: &prop::sample::Index| name(wait.index(index));
                    let waits: Vec<String> = match index {
                        0 => Vec::new(),
                        _ => waits.iter().map(earlier).collect(),
                    };
                    let waits: Vec<&str> = waits.iter().map(String::as_str).collect();
                    lasting(&name(index), &waits, *seconds)
                };
                planned_phase(&number.to_string(), steps.iter().enumerate().map(step).collect())
            };
            plan(phases.iter().enumerate().map(phase).collect(), &[("first", 5, "0/0")])
        })
    }

    proptest! {
        /// A run that goes exactly as projected is projected to end when it was first projected to.
        #[test]
        fn a_run_on_schedule_keeps_its_projection(plan in random_plan(), now in 0_u64..60) {
            let schedule = Schedule::of(&plan);
            let first = schedule.project(&schedule.progress(Duration::ZERO));
            let mut progress = schedule.progress(s(now));
            for (step, end) in plan.steps().zip(&first.steps) {
                let began = end.saturating_sub(step.policy.expected);
                let stage = match (began <= s(now), *end <= s(now)) {
                    (_, true) => Stage::Ended(*end),
                    (true, false) => Stage::Running(began),
                    (false, false) => Stage::Waiting,
                };
                schedule.note(&mut progress, &step.id, stage);
            }
            let later = schedule.project(&progress);
            prop_assert_eq!(&later.steps, &first.steps);
            prop_assert_eq!(later.run, first.run);
        }

        /// Time that passes without progress never brings an end nearer.
        #[test]
        fn waiting_never_helps(plan in random_plan(), now in 0_u64..60, more in 0_u64..60) {
            let schedule = Schedule::of(&plan);
            let early = schedule.project(&schedule.progress(s(now)));
            let late = schedule.project(&schedule.progress(s(now + more)));
            for (early, late) in early.steps.iter().zip(&late.steps) {
                prop_assert!(early <= late);
            }
        }
    }

    #[test]
    fn ten_thousand_steps_are_projected() {
        let steps: Vec<_> = (0..10_000)
            .map(|n| match n {
                0 => lasting("p/0", &[], 1),
                _ => lasting(&format!("p/{n}"), &[&format!("p/{}", n - 1)], 1),
            })
            .collect();
        let plan = plan(vec![planned_phase("p", steps)], &[("end", 9_999, "p/9999")]);
        let schedule = Schedule::of(&plan);
        assert_eq!(schedule.project(&schedule.progress(s(0))).run, s(10_000));
        assert_eq!(schedule.misfits()[0].path.len(), 10_000);
    }
}
