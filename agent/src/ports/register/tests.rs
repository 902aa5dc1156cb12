use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const TRACKED: u16 = 21;
const OTHER: u16 = 5021;

fn tracked() -> Tracked {
    let ports = PortBits::from_iter([(1, 1023)]);
    Tracked {
        ports: [ports.clone(), ports],
        handed_out: PortBits::from_iter([(32768, 60999)]),
    }
}

fn event(happening: Happening, protocol: Protocol, inode: u64, port: u16) -> Watched {
    Watched {
        time: 7,
        inode,
        cgroup: 1,
        address: [0; 4],
        comm: [u64::from_ne_bytes(*b"ftpd\0\0\0\0"), 0],
        pid: 100,
        uid: 0,
        port,
        family: 2,
        happening: happening as u8,
        protocol: protocol as u8,
        chosen: 1,
        reserved: 0,
    }
}

fn tcp(happening: Happening, inode: u64, port: u16) -> Watched {
    event(happening, Protocol::Tcp, inode, port)
}

fn socket(protocol: Protocol, inode: u64, port: u16, listens: bool) -> Socket {
    Socket {
        protocol,
        address: Ipv4Addr::UNSPECIFIED.into(),
        port,
        connected: false,
        idle: protocol == Protocol::Tcp && !listens,
        uid: 0,
        inode,
        cgroup: None,
    }
}

fn register(events: &[Watched]) -> Register {
    let mut register = Register::default();
    for event in events {
        register.apply(event, &tracked());
    }
    register
}

fn shown(register: &Register) -> Vec<(u64, u16, bool)> {
    let mut shown: Vec<_> = register
        .held
        .iter()
        .map(|(inode, held)| (*inode, held.port.1, held.listens))
        .collect();
    shown.sort_unstable();
    shown
}

/// `CLS-01` to `CLS-03`: what a socket goes through, and which ports changed.
#[test]
fn a_socket_comes_listens_stops_and_goes() {
    use Happening::*;
    let port = (Protocol::Tcp, TRACKED);
    let mut register = Register::default();
    for (happening, left, changed) in [
        (Bound, vec![(9, TRACKED, false)], vec![port]),
        (Listens, vec![(9, TRACKED, true)], vec![port]),
        // The backlog is set anew.
        (Listens, vec![(9, TRACKED, true)], vec![]),
        (Stopped, vec![(9, TRACKED, false)], vec![port]),
        (Listens, vec![(9, TRACKED, true)], vec![port]),
        (Released, vec![], vec![port]),
        // A close tells this behind the end.
        (Stopped, vec![], vec![]),
    ] {
        register.apply(&tcp(happening, 9, TRACKED), &tracked());
        assert_eq!(shown(&register), left, "{happening:?}");
        let found = register.take_changed(9).into_iter();
        let found: Vec<Port> = found
            .inspect(|(_, actor)| assert_eq!(actor.as_ref().map(|actor| actor.pid), Some(100)))
            .map(|(port, _)| port)
            .collect();
        assert_eq!(found, changed, "{happening:?}");
    }
}

#[test]
fn the_end_of_a_listener_that_is_not_tracked_is_the_last_word_of_it() {
    use Happening::*;
    let listens = tcp(Listens, 9, OTHER);
    assert_eq!(shown(&register(&[listens])), [(9, OTHER, true)]);
    assert_eq!(shown(&register(&[listens, tcp(Stopped, 9, OTHER)])), []);
    // Nobody chose it: the kernel takes it back.
    let unchosen = |happening| Watched {
        chosen: 0,
        ..tcp(happening, 9, TRACKED)
    };
    let events = [unchosen(Listens), unchosen(Stopped)];
    assert_eq!(shown(&register(&events)), []);
}

#[test]
fn a_port_that_the_kernel_is_about_to_choose_needs_a_look() {
    let mut register = register(&[tcp(Happening::Listens, 9, 0)]);
    assert_eq!(shown(&register), []);
    assert!(register.needs_look());
    register.begin_look();
    assert!(!register.needs_look());
}

/// Several sockets on one port: it is open as long as one listens.
#[test]
fn each_socket_of_a_port_is_known() {
    use Happening::*;
    let register = register(&[
        tcp(Bound, 9, TRACKED),
        tcp(Bound, 8, TRACKED),
        tcp(Listens, 8, TRACKED),
        event(Bound, Protocol::Udp, 7, TRACKED),
        tcp(Released, 9, TRACKED),
    ]);
    let at = |protocol| {
        let found = register.at((protocol, TRACKED));
        found
            .map(|(inode, held)| (inode, held.listens))
            .collect::<Vec<_>>()
    };
    assert_eq!(at(Protocol::Tcp), [(8, true)]);
    assert_eq!(at(Protocol::Udp), [(7, false)]);
    let (_, held) = register.at((Protocol::Udp, TRACKED)).next().unwrap();
    let binder = held.binder.as_ref().unwrap();
    assert_eq!((binder.pid, binder.at), (100, 7));
}

#[test]
fn what_the_list_says_otherwise_differs() {
    use Difference::*;
    let mut register = register(&[
        tcp(Happening::Bound, 1, TRACKED),
        tcp(Happening::Bound, 2, TRACKED),
        event(Happening::Bound, Protocol::Udp, 3, TRACKED),
        tcp(Happening::Bound, 4, TRACKED),
        tcp(Happening::Listens, 4, TRACKED),
    ]);
    let found = [
        socket(Protocol::Tcp, 1, TRACKED, false),
        // Known as one that doesn't.
        socket(Protocol::Tcp, 2, TRACKED, true),
        socket(Protocol::Tcp, 5, OTHER, true),
        // Neither is told: not tracked, and handed out.
        socket(Protocol::Udp, 6, OTHER, false),
        socket(Protocol::Udp, 7, 40000, false),
        // Nobody can have it open.
        socket(Protocol::Udp, 0, TRACKED, false),
    ];
    let differences = register.compare(&found, &tracked(), true);
    let expected = BTreeSet::from([Unknown(2), Unknown(5), Gone(3), Gone(4)]);
    assert_eq!(differences, expected);
    // What happened since the look began is newer than the list.
    register.begin_look();
    register.apply(&tcp(Happening::Stopped, 4, TRACKED), &tracked());
    assert!(
        !register
            .compare(&found, &tracked(), true)
            .contains(&Gone(4))
    );
    register.end_look();
    register.adopt(&differences, &found);
    let left = [(1, TRACKED, false), (2, TRACKED, true), (5, OTHER, true)];
    assert_eq!(shown(&register), left);
    assert!(register.held[&2].binder.is_some() && register.held[&5].binder.is_none());
    assert!(register.compare(&found, &tracked(), true).is_empty());
}

/// Before Linux 6.8 a list without it says nothing of a socket that is bound and no more.
#[test]
fn who_is_only_bound_is_not_missed_where_the_list_has_no_such() {
    let register = register(&[tcp(Happening::Bound, 1, TRACKED)]);
    assert!(register.compare(&[], &tracked(), false).is_empty());
    let gone = BTreeSet::from([Difference::Gone(1)]);
    assert_eq!(register.compare(&[], &tracked(), true), gone);
}

#[test]
fn ports_that_are_not_tracked_any_more_are_forgotten() {
    let mut register = register(&[
        tcp(Happening::Bound, 1, TRACKED),
        tcp(Happening::Listens, 2, TRACKED),
    ]);
    register.forget_untracked(&Tracked::default());
    assert_eq!(shown(&register), [(2, TRACKED, true)]);
}

/// What a process may do with one of some sockets.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Bind(u64, bool, u16),
    Listen(u64),
    Shutdown(u64),
    Close(u64),
    /// The agent reads what has come.
    Read(usize),
    /// It compares, and again some time later.
    Look,
    /// The ring has no room for what comes next.
    Lose,
}

fn deed() -> impl Strategy<Value = Deed> {
    let inode = 1..6u64;
    let port = prop::sample::select(vec![TRACKED, 22, OTHER]);
    prop_oneof![
        3 => (inode.clone(), any::<bool>(), port).prop_map(|(i, udp, port)| Deed::Bind(i, udp, port)),
        3 => inode.clone().prop_map(Deed::Listen),
        1 => inode.clone().prop_map(Deed::Shutdown),
        2 => inode.prop_map(Deed::Close),
        2 => (0..4usize).prop_map(Deed::Read),
        1 => Just(Deed::Look),
        1 => Just(Deed::Lose),
    ]
}

/// Protocol, port, and whether it listens.
type Simple = (Protocol, u16, bool);

/// The kernel, as simple as can be: sockets, and a queue of what it tells. What it tells of
/// a change comes just before the change or just behind it.
#[derive(Default)]
struct World {
    sockets: BTreeMap<u64, Simple>,
    queue: VecDeque<Watched>,
    loses: bool,
    lost: bool,
    /// A change that was told and is still to be made.
    due: Option<(u64, Option<Simple>)>,
}

impl World {
    fn make_due(&mut self) {
        match self.due.take() {
            Some((inode, Some(socket))) => drop(self.sockets.insert(inode, socket)),
            Some((inode, None)) => drop(self.sockets.remove(&inode)),
            None => {}
        }
    }

    fn tell(
        &mut self,
        happening: Happening,
        inode: u64,
        (protocol, port, _): (Protocol, u16, bool),
    ) {
        let is_told = matches!(happening, Happening::Listens | Happening::Stopped)
            || tracked().has((protocol, port));
        if !is_told {
            return;
        }
        if mem::take(&mut self.loses) {
            self.lost = true;
        } else {
            self.queue
                .push_back(event(happening, protocol, inode, port));
        }
    }

    fn perform(&mut self, deed: Deed) {
        self.make_due();
        match deed {
            Deed::Bind(inode, udp, port) if !self.sockets.contains_key(&inode) => {
                let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
                let socket = (protocol, port, false);
                self.sockets.insert(inode, socket);
                self.tell(Happening::Bound, inode, socket);
            }
            Deed::Listen(inode) => {
                if let Some((Protocol::Tcp, port, false)) = self.sockets.get(&inode).copied() {
                    self.tell(Happening::Listens, inode, (Protocol::Tcp, port, true));
                    self.due = Some((inode, Some((Protocol::Tcp, port, true))));
                }
            }
            Deed::Shutdown(inode) => {
                if let Some((Protocol::Tcp, port, true)) = self.sockets.get(&inode).copied() {
                    self.tell(Happening::Stopped, inode, (Protocol::Tcp, port, true));
                    self.due = Some((inode, Some((Protocol::Tcp, port, false))));
                }
            }
            Deed::Close(inode) => {
                if let Some(socket) = self.sockets.get(&inode).copied() {
                    self.tell(Happening::Released, inode, socket);
                    if socket.2 {
                        self.tell(Happening::Stopped, inode, socket);
                    }
                    self.due = Some((inode, None));
                }
            }
            Deed::Lose => self.loses = true,
            _ => {}
        }
    }

    fn list(&self) -> Vec<Socket> {
        let sockets = self.sockets.iter();
        sockets
            .map(|(inode, (protocol, port, listens))| socket(*protocol, *inode, *port, *listens))
            .collect()
    }

    /// What the register should have.
    fn had(&self) -> Vec<(u64, u16, bool)> {
        let is_watched = |(protocol, port, listens): &(Protocol, u16, bool)| {
            *listens || tracked().has((*protocol, *port))
        };
        let sockets = self.sockets.iter().filter(|(_, socket)| is_watched(socket));
        sockets
            .map(|(inode, (_, port, listens))| (*inode, *port, *listens))
            .collect()
    }
}

proptest! {
    /// Whatever happens in whatever order: in the end the register has what there is; and as
    /// long as nothing was lost, no look finds anything that a second one confirms.
    #[test]
    fn the_register_is_what_there_is(deeds in prop::collection::vec(deed(), 0..60)) {
        let mut world = World::default();
        let mut register = Register::default();
        let mut deeds = deeds.into_iter().peekable();
        let read = |world: &mut World, register: &mut Register, count: usize| {
            for _ in 0..count {
                if let Some(event) = world.queue.pop_front() {
                    register.apply(&event, &tracked());
                }
            }
        };
        while let Some(deed) = deeds.next() {
            match deed {
                Deed::Read(count) => read(&mut world, &mut register, count),
                Deed::Look => {
                    register.begin_look();
                    let first = register.compare(&world.list(), &tracked(), true);
                    // Some time later, whatever was under way is done.
                    if let Some(deed) = deeds.next() {
                        world.perform(deed);
                    }
                    world.make_due();
                    let list = world.list();
                    let come = world.queue.len();
                    read(&mut world, &mut register, come);
                    let second = register.compare(&list, &tracked(), true);
                    let both: BTreeSet<_> = first.intersection(&second).copied().collect();
                    register.end_look();
                    prop_assert!(world.lost || both.is_empty(), "{both:?}");
                    register.adopt(&both, &list);
                }
                deed => world.perform(deed),
            }
        }
        world.make_due();
        let rest = world.queue.len();
        read(&mut world, &mut register, rest);
        if world.lost {
            let differences = register.compare(&world.list(), &tracked(), true);
            register.adopt(&differences, &world.list());
        }
        prop_assert_eq!(shown(&register), world.had());
    }
}
