//! What takes messages, and the thread that hands them over.

use std::{collections::HashMap, io, sync::Arc, thread, time::Duration};

use nix::unistd::{Uid, User};

use super::{message::Message, queue::Queue};
use crate::kernel::privileges::capabilities::give_up_all;

/// Messages that are handed over at once.
const BATCH: usize = 64;
/// How long it is waited before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Names of users that are remembered.
const KNOWN: usize = 1024;

/// Somewhere messages go.
pub trait Sink: Send {
    /// Takes a message, to be written by the next [`Self::flush`].
    fn put(&mut self, message: &Message, names: &mut Names);

    /// Writes what was put.
    ///
    /// # Errors
    ///
    /// What the kernel says. What was not written is tried again by the next call.
    fn flush(&mut self) -> io::Result<()>;

    /// Opens it again, if it is something that has a name.
    ///
    /// # Errors
    ///
    /// What the kernel says; the former one stays.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Names of users, looked up on the thread that needs them: a directory service may take
/// its time.
#[derive(Default)]
pub struct Names(HashMap<u32, Option<String>>);

impl Names {
    /// What user `uid` is called.
    pub fn user(&mut self, uid: u32) -> Option<String> {
        if self.0.len() >= KNOWN {
            self.0.clear();
        }
        let name = self.0.entry(uid).or_insert_with(|| {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            user.map(|user| user.name)
        });
        name.clone()
    }
}

/// Starts the thread that hands over to `sink`, which is called `name`, what is in `queue`.
///
/// # Errors
///
/// If no thread can be had.
pub fn start(name: String, mut sink: Box<dyn Sink>, queue: Arc<Queue>) -> io::Result<()> {
    let work = move || {
        if let Err(error) = give_up_all() {
            log::warn!("the thread of {name}: {error}");
        }
        hand_over(&name, sink.as_mut(), &queue);
        queue.finish();
    };
    let thread = thread::Builder::new().name("log".to_owned());
    thread.spawn(work).map(drop)
}

fn hand_over(name: &str, sink: &mut dyn Sink, queue: &Queue) {
    let mut names = Names::default();
    let mut told = 0;
    loop {
        let work = queue.next(BATCH);
        if work.reopen
            && let Err(error) = sink.reopen()
        {
            log::error!("{name} can't be opened again, the former one is written on: {error}");
        }
        if work.messages.is_empty() && !work.reopen {
            return;
        }
        for message in &work.messages {
            sink.put(message, &mut names);
        }
        if work.dropped > told {
            let text = format!(
                "{} messages were LOST here: they came faster than {name} took them",
                work.dropped - told
            );
            told = work.dropped;
            sink.put(&Message::log(log::Level::Error, text), &mut names);
        }
        if !flush(name, sink, queue) {
            queue.give_up(work.messages.len());
            return;
        }
    }
}

/// Writes what was put, however often that takes. Whether it is done when the agent ends.
fn flush(name: &str, sink: &mut dyn Sink, queue: &Queue) -> bool {
    loop {
        let Err(error) = sink.flush() else {
            if queue.note(None) {
                log::info!("{name} can be written again");
            }
            return true;
        };
        if queue.note(Some(error.to_string())) {
            log::error!(
                "{name} can't be written: {error}; messages wait until it can, and are dropped when there are too many"
            );
        }
        if !queue.pause(PAUSE) {
            return sink.flush().is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Mutex,
            atomic::{AtomicBool, Ordering},
        },
        time::Instant,
    };

    use super::*;
    use crate::daemon::outputs::queue::ROOM;

    /// Fails as long as it is told to.
    #[derive(Clone, Default)]
    struct Fickle {
        fails: Arc<AtomicBool>,
        put: Vec<String>,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl Sink for Fickle {
        fn put(&mut self, message: &Message, _: &mut Names) {
            self.put.push(message.line(None));
        }

        fn flush(&mut self) -> io::Result<()> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.lock().unwrap().append(&mut self.put);
            Ok(())
        }
    }

    fn message(text: String) -> Arc<Message> {
        Arc::new(Message::log(log::Level::Info, text))
    }

    #[test]
    fn what_fails_is_tried_again_and_what_is_lost_is_told() {
        let sink = Fickle::default();
        sink.fails.store(true, Ordering::Relaxed);
        let (fails, written) = (Arc::clone(&sink.fails), Arc::clone(&sink.written));
        let queue = Arc::new(Queue::default());
        start("it".into(), Box::new(sink), Arc::clone(&queue)).unwrap();
        queue.push(&message("first".into()));
        let deadline = Instant::now() + Duration::from_secs(60);
        while queue.status().2.is_none() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        for number in 0..ROOM + 5 {
            queue.push(&message(number.to_string()));
        }
        assert_eq!(queue.status().1, 5);
        fails.store(false, Ordering::Relaxed);
        while queue.status().0 > 0 {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        queue.close();
        queue.wait_until_done(deadline);
        let written = written.lock().unwrap();
        assert_eq!(written[0], "first");
        assert_eq!(written.len(), 1 + ROOM + 1);
        let lost: Vec<_> = written
            .iter()
            .filter(|line| line.contains("LOST"))
            .collect();
        assert!(lost[0].starts_with("5 messages were LOST here"), "{lost:?}");
        assert_eq!(queue.status().2, None);
    }

    #[test]
    fn the_end_does_not_wait_for_what_cannot_be_written() {
        let sink = Fickle::default();
        sink.fails.store(true, Ordering::Relaxed);
        let queue = Arc::new(Queue::default());
        start("it".into(), Box::new(sink), Arc::clone(&queue)).unwrap();
        queue.push(&message("never".into()));
        queue.close();
        queue.wait_until_done(Instant::now() + Duration::from_secs(60));
        assert_eq!(queue.status().1, 1);
    }
}
