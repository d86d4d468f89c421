//! How many items are worked on at the same time: as many as make the system faster, and no more.
//!
//! A Docker Engine on two cores stops 19 containers a second when asked by 8 callers, and 13 when asked by 131. So the
//! limit is found by climbing: it doubles while the throughput of the last window grows by more than [`GAIN`], and
//! steps back to the best limit seen when it does not. Each verb has its own limiter, shared by all steps of the run.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

/// The callers to start with.
const FIRST: usize = 4;
/// The most callers ever tried.
const MOST: usize = 64;
/// The growth of throughput that justifies twice the callers.
const GAIN: f64 = 1.10;

/// The limiters of a run, one per verb.
#[derive(Default)]
pub struct Limiters {
    by_verb: Mutex<HashMap<String, Arc<Limiter>>>,
}

impl Limiters {
    /// The limiter of a verb.
    pub fn of(&self, verb: &str) -> Arc<Limiter> {
        let mut by_verb = self.by_verb.lock().unwrap_or_else(PoisonError::into_inner);
        by_verb.entry(verb.to_owned()).or_default().clone()
    }
}

/// A limit that adapts to what it limits. Turns are given in the order in which they were asked for.
#[derive(Default)]
pub struct Limiter {
    line: Mutex<Line>,
}

/// Who is at work and who waits.
#[derive(Default)]
struct Line {
    climb: Climb,
    waiting: VecDeque<Waiter>,
}

/// Somebody who waits for a turn, and the most that may be at work beside it.
struct Waiter {
    cap: Option<usize>,
    turn: oneshot::Sender<Permit>,
}

/// The right to work on one item. Dropping it gives it back.
pub struct Permit {
    limiter: Arc<Limiter>,
}

impl Limiter {
    /// Waits for a turn. At most `cap` items are worked on at once, however fast the system is.
    pub async fn acquire(self: &Arc<Self>, cap: Option<usize>) -> Permit {
        loop {
            let mine = {
                let mut line = self.lock();
                if line.climb.admit(cap) {
                    return Permit { limiter: self.clone() };
                }
                let (turn, mine) = oneshot::channel();
                line.waiting.push_back(Waiter { cap, turn });
                mine
            };
            // Who is in the line stays there until the turn comes.
            if let Ok(permit) = mine.await {
                return permit;
            }
        }
    }

    /// The present limit.
    pub fn limit(&self) -> usize {
        self.lock().climb.limit
    }

    /// Gives turns to those who wait, while there is room. Only who has a turn is woken.
    fn serve(self: &Arc<Self>) {
        loop {
            // The line is free again before the permit is sent: one that comes back takes its own turn here.
            let next = self.lock().next();
            let Some(waiter) = next else { return };
            let _gone = waiter.turn.send(Permit { limiter: self.clone() });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// The first who may work now, counted as at work.
    fn next(&mut self) -> Option<Waiter> {
        self.waiting.retain(|waiter| !waiter.turn.is_closed());
        let first = self.waiting.iter().position(|waiter| self.climb.admit(waiter.cap))?;
        self.waiting.remove(first)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.lock().climb.finish(Instant::now());
        self.limiter.serve();
    }
}

/// The climb to the saturation point.
struct Climb {
    limit: usize,
    in_flight: usize,
    /// The limit of the best window, and its throughput in items per second.
    best: Option<(usize, f64)>,
    /// Whether the top was found.
    settled: bool,
    window_started: Option<Instant>,
    finished: usize,
    /// Whether the window was busy: an idle one says nothing about the system.
    saturated: bool,
}

impl Default for Climb {
    fn default() -> Self {
        Self {
            limit: FIRST,
            in_flight: 0,
            best: None,
            settled: false,
            window_started: None,
            finished: 0,
            saturated: false,
        }
    }
}

impl Climb {
    fn admit(&mut self, cap: Option<usize>) -> bool {
        let limit = cap.unwrap_or(self.limit);
        if self.in_flight >= limit {
            self.saturated = true;
            return false;
        }
        self.in_flight += 1;
        let _running = self.window_started.get_or_insert_with(Instant::now);
        true
    }

    fn finish(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.finished += 1;
        if self.settled || self.finished < 2 * self.limit {
            return;
        }
        let Some(started) = self.window_started.take() else { return };
        let seconds = now.saturating_duration_since(started).as_secs_f64().max(1e-6);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred items at most")]
        let throughput = self.finished as f64 / seconds;
        let busy = std::mem::take(&mut self.saturated);
        self.finished = 0;
        self.window_started = (self.in_flight > 0).then_some(now);
        if busy {
            self.climb(throughput);
        }
    }

    fn climb(&mut self, throughput: f64) {
        match self.best {
            Some((limit, best)) if throughput < best * GAIN => {
                self.limit = limit;
                self.settled = true;
            }
            _ => {
                self.best = Some((self.limit, throughput));
                self.limit = (self.limit * 2).min(MOST);
                self.settled = self.best.is_some_and(|(limit, _)| limit == MOST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    /// Works on 131 items of a system whose call takes longer the more callers there are. Returns the limit found, and the
    /// time it took.
    async fn climb(limiter: &Arc<Limiter>, call: fn(usize) -> Duration) -> (usize, Duration) {
        let started = Instant::now();
        let inside = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..131 {
            let (limiter, inside) = (limiter.clone(), inside.clone());
            let _handle = tasks.spawn(async move {
                let _permit = limiter.acquire(None).await;
                let callers = inside.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::time::sleep(call(callers)).await;
                let _before = inside.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while tasks.join_next().await.is_some() {}
        (limiter.limit(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_system_that_saturates_is_not_asked_by_everybody() {
        // 20 a second at 8 callers and beyond, as a Docker Engine on two cores.
        let saturating = |callers: usize| Duration::from_millis(50 * callers.max(8) as u64);
        let (limit, took) = climb(&Arc::default(), saturating).await;
        assert!((8..=16).contains(&limit), "found {limit}");
        assert!(took < Duration::from_secs(9), "took {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_system_that_collapses_is_left_in_peace() {
        let collapsing = |callers: usize| Duration::from_millis((callers * callers * 10) as u64);
        let (limit, _) = climb(&Arc::default(), collapsing).await;
        assert!(limit <= 4, "found {limit}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_system_without_limits_is_used_fully() {
        let (limit, _) = climb(&Arc::default(), |_| Duration::from_millis(100)).await;
        assert!(limit >= 32, "found {limit}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_line_holds_nobody_up() {
        let limiter = Arc::<Limiter>::default();
        let first = limiter.acquire(Some(1)).await;
        let mut impatient = Box::pin(limiter.acquire(Some(1)));
        let mut patient = Box::pin(limiter.acquire(Some(1)));
        assert!((&mut impatient).now_or_never().is_none());
        assert!((&mut patient).now_or_never().is_none());
        drop(impatient);
        drop(first);
        let waited = tokio::time::timeout(Duration::from_secs(1), patient).await;
        assert!(waited.is_ok(), "the turn went to somebody who had left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_too_late_goes_to_the_next() {
        let limiter = Arc::<Limiter>::default();
        let first = limiter.acquire(Some(1)).await;
        let mut second = Box::pin(limiter.acquire(Some(1)));
        let mut third = Box::pin(limiter.acquire(Some(1)));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        drop(first);
        // The permit is on its way to the second, who takes it no more.
        drop(second);
        assert!((&mut third).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_declared_limit_is_kept() {
        let limiter = Arc::<Limiter>::default();
        let _first = limiter.acquire(Some(1)).await;
        let second = tokio::time::timeout(Duration::from_secs(1), limiter.acquire(Some(1))).await;
        assert!(second.is_err());
    }
}
