//! Who binds, and what: said by a test, done by an actor.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::servant::SocketOption;

/// The process that binds. Made by [`Sandbox::caller`](super::Sandbox::caller).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Caller {
    /// Its process name.
    pub name: String,
    /// The job that events say it is, if they say any.
    pub job: Option<String>,
    /// Which of its threads binds.
    pub thread: Thread,
    /// Real, effective and saved user id; root without.
    pub uids: Option<[u32; 3]>,
    /// The cgroup it joins before it makes a socket.
    pub cgroup: PathBuf,
    /// It binds in a network namespace that nobody else is in.
    pub elsewhere: bool,
    /// It is root in a user namespace of its own.
    pub own_users: bool,
    /// The file that it runs; that of the tests without.
    pub exe: Option<PathBuf>,
    /// Real, effective and saved group id; the users' numbers without.
    pub gids: Option<[u32; 3]>,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// The capabilities that it keeps, if it has them, as a set of bits; without,
    /// what its change of users leaves.
    pub capabilities: Option<u64>,
    /// Its network namespace belongs to its own user namespace, and low ports need
    /// no capability there.
    pub own_network: bool,
    /// The threaded cgroup that the thread joins which binds.
    pub thread_cgroup: Option<PathBuf>,
    /// The only processor it runs on.
    pub cpu: Option<usize>,
    /// How far it lets others go first.
    pub nice: i32,
    /// The user who runs the file; root without.
    pub started_by: Option<u32>,
}

/// A thread of a [`Caller`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Thread {
    /// The one that gives the process its name.
    Leader,
    /// Another one, of this name.
    Named(String),
    /// Another one, of this name, when the leader has ended.
    Survivor(String),
}

impl Caller {
    /// The same, being these defined jobs to the policy in force.
    pub fn job(mut self, jobs: &str) -> Self {
        self.job = Some(jobs.to_owned());
        self
    }

    /// The same, whose name is one that a process can't have to the policy in force.
    pub fn no_job(mut self) -> Self {
        self.job = None;
        self
    }

    /// The same with this user as real, effective and saved one.
    pub fn user(self, uid: u32) -> Self {
        self.users(uid, uid, uid)
    }

    /// The same with these real, effective and saved users.
    pub fn users(mut self, real: u32, effective: u32, saved: u32) -> Self {
        self.uids = Some([real, effective, saved]);
        self
    }

    /// The same, binding from a second thread that has named itself.
    pub fn thread(mut self, name: &str) -> Self {
        self.thread = Thread::Named(name.to_owned());
        self
    }

    /// The same, binding from a second thread when the leader has ended.
    pub fn survivor(mut self, name: &str) -> Self {
        self.thread = Thread::Survivor(name.to_owned());
        self
    }

    /// The same in another cgroup.
    pub fn cgroup(mut self, cgroup: impl Into<PathBuf>) -> Self {
        self.cgroup = cgroup.into();
        self
    }

    /// The same in a network namespace of its own.
    pub fn elsewhere(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// The same as root of a user namespace, which to the host is this user.
    pub fn root_of_its_own(self, uid: u32) -> Self {
        let mut caller = self.user(uid);
        caller.own_users = true;
        caller
    }

    /// The same, running `file`, a copy of the tests' own or a script for one.
    pub fn running(mut self, file: impl Into<PathBuf>) -> Self {
        self.exe = Some(file.into());
        self
    }

    /// The same with these real, effective and saved groups.
    pub fn gids(mut self, real: u32, effective: u32, saved: u32) -> Self {
        self.gids = Some([real, effective, saved]);
        self
    }

    /// The same with these supplementary groups.
    pub fn groups(mut self, groups: impl IntoIterator<Item = u32>) -> Self {
        self.groups = groups.into_iter().collect();
        self
    }

    /// The same with these capabilities at most, which a change of users leaves.
    pub fn capabilities(mut self, set: u64) -> Self {
        self.capabilities = Some(set);
        self
    }

    /// The same in a network namespace made by itself, as root of its own.
    pub fn own_network(mut self) -> Self {
        self.own_network = true;
        self
    }

    /// The same, the thread that binds in this threaded cgroup.
    pub fn thread_cgroup(mut self, cgroup: impl Into<PathBuf>) -> Self {
        self.thread_cgroup = Some(cgroup.into());
        self
    }

    /// The same on one processor.
    pub fn cpu(mut self, cpu: Option<usize>) -> Self {
        self.cpu = cpu;
        self
    }

    /// The same, letting others go first.
    pub fn nice(mut self, nice: i32) -> Self {
        self.nice = nice;
        self
    }

    /// The same, its file run by another user; who it is then is up to the file.
    pub fn started_by(mut self, uid: u32) -> Self {
        self.started_by = Some(uid);
        self
    }

    /// Its effective user.
    pub fn uid(&self) -> u32 {
        self.uids.map_or(0, |[_, effective, _]| effective)
    }
}

/// The kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP-Lite.
    UdpLite,
    /// Multipath TCP.
    Mptcp,
    /// DCCP, which has ports of its own.
    Dccp,
    /// SCTP, which has ports of its own.
    Sctp,
    /// Shared memory communications, which begin as TCP.
    Smc,
}

/// How the kernel is asked for a bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Through {
    /// By bind(2).
    #[default]
    Call,
    /// By an `io_uring`, in the call that submits.
    Ring,
    /// By an `io_uring`, in a worker of it.
    RingWorker,
    /// By an `io_uring`, in the thread that polls it.
    RingThread,
}

/// One bind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Want {
    /// Of which socket.
    pub kind: Kind,
    /// The address asked for; its family is the socket's.
    pub address: IpAddr,
    /// The port asked for.
    pub port: u16,
    /// Sets `IPV6_V6ONLY` first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub v6_only: Option<bool>,
    /// Says `AF_UNSPEC` in the address of an IPv4 socket.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_family: bool,
    /// Listens when it is bound.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listens: bool,
    /// The cgroup to which the process moves when it has the socket.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: Option<PathBuf>,
    /// The socket is one of a child that was root in a user and a network namespace
    /// of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub of_child: bool,
    /// Options that the socket gets before the bind, in this order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: Vec<(SocketOption, i32)>,
    /// The way the bind is asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub through: Through,
}

/// What is left out of an actor's argument, whose length has a limit.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// TCP port `port` on 127.0.0.1.
pub fn tcp(port: u16) -> Want {
    Want {
        kind: Kind::Tcp,
        address: Ipv4Addr::LOCALHOST.into(),
        port,
        v6_only: None,
        no_family: false,
        listens: false,
        from: None,
        of_child: false,
        options: Vec::new(),
        through: Through::Call,
    }
}

/// UDP port `port` on 127.0.0.1.
pub fn udp(port: u16) -> Want {
    tcp(port).kind(Kind::Udp)
}

impl Want {
    /// The same of another kind of socket.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same on another address.
    pub fn on(mut self, address: impl Into<IpAddr>) -> Self {
        self.address = address.into();
        self
    }

    /// The same on every address of IPv6, of both families unless `only`.
    pub fn on_any_v6(mut self, only: bool) -> Self {
        self.v6_only = Some(only);
        self.on(std::net::Ipv6Addr::UNSPECIFIED)
    }

    /// The same with `AF_UNSPEC` and 0.0.0.0, which Linux takes for IPv4.
    pub fn without_family(mut self) -> Self {
        self.no_family = true;
        self.on(Ipv4Addr::UNSPECIFIED)
    }

    /// The same, and it listens then.
    pub fn listening(mut self) -> Self {
        self.listens = true;
        self
    }

    /// The same, from this cgroup: the process moves there with the socket.
    pub fn from(mut self, cgroup: impl Into<PathBuf>) -> Self {
        self.from = Some(cgroup.into());
        self
    }

    /// The same with a socket that a child made, as root in namespaces of its own.
    pub fn of_child(mut self) -> Self {
        self.of_child = true;
        self
    }

    /// The same on a socket with one more option.
    pub fn with(mut self, option: SocketOption, value: i32) -> Self {
        self.options.push((option, value));
        self
    }

    /// The same, asked for in another way.
    pub fn through(mut self, through: Through) -> Self {
        self.through = through;
        self
    }

    /// The table that judges it, or the protocol if none does.
    pub fn protocol(&self) -> &'static str {
        match self.kind {
            Kind::Tcp | Kind::Mptcp | Kind::Smc => "tcp",
            Kind::Udp | Kind::UdpLite => "udp",
            Kind::Dccp => "dccp",
            Kind::Sctp => "sctp",
        }
    }

    /// The hook that sees it.
    pub fn hook(&self) -> &'static str {
        match self.address {
            IpAddr::V4(_) => "bind4",
            IpAddr::V6(_) => "bind6",
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} port {} on {}",
            self.kind, self.port, self.address
        )?;
        if self.through != Through::Call {
            write!(formatter, " by {:?}", self.through)?;
        }
        match self.options.as_slice() {
            [] => Ok(()),
            options => write!(formatter, " with {options:?}"),
        }
    }
}

/// What an actor is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    /// Who to be.
    pub caller: Caller,
    /// What to bind, in this order.
    pub wants: Vec<Want>,
    /// On the first one's socket, all of them.
    pub one_socket: bool,
    /// How many microseconds a spinner rests before it begins again.
    pub rest: u64,
}

/// What a binder answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Its process id.
    pub pid: u32,
    /// The errno of each bind, or 0.
    pub errnos: Vec<i32>,
}

/// What a spinner has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Binds that succeeded.
    pub allowed: u64,
    /// Binds that were refused.
    pub refused: u64,
    /// Binds that ended otherwise.
    pub other: u64,
    /// The errno of the last of those.
    pub errno: i32,
}

impl Tally {
    /// All binds.
    pub const fn total(&self) -> u64 {
        self.allowed + self.refused + self.other
    }
}
