//! How often something happens, from when it did.

use std::collections::VecDeque;

/// The seconds that a rate is of.
pub const WINDOW: i64 = 10;

/// How often something happened, by second.
#[derive(Clone, Debug, Default)]
pub struct Happened(VecDeque<(i64, u64)>);

impl Happened {
    /// Adds that it happened `times` in `second`, as seconds of the clock.
    pub fn add(&mut self, second: i64, times: u64) {
        match self.0.iter_mut().rev().find(|(known, _)| *known == second) {
            Some((_, count)) => *count += times,
            None => self.0.push_back((second, times)),
        }
        // Sums of a second come behind what is told of the next.
        while self.0.len() > WINDOW as usize + 2 {
            self.0.pop_front();
        }
    }

    /// How often it happened in each of the seconds before `now`.
    pub fn rate(&self, now: i64) -> f64 {
        let recent = self.0.iter().filter(|(second, _)| now - second < WINDOW);
        recent.map(|(_, times)| *times).sum::<u64>() as f64 / WINDOW as f64
    }
}

/// A count that only grows, looked at now and then.
#[derive(Clone, Debug, Default)]
pub struct Counted(VecDeque<(f64, u64)>);

impl Counted {
    /// Adds that it was `count` at `time`, in seconds.
    pub fn add(&mut self, time: f64, count: u64) {
        // Counted from the beginning again, or the clock was set back.
        if self
            .0
            .back()
            .is_some_and(|(last, before)| count < *before || time < *last)
        {
            self.0.clear();
        }
        self.0.push_back((time, count));
        while self.0.len() > 2 && self.0[1].0 <= time - WINDOW as f64 {
            self.0.pop_front();
        }
    }

    /// The count when it was last looked at.
    pub fn total(&self) -> u64 {
        self.0.back().map_or(0, |(_, count)| *count)
    }

    /// How much it grew each second, lately.
    pub fn rate(&self) -> f64 {
        let (Some((begin, before)), Some((end, now))) = (self.0.front(), self.0.back()) else {
            return 0.0;
        };
        match end - begin {
            time if time > 0.0 => (now - before) as f64 / time,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_seconds() {
        let mut happened = Happened::default();
        assert_eq!(happened.rate(0), 0.0);
        happened.add(100, 20);
        happened.add(101, 1);
        happened.add(100, 9);
        assert_eq!(happened.rate(101), 3.0);
        assert_eq!(happened.rate(109), 3.0);
        assert_eq!(happened.rate(110), 0.1);
        assert_eq!(happened.rate(111), 0.0);
        for second in 200..300 {
            happened.add(second, 5);
        }
        assert_eq!(happened.rate(299), 5.0);
        assert!(happened.0.len() < 20);
    }

    #[test]
    fn counts_have_rates() {
        let mut counted = Counted::default();
        assert_eq!((counted.total(), counted.rate()), (0, 0.0));
        counted.add(0.0, 1000);
        assert_eq!((counted.total(), counted.rate()), (1000, 0.0));
        counted.add(0.5, 1050);
        assert_eq!((counted.total(), counted.rate()), (1050, 100.0));
        for second in 1..100 {
            counted.add(f64::from(second), 1050);
        }
        assert_eq!(counted.rate(), 0.0);
        assert!(counted.0.len() < 20);
        counted.add(100.0, 7);
        assert_eq!((counted.total(), counted.rate()), (7, 0.0), "begun again");
    }
}
