//! Lines that are kept, and handed to those who follow.

use std::rc::{Rc, Weak};

use super::queue::{Follower, Group, Queue};

/// The last lines, and who waits for more.
pub struct Stream {
    kept: Queue,
    followers: Vec<Weak<Follower>>,
    room: usize,
}

impl Stream {
    /// One that keeps `room` lines; so many may wait for each who follows.
    pub fn new(room: usize) -> Self {
        Self {
            kept: Queue::new(room),
            followers: Vec::new(),
            room,
        }
    }

    /// Adds a line of `group`.
    pub fn push(&mut self, group: Group, line: Rc<str>) {
        self.followers.retain(|follower| {
            let follower = follower.upgrade();
            if let Some(follower) = &follower {
                follower.push(group, Rc::clone(&line));
            }
            follower.is_some()
        });
        self.kept.push(group, line);
    }

    /// The lines that are kept, oldest first.
    pub fn kept(&self) -> Vec<Rc<str>> {
        self.kept.iter().map(|(_, line)| Rc::clone(line)).collect()
    }

    /// The lines that are kept and every one from now on.
    pub fn follow(&mut self) -> Rc<Follower> {
        self.add(Follower::new(self.kept.iter(), self.room))
    }

    /// Every line from now on.
    pub fn follow_from_now(&mut self) -> Rc<Follower> {
        self.add(Follower::new([].iter(), self.room))
    }

    fn add(&mut self, follower: Follower) -> Rc<Follower> {
        let follower = Rc::new(follower);
        self.followers.push(Rc::downgrade(&follower));
        follower
    }
}
