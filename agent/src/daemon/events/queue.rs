//! Lines of events that wait to be read: so many, and nobody's flood drives out
//! those of others.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use portreeve_common::abi::RepeatKey;
use tokio::sync::Notify;

use crate::{daemon::protocol::EventLine, ports::register::Port};

/// What a line has in common with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Who was judged by what, whenever it was.
    Judged(RepeatKey),
    /// News of this port.
    Port(Port),
}

impl Group {
    /// The group of the events that `key` counts.
    pub fn of(key: RepeatKey) -> Self {
        Self::Judged(RepeatKey { second: 0, ..key })
    }
}

/// A bounded queue. When it is full, the oldest of the largest group gives way.
#[derive(Debug)]
pub struct Queue {
    lines: VecDeque<(Group, Rc<str>)>,
    /// For each line, how many there are of its group: looked at for every line that
    /// comes when the queue is full.
    sizes_of_lines: VecDeque<Rc<Cell<usize>>>,
    sizes: HashMap<Group, Rc<Cell<usize>>>,
    room: usize,
}

impl Queue {
    /// One for `room` lines.
    pub fn new(room: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            sizes_of_lines: VecDeque::new(),
            sizes: HashMap::new(),
            room,
        }
    }

    /// Adds a line behind the others. `false` if another gave way to it.
    pub fn push(&mut self, group: Group, line: Rc<str>) -> bool {
        self.lines.push_back((group, line));
        let size = Rc::clone(self.sizes.entry(group).or_default());
        size.set(size.get() + 1);
        self.sizes_of_lines.push_back(size);
        if self.lines.len() <= self.room {
            return true;
        }
        let largest = self.sizes.values().map(|size| size.get()).max();
        let mut sizes = self.sizes_of_lines.iter();
        let place = sizes.position(|size| Some(size.get()) == largest);
        self.remove(place.unwrap_or(0));
        false
    }

    /// Takes the oldest line.
    pub fn pop(&mut self) -> Option<Rc<str>> {
        self.remove(0)
    }

    /// The lines, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &(Group, Rc<str>)> {
        self.lines.iter()
    }

    fn remove(&mut self, place: usize) -> Option<Rc<str>> {
        let (group, line) = self.lines.remove(place)?;
        if let Some(size) = self.sizes_of_lines.remove(place) {
            size.set(size.get() - 1);
            if size.get() == 0 {
                self.sizes.remove(&group);
            }
        }
        Some(line)
    }
}

/// Somebody who reads events as they come.
#[derive(Debug)]
pub struct Follower {
    queue: RefCell<Queue>,
    missed: RefCell<u64>,
    news: Notify,
}

impl Follower {
    /// One that begins with `lines`, and for whom `room` more may wait.
    pub(super) fn new<'a>(lines: impl Iterator<Item = &'a (Group, Rc<str>)>, room: usize) -> Self {
        let mut queue = Queue::new(usize::MAX);
        for (group, line) in lines {
            queue.push(*group, Rc::clone(line));
        }
        queue.room = queue.lines.len() + room;
        Self {
            queue: RefCell::new(queue),
            missed: RefCell::new(0),
            news: Notify::new(),
        }
    }

    pub(super) fn push(&self, group: Group, line: Rc<str>) {
        if !self.queue.borrow_mut().push(group, line) {
            *self.missed.borrow_mut() += 1;
        }
        self.news.notify_one();
    }

    /// The next line; if any were missed, first how many.
    pub async fn next(&self) -> Rc<str> {
        loop {
            let missed = self.missed.replace(0);
            if missed > 0
                && let Ok(line) = serde_json::to_string(&EventLine::Missed { missed })
            {
                return line.into();
            }
            let next = self.queue.borrow_mut().pop();
            match next {
                Some(line) => return line,
                None => self.news.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(uid: u32) -> Group {
        Group::Judged(RepeatKey {
            cgroup: 1,
            generation: 1,
            entry: 0,
            uid,
            second: 0,
            reason: 3,
            flags: 0,
        })
    }

    fn lines(queue: &Queue) -> Vec<String> {
        queue.iter().map(|(_, line)| line.to_string()).collect()
    }

    #[test]
    fn a_flood_drives_out_its_own() {
        let mut queue = Queue::new(4);
        assert!(queue.push(group(1), "one".into()));
        for number in 0..10 {
            let fits = queue.push(group(2), number.to_string().into());
            assert_eq!(fits, number < 3);
        }
        assert!(!queue.push(group(3), "three".into()));
        assert_eq!(lines(&queue), ["one", "8", "9", "three"]);
        // Of groups of one size the oldest line goes.
        assert!(!queue.push(group(4), "four".into()));
        assert!(!queue.push(group(5), "five".into()));
        assert_eq!(lines(&queue), ["9", "three", "four", "five"]);
        assert_eq!(queue.sizes.len(), 4);
    }

    #[test]
    fn a_follower_is_told_how_many_it_missed() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let early = [(group(1), "early".into())];
            let follower = Follower::new(early.iter(), 2);
            for number in 0..5 {
                follower.push(group(2), number.to_string().into());
            }
            for expected in [r#"{"missed":3}"#, "early", "3", "4"] {
                assert_eq!(&*follower.next().await, expected);
            }
            follower.push(group(2), "new".into());
            assert_eq!(&*follower.next().await, "new");
        });
    }
}
