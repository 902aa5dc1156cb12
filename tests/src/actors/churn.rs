//! Processes that open, bind, let listen, pass on, inherit and close sockets at random, and
//! are killed in the midst of it.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    process,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sys::{
        socket::{
            SockType as Form, getsockopt,
            sockopt::{AcceptConn, SockType},
        },
        wait::{WaitStatus, wait},
    },
    unistd::pipe,
};

use super::{
    become_caller::become_caller,
    child::fork,
    mail::{fetch, open_mailbox, pass},
    socket,
};
use crate::harness::{
    churn::{Left, Task},
    request::Kind,
    servant::{SocketOption, name},
};

/// Sockets that one of them has open at most.
const MOST: usize = 24;

/// Does it, says what is left, and keeps that until its standard input is closed.
pub fn perform(task: &Task) -> Result<()> {
    become_caller(&task.caller)?;
    let (go, may_go) = pipe()?;
    // What is read of one pipe by one of them is not there for another.
    let (stay, may_stay) = pipe()?;
    let mut held = Some((may_go, may_stay));
    let mut told = Vec::new();
    for number in 0..task.processes {
        let (read, write) = pipe()?;
        fork(|| {
            // Or nobody would ever see that it is closed.
            drop(held.take());
            let done = one(task, number, write, [&go, &stay]);
            if let Err(error) = &done {
                eprintln!("churn {number}: {error:#}");
            }
            i32::from(done.is_err())
        })?;
        told.push(File::from(read));
    }
    // Each says when it is done, so that nobody passes anything on any more.
    for one in &mut told {
        one.read_exact(&mut [0])?;
    }
    let (may_go, may_stay) = held.context("nobody may go on")?;
    File::from(may_go).write_all(&vec![0; told.len()])?;
    let mut bound = 0;
    let mut left = BTreeSet::new();
    for one in &mut told {
        let mut line = String::new();
        BufReader::new(one).read_line(&mut line)?;
        let (count, sockets): (u64, Vec<Left>) = serde_json::from_str(&line)?;
        bound += count;
        left.extend(sockets);
    }
    println!("{}", serde_json::to_string(&(bound, left))?);
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(may_stay);
    for _ in 0..task.processes {
        let status = wait()?;
        ensure!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }
    Ok(())
}

fn one(task: &Task, number: u32, tell: OwnedFd, [go, stay]: [&OwnedFd; 2]) -> Result<()> {
    let mut churner = Churner::new(task, number)?;
    for _ in 0..task.deeds {
        churner.deed()?;
    }
    let (mut tell, mut go) = (File::from(tell), File::from(go.try_clone()?));
    tell.write_all(&[1])?;
    go.read_exact(&mut [0])?;
    churner.take_mail();
    while churner.heirs > 0 {
        churner.bury()?;
    }
    writeln!(
        tell,
        "{}",
        serde_json::to_string(&(churner.bound, churner.left()?))?
    )?;
    // Until nobody wants it to.
    File::from(stay.try_clone()?).read_to_end(&mut Vec::new())?;
    Ok(())
}

struct Churner<'t> {
    task: &'t Task,
    random: u64,
    sockets: Vec<OwnedFd>,
    mailbox: OwnedFd,
    heirs: u32,
    bound: u64,
}

impl<'t> Churner<'t> {
    fn new(task: &'t Task, number: u32) -> Result<Self> {
        let mailbox = open_mailbox(&mailbox_of(task.seed, number))?;
        fcntl(&mailbox, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            task,
            random: task
                .seed
                .wrapping_add(u64::from(number))
                .wrapping_mul(2)
                .wrapping_add(1),
            sockets: Vec::new(),
            mailbox,
            heirs: 0,
            bound: 0,
        })
    }

    /// xorshift64*
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let number = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        number as usize % limit
    }

    fn any(&mut self) -> Option<usize> {
        let count = self.sockets.len();
        (count > 0).then(|| self.below(count))
    }

    fn deed(&mut self) -> Result<()> {
        match self.below(12) {
            _ if self.sockets.len() >= MOST => self.close(),
            0..=3 => self.open()?,
            4 | 5 => self.listen(),
            6 => self.shut_down(),
            7 | 8 => self.close(),
            9 => self.pass_on(),
            10 => self.take_mail(),
            _ => self.leave_to_heir()?,
        }
        Ok(())
    }

    fn open(&mut self) -> Result<()> {
        let kind = match self.below(5) {
            0 | 1 => Kind::Tcp,
            2 if self.task.mptcp => Kind::Mptcp,
            2 | 3 => Kind::Udp,
            _ => Kind::UdpLite,
        };
        let v6 = self.below(3) == 0;
        let socket = socket::open_kind(kind, v6)?;
        if self.below(2) == 0 {
            socket::set(socket.as_raw_fd(), SocketOption::ReusePort, 1)?;
        }
        let address: IpAddr = match (v6, self.below(2)) {
            (false, 0) => Ipv4Addr::LOCALHOST.into(),
            (false, _) => Ipv4Addr::UNSPECIFIED.into(),
            (true, 0) => Ipv6Addr::LOCALHOST.into(),
            (true, _) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let (first, last) = self.task.ports;
        let port = first + self.below(usize::from(last - first) + 1) as u16;
        // Somebody else may have it.
        if socket::bind_to(socket.as_raw_fd(), &name((address, port).into())).is_ok() {
            self.bound += 1;
            self.sockets.push(socket);
        }
        Ok(())
    }

    /// UDP can't, nor can what shares its port with somebody who does.
    fn listen(&mut self) {
        if let Some(index) = self.any() {
            // SAFETY: the call takes two numbers.
            unsafe { libc::listen(self.sockets[index].as_raw_fd(), 4) };
        }
    }

    fn shut_down(&mut self) {
        if let Some(index) = self.any() {
            // SAFETY: the call takes two numbers.
            unsafe { libc::shutdown(self.sockets[index].as_raw_fd(), libc::SHUT_RDWR) };
        }
    }

    fn close(&mut self) {
        if let Some(index) = self.any() {
            self.sockets.swap_remove(index);
        }
    }

    /// Whether it is kept too is left to chance.
    fn pass_on(&mut self) {
        let Some(index) = self.any() else {
            return;
        };
        let to = self.below(self.task.processes as usize) as u32;
        let passed = pass(
            self.sockets[index].as_raw_fd(),
            &mailbox_of(self.task.seed, to),
        );
        if passed.is_ok() && self.below(2) == 0 {
            self.sockets.swap_remove(index);
        }
    }

    fn take_mail(&mut self) {
        while let Ok(socket) = fetch(self.mailbox.as_raw_fd()) {
            self.sockets.push(socket);
        }
    }

    /// A child has all of them too, until it ends: by itself, or killed.
    fn leave_to_heir(&mut self) -> Result<()> {
        let patience = Duration::from_micros(self.below(3000) as u64);
        let is_killed = self.below(2) == 0;
        fork(|| {
            std::thread::sleep(patience);
            if is_killed {
                // SAFETY: the calls take numbers, and it is its own process.
                unsafe { libc::kill(process::id() as i32, libc::SIGKILL) };
            }
            0
        })?;
        self.heirs += 1;
        if self.heirs > 4 {
            self.bury()?;
        }
        Ok(())
    }

    fn bury(&mut self) -> Result<()> {
        wait()?;
        self.heirs -= 1;
        Ok(())
    }

    fn left(&self) -> Result<Vec<Left>> {
        self.sockets.iter().map(left).collect()
    }
}

fn mailbox_of(seed: u64, number: u32) -> String {
    format!("churn-{seed}-{number}")
}

fn left(socket: &OwnedFd) -> Result<Left> {
    let is_stream = getsockopt(socket, SockType)? == Form::Stream;
    let address = socket::address_of(socket.as_raw_fd())?;
    let metadata = File::from(socket.try_clone()?).metadata()?;
    Ok(Left {
        inode: metadata.ino(),
        protocol: if is_stream { "tcp" } else { "udp" }.to_owned(),
        port: address.port(),
        listens: is_stream && getsockopt(socket, AcceptConn)?,
    })
}
