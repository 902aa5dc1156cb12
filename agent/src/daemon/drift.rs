//! What others change while an agent runs: seen on a timer, told when it begins and when
//! it ends, and mended where that can be done.

use super::{
    agent::{Agent, now},
    protocol::{DriftStatus, SelftestStatus},
};
use crate::{
    diagnostics::escaped,
    kernel::{hooks::Neighbour, keeper::Lapse},
};

/// So many are kept for a status; those that last count, but are never dropped.
const KNOWN: usize = 64;

/// Something that is not as it should be, or was not until now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    of: String,
    problem: String,
    /// What was done about it, if that helped.
    mended: Option<String>,
}

impl From<Lapse> for Finding {
    fn from(lapse: Lapse) -> Self {
        let (problem, mended) = match lapse.mended {
            Ok(mended) => (lapse.found, Some(mended)),
            Err(why) => (format!("{}: {why}", lapse.found), None),
        };
        Self {
            of: lapse.of,
            problem,
            mended,
        }
    }
}

impl From<&Neighbour> for Finding {
    fn from(neighbour: &Neighbour) -> Self {
        // An agent that has started may not ask for it any more.
        let called = match neighbour.program.as_str() {
            "" => String::new(),
            name => format!(" ({})", escaped(name)),
        };
        Self {
            of: format!("program {}{called} on {}", neighbour.id, neighbour.hook),
            problem: "it runs after ours and can allow what is refused".into(),
            mended: None,
        }
    }
}

/// What was found since the agent runs.
#[derive(Debug, Default)]
pub struct DriftLog {
    known: Vec<DriftStatus>,
}

impl DriftLog {
    /// Takes in all that is found at one time, and tells what is new. Whether anything is.
    fn take_in(&mut self, findings: &[Finding]) -> bool {
        let mut is_news = false;
        for known in self.known.iter_mut().filter(|known| known.until.is_none()) {
            if !findings.iter().any(|finding| finding.of == known.of) {
                let DriftStatus {
                    of, problem, since, ..
                } = known;
                log::info!("{of}: ended: {problem}, since {since}");
                known.until = Some(now());
                is_news = true;
            }
        }
        for finding in findings {
            is_news |= self.note(finding);
        }
        while self.known.len() > KNOWN
            && let Some(oldest) = self.known.iter().position(|known| known.until.is_some())
        {
            self.known.remove(oldest);
        }
        is_news
    }

    /// Whether `finding` is news.
    fn note(&mut self, finding: &Finding) -> bool {
        let Finding {
            of,
            problem,
            mended,
        } = finding;
        let place = self.known.iter().position(|known| known.of == *of);
        let before = place.map(|place| self.known.remove(place));
        let lasting = before.as_ref().filter(|before| before.until.is_none());
        let is_news = mended.is_some() || lasting.is_none_or(|known| known.problem != *problem);
        match mended {
            Some(mended) => log::warn!("{of}: {problem}; {mended}"),
            None if is_news => log::error!("{of}: {problem}"),
            None => {}
        }
        let now = now();
        let times = before.as_ref().map_or(0, |before| before.times);
        self.known.push(DriftStatus {
            of: of.clone(),
            problem: problem.clone(),
            since: lasting.map_or_else(|| now.clone(), |known| known.since.clone()),
            until: mended.is_some().then_some(now),
            mended: mended.clone(),
            times: times + u64::from(lasting.is_none()),
        });
        is_news
    }

    /// All that is known, what lasts included.
    pub fn status(&self) -> Vec<DriftStatus> {
        self.known.clone()
    }
}

impl Agent {
    /// Looks whether hooks, pins, tables and neighbours are as they were, and mends what
    /// can be. Whether anything came or went, so that the mode has to be proven again.
    pub fn tend_hooks(&self) -> bool {
        let kernel = self.kernel.borrow();
        let Some(kernel) = kernel.as_ref() else {
            return false;
        };
        let of_watch = kernel.tend_watch(&self.attach);
        if !of_watch.is_empty() {
            self.watch.expect_lost();
        }
        let lapses = kernel.tend(&self.attach).into_iter().chain(of_watch);
        let lapses = lapses.map(Finding::from);
        let neighbours = kernel.neighbours(&self.attach);
        let behind = neighbours.iter().filter(|neighbour| neighbour.after_ours);
        let mut findings: Vec<_> = lapses.chain(behind.map(Finding::from)).collect();
        findings.extend(self.altered().map(|problem| Finding {
            of: "policy".into(),
            problem,
            mended: None,
        }));
        let is_news = self.drift.borrow_mut().take_in(&findings);
        if is_news {
            self.tell_systemd();
        }
        is_news
    }

    /// Why what is in force is not what this agent put there.
    pub(super) fn altered(&self) -> Option<String> {
        let altered = self.tables.borrow().altered()?;
        Some(format!(
            "{altered}: somebody wrote the maps; `portreeve reload` puts the policy in force again"
        ))
    }

    /// Remembers the result of a self-test, and tells when it is another than before.
    pub(super) fn note_proof(&self, problem: Option<String>) -> SelftestStatus {
        let at = now();
        let before = self.selftest.borrow_mut().take();
        let failed = before.as_ref().filter(|before| !before.ok);
        let failing_since = failed.and_then(|before| before.failing_since.clone());
        let known = failed.and_then(|before| before.problem.as_ref());
        // Of the first one whoever starts the agent tells.
        let is_news = before.is_some() && known != problem.as_ref();
        match (&problem, &failing_since) {
            (Some(problem), _) if is_news => log::error!("the self-test failed: {problem}"),
            (None, Some(since)) => {
                log::info!("the self-test succeeds again; it failed since {since}");
            }
            _ => {}
        }
        let status = SelftestStatus {
            failing_since: problem
                .is_some()
                .then(|| failing_since.unwrap_or_else(|| at.clone())),
            at,
            ok: problem.is_none(),
            problem,
        };
        *self.selftest.borrow_mut() = Some(status.clone());
        if is_news {
            self.tell_systemd();
        }
        status
    }

    /// Tells systemd in a line how things are. Without it there is nobody to tell.
    pub(super) fn tell_systemd(&self) {
        let selftest = self.selftest.borrow();
        let drift = self.drift.borrow();
        let lasts = drift.known.iter().find(|known| known.until.is_none());
        let status = match (selftest.as_ref(), lasts) {
            (
                Some(SelftestStatus {
                    ok: false,
                    problem,
                    failing_since,
                    ..
                }),
                _,
            ) => format!(
                "NOT PROVEN since {}: {}",
                failing_since.as_deref().unwrap_or("the start"),
                problem.as_deref().unwrap_or("no reason known")
            ),
            (_, Some(DriftStatus { of, problem, .. })) => {
                format!("the mode asked for is proven, but {of}: {problem}")
            }
            (_, None) => "the mode asked for is proven".to_owned(),
        };
        // It is one line to systemd.
        let status = status.replace('\n', " ");
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Status(&status)]) {
            log::debug!("systemd could not be told: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(of: &str, problem: &str, mended: Option<&str>) -> Finding {
        Finding {
            of: of.into(),
            problem: problem.into(),
            mended: mended.map(str::to_owned),
        }
    }

    fn shown(log: &DriftLog) -> Vec<(String, bool, u64)> {
        let known = log.known.iter();
        known
            .map(|known| (known.of.clone(), known.until.is_none(), known.times))
            .collect()
    }

    #[test]
    fn what_lasts_is_told_once_and_what_ends_too() {
        let mut log = DriftLog::default();
        assert!(!log.take_in(&[]));
        let gone = finding("cgroup", "gone", None);
        assert!(log.take_in(std::slice::from_ref(&gone)));
        let since = log.known[0].since.clone();
        assert!(!log.take_in(std::slice::from_ref(&gone)));
        // The problem may become another one.
        assert!(log.take_in(&[finding("cgroup", "very gone", None)]));
        assert_eq!(log.known[0].since, since);
        assert_eq!(shown(&log), [("cgroup".into(), true, 1)]);
        assert!(log.take_in(&[]));
        assert_eq!(shown(&log), [("cgroup".into(), false, 1)]);
        assert!(!log.take_in(&[]));
        assert!(log.take_in(&[gone]));
        assert_eq!(shown(&log), [("cgroup".into(), true, 2)]);
    }

    #[test]
    fn what_is_mended_is_news_each_time() {
        let mut log = DriftLog::default();
        let mended = [finding("hook", "detached", Some("attached"))];
        for times in 1..4 {
            assert!(log.take_in(&mended));
            assert_eq!(shown(&log), [("hook".into(), false, times)]);
        }
        // What could not be mended at first counts once.
        assert!(log.take_in(&[finding("hook", "detached: no", None)]));
        assert!(log.take_in(&mended));
        assert_eq!(shown(&log), [("hook".into(), false, 4)]);
        assert_eq!(log.known[0].mended.as_deref(), Some("attached"));
    }

    #[test]
    fn what_is_over_is_forgotten_some_day_and_what_lasts_is_not() {
        let mut log = DriftLog::default();
        let lasts = finding("cgroup", "gone", None);
        for number in 0..3 * KNOWN {
            log.take_in(&[lasts.clone(), finding(&number.to_string(), "came", None)]);
        }
        log.take_in(std::slice::from_ref(&lasts));
        assert_eq!(log.known.len(), KNOWN);
        let lasting: Vec<_> = shown(&log).into_iter().filter(|known| known.1).collect();
        assert_eq!(lasting, [("cgroup".into(), true, 1)]);
    }
}
