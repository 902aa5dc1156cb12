//! Who is connected to the control socket, and who has to go when there are too many: in
//! every phase so many at most, so that those who are silent or slow keep nobody out.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Most clients that have asked nothing yet, and most that wait for their turn, as long as
/// there are descriptors for them.
const MOST: usize = 256;
/// Fewest, however few descriptors there are.
const LEAST: usize = 4;
/// Most requests that are worked at.
const MOST_SERVED: usize = 64;
/// Most clients that have not read all of their answer.
const MOST_READING: usize = 64;
/// Most clients that follow events.
pub const MOST_FOLLOWERS: usize = 32;
/// Most bytes of answers that nobody has read yet, besides those of one answer.
const MOST_UNREAD: usize = 64 << 20;
/// How often it is told that there are too many clients, at most.
pub const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What a client is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has not asked yet.
    Asks,
    /// It has, and waits for its turn, or for the answer.
    Waits,
    /// It is to read so many bytes.
    Reads(usize),
    /// It follows events.
    Follows,
}

struct Entry {
    pid: Option<i32>,
    phase: Phase,
    /// When it last did something.
    active: Instant,
    hang_up: Rc<Notify>,
}

/// All clients.
pub struct Clients {
    all: RefCell<BTreeMap<u64, Entry>>,
    last: Cell<u64>,
    /// How many may ask, and how many may wait.
    most: Cell<usize>,
    turns: Arc<Semaphore>,
    /// When it was last told that clients were hung up on, and how many were since.
    told: Cell<(Option<Instant>, u64)>,
}

impl Clients {
    /// Nobody yet. Most descriptors are left to the agent's own work.
    pub fn new() -> Self {
        let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
        let quarter = usize::try_from(descriptors / 4).unwrap_or(MOST);
        Self {
            all: RefCell::default(),
            last: Cell::new(0),
            most: Cell::new(quarter.clamp(LEAST, MOST)),
            turns: Arc::new(Semaphore::new(MOST_SERVED)),
            told: Cell::new((None, 0)),
        }
    }

    /// Somebody new, of process `pid`. If there are too many who haven't asked yet,
    /// another one has to go.
    pub fn admit(self: &Rc<Self>, pid: Option<i32>) -> Client {
        while self.count(Phase::Asks) >= self.most.get() {
            self.hang_up_on_who_asks();
        }
        let number = self.last.get() + 1;
        self.last.set(number);
        let client = Client {
            clients: Rc::clone(self),
            number,
            pid,
            hang_up: Rc::default(),
        };
        client.enter(Phase::Asks);
        client
    }

    /// Makes do with half of those who ask: there are no descriptors for more, and the
    /// agent needs some for itself.
    pub fn tighten(&self) {
        let fewer = (self.count(Phase::Asks) / 2).max(LEAST);
        self.most.set(self.most.get().min(fewer));
        while self.count(Phase::Asks) > self.most.get() {
            self.hang_up_on_who_asks();
        }
    }

    fn count(&self, phase: Phase) -> usize {
        let all = self.all.borrow();
        all.values().filter(|entry| entry.phase == phase).count()
    }

    /// The oldest of the process that has most of them: what one program does wrong is no
    /// harm to another.
    fn hang_up_on_who_asks(&self) {
        let victim = {
            let all = self.all.borrow();
            let asking = || all.iter().filter(|(_, entry)| entry.phase == Phase::Asks);
            let mut of_process: HashMap<Option<i32>, usize> = HashMap::new();
            for (_, entry) in asking() {
                *of_process.entry(entry.pid).or_default() += 1;
            }
            let greed = |entry: &Entry| Reverse(of_process.get(&entry.pid).copied());
            asking()
                .min_by_key(|(number, entry)| (greed(entry), **number))
                .map(|(number, _)| *number)
        };
        self.hang_up(victim, "asked nothing");
    }

    /// Whoever has read nothing of his answer for the longest time. Whether there was one.
    fn hang_up_on_who_reads(&self, but: u64) -> bool {
        let victim = {
            let all = self.all.borrow();
            let reading = all.iter().filter(|(number, entry)| {
                matches!(entry.phase, Phase::Reads(_)) && **number != but
            });
            reading
                .min_by_key(|(_, entry)| entry.active)
                .map(|(number, _)| *number)
        };
        self.hang_up(victim, "did not read the answer");
        victim.is_some()
    }

    fn hang_up(&self, victim: Option<u64>, why: &str) {
        let Some(entry) = victim.and_then(|victim| self.all.borrow_mut().remove(&victim)) else {
            return;
        };
        entry.hang_up.notify_one();
        let (told, before) = self.told.get();
        if told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            self.told.set((told, before + 1));
            return;
        }
        self.told.set((Some(Instant::now()), 0));
        let pid = entry
            .pid
            .map_or_else(String::new, |pid| format!(" of process {pid}"));
        let before = match before {
            0 => String::new(),
            before => format!("; {before} more were since it was last told"),
        };
        log::warn!("control socket: too many clients: one{pid} that {why} was hung up on{before}");
    }

    /// How many others than `but` have not read all, and how many bytes that is.
    fn unread(&self, but: u64) -> (usize, usize) {
        let all = self.all.borrow();
        let others = all.iter().filter(|(number, _)| **number != but);
        let unread = others.filter_map(|(_, entry)| match entry.phase {
            Phase::Reads(bytes) => Some(bytes),
            _ => None,
        });
        unread.fold((0, 0), |(clients, all), bytes| (clients + 1, all + bytes))
    }
}

/// One client, as long as it is connected.
pub struct Client {
    clients: Rc<Clients>,
    number: u64,
    pid: Option<i32>,
    hang_up: Rc<Notify>,
}

impl Client {
    fn enter(&self, phase: Phase) {
        let entry = Entry {
            pid: self.pid,
            phase,
            active: Instant::now(),
            hang_up: Rc::clone(&self.hang_up),
        };
        self.clients.all.borrow_mut().insert(self.number, entry);
    }

    /// Comes back when this one has to go.
    pub async fn has_to_go(&self) {
        self.hang_up.notified().await;
    }

    /// It has asked: waits for its turn, which lasts until the answer is made. `None` if
    /// too many wait.
    pub async fn turn(&mut self) -> Option<OwnedSemaphorePermit> {
        if self.clients.count(Phase::Waits) >= self.clients.most.get() {
            return None;
        }
        // Should it have had to go in this very moment, it is in time all the same.
        self.hang_up = Rc::default();
        self.enter(Phase::Waits);
        Arc::clone(&self.clients.turns).acquire_owned().await.ok()
    }

    /// It is to read `bytes`, and has just done something.
    pub fn reads(&self, bytes: usize) {
        self.enter(Phase::Reads(bytes));
        loop {
            let (clients, unread) = self.clients.unread(self.number);
            let is_much = clients >= MOST_READING || unread + bytes > MOST_UNREAD;
            if !is_much || !self.clients.hang_up_on_who_reads(self.number) {
                return;
            }
        }
    }

    /// It wants to follow events. `false` if too many do.
    pub fn follows(&self) -> bool {
        if self.clients.count(Phase::Follows) >= MOST_FOLLOWERS {
            return false;
        }
        self.enter(Phase::Follows);
        true
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.all.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(most: usize) -> Rc<Clients> {
        let clients = Clients::new();
        clients.most.set(most);
        Rc::new(clients)
    }

    fn is_there(client: &Client) -> bool {
        client.clients.all.borrow().contains_key(&client.number)
    }

    #[test]
    fn the_oldest_of_the_greediest_goes() {
        let clients = clients(4);
        let operator = clients.admit(Some(7));
        let mut script = Vec::new();
        for _ in 0..1000 {
            script.push(clients.admit(Some(8)));
        }
        assert!(is_there(&operator));
        let left: Vec<bool> = script.iter().map(is_there).collect();
        assert_eq!(left.iter().filter(|left| **left).count(), 3);
        assert!(left[997..].iter().all(|left| *left));
        drop(script);
        // Of as many processes, the oldest.
        let others: Vec<Client> = (100..104).map(|pid| clients.admit(Some(pid))).collect();
        assert!(!is_there(&operator) && others.iter().all(is_there));
    }

    #[test]
    fn without_descriptors_there_are_fewer() {
        let clients = clients(100);
        let _many: Vec<Client> = (0..100).map(|_| clients.admit(None)).collect();
        clients.tighten();
        assert_eq!(clients.count(Phase::Asks), 50);
        let _more = clients.admit(None);
        assert_eq!(clients.count(Phase::Asks), 50);
        for _ in 0..10 {
            clients.tighten();
        }
        assert_eq!(clients.count(Phase::Asks), LEAST);
    }

    #[test]
    fn who_does_not_read_goes_before_memory_does() {
        let clients = clients(4);
        let first = clients.admit(None);
        first.reads(MOST_UNREAD / 2);
        let second = clients.admit(None);
        second.reads(MOST_UNREAD / 2);
        assert!(is_there(&first) && is_there(&second));
        // The first one reads on.
        first.reads(MOST_UNREAD / 2 - 1);
        let third = clients.admit(None);
        third.reads(2);
        assert!(is_there(&first) && !is_there(&second) && is_there(&third));
        // One answer may be as long as it likes.
        third.reads(2 * MOST_UNREAD);
        assert!(!is_there(&first) && is_there(&third));
    }

    #[test]
    fn so_many_may_not_read_at_most() {
        let clients = clients(4);
        let many = (0..2 * MOST_READING).map(|_| {
            let client = clients.admit(None);
            client.reads(1);
            client
        });
        let many: Vec<Client> = many.collect();
        let left = many.iter().filter(|client| is_there(client)).count();
        assert_eq!(left, MOST_READING);
        assert!(is_there(&many[2 * MOST_READING - 1]));
    }

    #[test]
    fn followers_have_a_limit_of_their_own() {
        let clients = clients(4);
        let follow = || {
            let client = clients.admit(None);
            (client.follows(), client)
        };
        let all: Vec<(bool, Client)> = (0..=MOST_FOLLOWERS).map(|_| follow()).collect();
        let admitted = all.iter().filter(|(admitted, _)| *admitted).count();
        assert_eq!(admitted, MOST_FOLLOWERS);
        drop(all);
        assert!(follow().0);
    }
}
