//! The server: answers who it is on a socket that it was handed, or has bound.

use std::{
    env,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
    process,
};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;

use crate::harness::server::{Origin, Server};

/// The first descriptor that is handed over, as sd_listen_fds(3) has it.
const HANDED: RawFd = 3;

/// Serves until it is killed, or once what it was handed is one connection. Ends
/// with the errno if it may not bind.
pub fn perform(origin: &Origin) -> Result<()> {
    let listener = match origin {
        Origin::Bound(port) => match bind(*port) {
            Ok(listener) => listener,
            Err(errno) => {
                eprintln!("port {port}: {errno}");
                process::exit(errno as i32);
            }
        },
        Origin::Handed => {
            let handed = |name: &str| env::var(name).with_context(|| format!("no {name}"));
            ensure!(handed("LISTEN_FDS")? == "1", "not one socket");
            let ours = process::id().to_string();
            ensure!(handed("LISTEN_PID")? == ours, "they are another process's");
            taken(HANDED)?.into()
        }
        Origin::Inherited(fd) => taken(*fd)?.into(),
        Origin::Connected => return answer(taken(0)?.into()),
    };
    // The parent that wants to know, and systemd.
    println!("{}", process::id());
    if let Ok(path) = env::var("NOTIFY_SOCKET") {
        UnixDatagram::unbound()?.send_to(b"READY=1", path)?;
    }
    loop {
        let (connection, _) = listener.accept()?;
        answer(connection)?;
    }
}

fn bind(port: u16) -> Result<TcpListener, Errno> {
    TcpListener::bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

fn taken(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: nothing of this process uses the descriptor; if it isn't open, that
    // is what the call says.
    let handed = unsafe { BorrowedFd::borrow_raw(fd) };
    let is_open = nix::fcntl::fcntl(handed, nix::fcntl::FcntlArg::F_GETFD);
    is_open.with_context(|| format!("descriptor {fd} was not handed over"))?;
    // SAFETY: it is open, and whoever started us left it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn answer(mut connection: TcpStream) -> Result<()> {
    let server = Server::this()?;
    // Whoever asked may be gone.
    let _ = writeln!(connection, "{}", serde_json::to_string(&server)?);
    Ok(())
}
