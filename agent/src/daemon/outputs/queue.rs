//! Messages that wait to be written: so many, and whoever has one to say never waits.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::message::{Kind, Message};

/// Messages that may wait: more than the events that the kernel's ring has room for.
pub const ROOM: usize = 16_384;
/// Those before a bind that went on; the rest of the room is for refusals and the agent's own
/// messages, as it is in the kernel's ring.
const ROOM_FOR_ALLOWED: usize = ROOM / 2;

/// A bounded queue between those who say something and the thread that writes it.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Arc<Message>>,
    /// Those that found no room.
    dropped: u64,
    /// Why nothing can be written at the moment.
    problem: Option<String>,
    /// Where it is written has to be opened again.
    reopen: bool,
    /// No more messages come.
    closing: bool,
    /// All is written that could be.
    done: bool,
}

/// What the writing thread is to do next.
#[derive(Debug, Default)]
pub struct Work {
    /// Write these; none if no more come.
    pub messages: Vec<Arc<Message>>,
    /// Open it again first.
    pub reopen: bool,
    /// How many found no room since the queue is there.
    pub dropped: u64,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it; what it holds is whole all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message, or counts it if there is no room.
    pub fn push(&self, message: &Arc<Message>) {
        let room = match message.kind() {
            Kind::Bind => ROOM_FOR_ALLOWED,
            Kind::Log | Kind::Refusal | Kind::Audit | Kind::Alert | Kind::Cleared => ROOM,
        };
        let mut state = self.state();
        if state.messages.len() < room && !state.closing {
            state.messages.push_back(Arc::clone(message));
            self.news.notify_all();
        } else {
            state.dropped += 1;
        }
    }

    /// Has it opened again before the next message is written.
    pub fn reopen(&self) {
        self.state().reopen = true;
        self.news.notify_all();
    }

    /// Waits for something to do, for at most `most` messages.
    pub fn next(&self, most: usize) -> Work {
        let mut state = self.state();
        while state.messages.is_empty() && !state.closing && !state.reopen {
            state = self
                .news
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.messages.len().min(most);
        Work {
            messages: state.messages.drain(..count).collect(),
            reopen: std::mem::take(&mut state.reopen),
            dropped: state.dropped,
        }
    }

    /// Waits for `time`, but not when the agent ends. Whether it doesn't.
    pub fn pause(&self, time: Duration) -> bool {
        let state = self.state();
        let waited = self
            .news
            .wait_timeout_while(state, time, |state| !state.closing);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.closing
    }

    /// Remembers why nothing can be written, or that it can. Whether that is news.
    pub fn note(&self, problem: Option<String>) -> bool {
        let mut state = self.state();
        let is_news = state.problem.is_some() != problem.is_some();
        state.problem = problem;
        is_news
    }

    /// Counts messages that can't be written any more.
    pub fn give_up(&self, messages: usize) {
        self.state().dropped += messages as u64;
    }

    /// How many messages wait, how many were dropped, and what is wrong.
    pub fn status(&self) -> (usize, u64, Option<String>) {
        let state = self.state();
        (
            state.messages.len(),
            state.dropped,
            state.problem.as_deref().map(str::to_owned),
        )
    }

    /// No more messages come.
    pub fn close(&self) {
        self.state().closing = true;
        self.news.notify_all();
    }

    /// The thread that writes has ended.
    pub fn finish(&self) {
        self.state().done = true;
        self.news.notify_all();
    }

    /// Waits until all is written, but not beyond `deadline`.
    pub fn wait_until_done(&self, deadline: Instant) {
        let state = self.state();
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = self
            .news
            .wait_timeout_while(state, left, |state| !state.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{daemon::protocol::EventRecord, report::events::tests::event};

    fn message(text: &str) -> Arc<Message> {
        Arc::new(Message::log(log::Level::Info, text.to_owned()))
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let queue = Queue::default();
        for _ in 0..ROOM + 3 {
            queue.push(&message("x"));
        }
        assert_eq!(queue.status(), (ROOM, 3, None));
        let work = queue.next(10);
        assert_eq!((work.messages.len(), work.dropped), (10, 3));
        queue.push(&message("y"));
        assert_eq!(queue.status(), (ROOM - 9, 3, None));
    }

    #[test]
    fn binds_that_went_on_leave_room_for_refusals() {
        let allowed = EventRecord {
            verdict: "allow".into(),
            ..event()
        };
        let allowed = Arc::new(Message::Event(Box::new(allowed)));
        let refused = Arc::new(Message::Event(Box::new(event())));
        let queue = Queue::default();
        for _ in 0..ROOM {
            queue.push(&allowed);
        }
        assert_eq!(queue.status(), (ROOM / 2, (ROOM / 2) as u64, None));
        queue.push(&refused);
        queue.push(&message("x"));
        assert_eq!(queue.status(), (ROOM / 2 + 2, (ROOM / 2) as u64, None));
    }

    #[test]
    fn an_end_waits_for_what_is_written_and_not_for_what_cannot_be() {
        let queue = Arc::new(Queue::default());
        queue.push(&message("x"));
        queue.close();
        assert_eq!(queue.next(10).messages.len(), 1);
        assert!(queue.next(10).messages.is_empty());
        assert!(!queue.pause(Duration::from_secs(3600)));
        let begun = Instant::now();
        queue.wait_until_done(begun + Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        queue.finish();
        queue.wait_until_done(begun + Duration::from_secs(3600));
    }

    #[test]
    fn a_problem_is_news_once() {
        let queue = Queue::default();
        assert!(!queue.note(None));
        assert!(queue.note(Some("full".into())));
        assert!(!queue.note(Some("very full".into())));
        assert_eq!(queue.status().2.as_deref(), Some("very full"));
        assert!(queue.note(None));
    }
}
