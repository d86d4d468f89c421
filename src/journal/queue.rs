//! The way from those who append to the thread that writes: a queue that knows what can wait.
//!
//! A channel wakes its reader for whatever is sent. Between two changes a step sends five records, of which the thread has to hear of two:
//! the others it takes along when it is awake anyway, and each needless wake costs the sender, who stands between two changes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A queue: whoever has a clone of the sender sends, one thread receives.
pub(super) fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { inner: Mutex::new(Inner::default()), bell: Condvar::new() });
    let sender = Sender(Arc::new(Senders(Arc::clone(&shared))));
    (sender, Receiver(shared))
}

/// Whether the receiver has to be woken for a message while it waits for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// At once.
    Urgent,
    /// It is seen when the receiver's time is up, or with the next that is urgent.
    CanWait,
}

/// The sending end. The last one that goes ends the queue.
#[derive(Debug)]
pub(super) struct Sender<T>(Arc<Senders<T>>);

#[derive(Debug)]
struct Senders<T>(Arc<Shared<T>>);

/// The receiving end. When it goes, what is queued goes with it, and so does what is sent from then on.
#[derive(Debug)]
pub(super) struct Receiver<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    inner: Mutex<Inner<T>>,
    bell: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    messages: VecDeque<(T, Urgency)>,
    /// Those of the messages that are.
    urgent: usize,
    sleeps: Sleep,
    /// Nothing more is sent.
    ended: bool,
    /// Nothing more is received.
    unheard: bool,
}

/// What the receiver sleeps for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Awake,
    UntilUrgent,
    UntilAnything,
}

impl<T> Default for Inner<T> {
    fn default() -> Self {
        Self {
            messages: VecDeque::new(),
            urgent: 0,
            sleeps: Sleep::Awake,
            ended: false,
            unheard: false,
        }
    }
}

impl<T> Shared<T> {
    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// Queues a message. It is dropped if nobody receives any more.
    pub(super) fn send(&self, message: T, urgency: Urgency) {
        let Shared { bell, .. } = &*self.0.0;
        let mut inner = self.0.0.inner();
        if inner.unheard {
            return;
        }
        inner.messages.push_back((message, urgency));
        let urgent = urgency == Urgency::Urgent;
        inner.urgent += usize::from(urgent);
        let wakes = match inner.sleeps {
            Sleep::Awake => false,
            Sleep::UntilUrgent => urgent,
            Sleep::UntilAnything => true,
        };
        if wakes {
            inner.sleeps = Sleep::Awake;
            // Whoever wakes needs what is locked here.
            drop(inner);
            bell.notify_one();
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Senders<T> {
    fn drop(&mut self) {
        self.0.inner().ended = true;
        self.0.bell.notify_one();
    }
}

impl<T> Receiver<T> {
    /// The next message, however long it takes; none once the queue has ended.
    pub(super) fn next(&self) -> Option<T> {
        let mut inner = self.0.inner();
        while inner.messages.is_empty() && !inner.ended {
            inner.sleeps = Sleep::UntilAnything;
            inner = self.0.bell.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.pop()
    }

    /// The next message that is queued, if there is one.
    pub(super) fn queued(&self) -> Option<T> {
        self.0.inner().pop()
    }

    /// The next message, once there is an urgent one or the time is up; none if there is nothing by then.
    #[expect(clippy::disallowed_methods, reason = "the disk's thread knows no virtual time")]
    pub(super) fn next_by(&self, deadline: Instant) -> Option<T> {
        let mut inner = self.0.inner();
        while inner.urgent == 0 && !inner.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner.sleeps = Sleep::UntilUrgent;
            let woken = self.0.bell.wait_timeout(inner, left);
            inner = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.pop()
    }
}

impl<T> Inner<T> {
    fn pop(&mut self) -> Option<T> {
        self.sleeps = Sleep::Awake;
        let (message, urgency) = self.messages.pop_front()?;
        self.urgent -= usize::from(urgency == Urgency::Urgent);
        Some(message)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let queued = {
            let mut inner = self.0.inner();
            inner.unheard = true;
            std::mem::take(&mut inner.messages)
        };
        // Not under the lock: what goes may have senders of its own.
        drop(queued);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::Urgency::{CanWait, Urgent};
    use super::*;

    /// Far beyond what a test takes.
    const FAR: Duration = Duration::from_secs(60);

    #[expect(clippy::disallowed_methods, reason = "a thread's time is the machine's")]
    fn after(time: Duration) -> Instant {
        Instant::now() + time
    }

    #[test]
    fn it_keeps_the_order_whatever_is_urgent() {
        let (sender, receiver) = queue();
        for (number, urgency) in [(1, CanWait), (2, Urgent), (3, CanWait)] {
            sender.send(number, urgency);
        }
        assert_eq!(receiver.next_by(after(FAR)), Some(1), "there is an urgent one behind it");
        assert_eq!(receiver.next_by(after(FAR)), Some(2));
        assert_eq!(receiver.next_by(after(Duration::ZERO)), Some(3), "its time is up");
        assert_eq!(receiver.next_by(after(Duration::ZERO)), None);
        assert_eq!(receiver.queued(), None);
    }

    #[test]
    fn what_can_wait_is_seen_when_the_time_is_up_and_wakes_a_receiver_that_waits_for_anything() {
        let (sender, receiver) = queue();
        sender.send(1, CanWait);
        let until = after(Duration::from_millis(5));
        assert_eq!(receiver.next_by(until), Some(1));
        assert!(until <= after(Duration::ZERO), "it was not woken for it");
        thread::scope(|scope| {
            let received = scope.spawn(|| receiver.next());
            while sender.0.0.inner().sleeps != Sleep::UntilAnything {
                thread::yield_now();
            }
            sender.send(2, CanWait);
            assert_eq!(received.join().expect("no panic"), Some(2));
            let received = scope.spawn(|| receiver.next_by(after(FAR)));
            while sender.0.0.inner().sleeps != Sleep::UntilUrgent {
                thread::yield_now();
            }
            sender.send(3, CanWait);
            assert_eq!(sender.0.0.inner().sleeps, Sleep::UntilUrgent, "it sleeps on");
            sender.send(4, Urgent);
            assert_eq!(received.join().expect("no panic"), Some(3));
        });
    }

    #[test]
    fn it_ends_with_its_last_sender_and_what_is_queued_is_still_received() {
        let (sender, receiver) = queue();
        let another = sender.clone();
        thread::scope(|scope| {
            let received =
                scope.spawn(|| (receiver.next(), receiver.next_by(after(FAR)), receiver.next()));
            drop(sender);
            another.send(1, Urgent);
            another.send(2, CanWait);
            drop(another);
            assert_eq!(received.join().expect("no panic"), (Some(1), Some(2), None));
        });
    }

    #[test]
    fn without_a_receiver_messages_go() {
        let (sender, receiver) = queue();
        let message = Arc::new(());
        sender.send(Arc::clone(&message), CanWait);
        drop(receiver);
        sender.send(Arc::clone(&message), Urgent);
        assert_eq!(Arc::strong_count(&message), 1);
    }
}
