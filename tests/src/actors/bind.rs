//! The binder: one process, its binds, and their errnos.

use std::{io, io::Read as _, process, thread};

use anyhow::{Context as _, Result, anyhow};
use nix::libc;

use super::{
    become_caller::{become_caller, join, join_as_thread, name_thread},
    child, socket,
};
use crate::harness::request::{Answer, Task, Thread};

/// Does the task, says the answer, and holds the sockets.
pub fn perform(task: Task) -> Result<()> {
    become_caller(&task.caller)?;
    match task.caller.thread.clone() {
        Thread::Leader => bind_and_hold(&task),
        Thread::Named(name) => thread::spawn(move || {
            name_thread(&name)?;
            bind_and_hold(&task)
        })
        .join()
        .map_err(|_| anyhow!("the thread panicked"))?,
        Thread::Survivor(name) => {
            thread::spawn(move || {
                if let Err(error) = survive(&name, &task) {
                    eprintln!("{error:#}");
                    process::exit(1);
                }
                process::exit(0);
            });
            // SAFETY: ends this thread and nothing else; what it owns stays.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
            unreachable!("a thread does not return from its end")
        }
    }
}

/// Binds when the leader is a zombie.
fn survive(name: &str, task: &Task) -> Result<()> {
    name_thread(name)?;
    let stat = format!("/proc/self/task/{}/stat", process::id());
    loop {
        let state = std::fs::read_to_string(&stat).context("the leader's state")?;
        if state
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'))
        {
            break;
        }
        thread::yield_now();
    }
    bind_and_hold(task)
}

fn bind_and_hold(task: &Task) -> Result<()> {
    if let Some(cgroup) = &task.caller.thread_cgroup {
        join_as_thread(cgroup)?;
    }
    let mut held = Vec::new();
    let mut errnos = Vec::new();
    for want in &task.wants {
        let socket = match held.pop_if(|_| task.one_socket) {
            Some(socket) => socket,
            None if want.of_child => child::socket_of_child(|| socket::open(want))?,
            None => socket::open(want)?,
        };
        if let Some(cgroup) = &want.from {
            join(cgroup)?;
        }
        errnos.push(match socket::bind(&socket, want) {
            Ok(()) => 0,
            Err(errno) => errno as i32,
        });
        held.push(socket);
    }
    let answer = Answer {
        pid: process::id(),
        errnos,
    };
    println!("{}", serde_json::to_string(&answer)?);
    // Until it is closed, whoever asked can look at this process.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
