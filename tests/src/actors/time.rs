//! The timer: times its binds, in batches.

use std::{
    io::{self, BufRead as _},
    net::SocketAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Instant,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::socket::{Backlog, SockaddrStorage, accept, bind, connect, listen},
};

use super::{become_caller::become_caller, socket};
use crate::harness::{
    neighbour, refusal,
    servant::SocketOption,
    timer::{Batch, Drill, Span},
};

/// Binds before each batch that are not counted: somebody else had the processor.
const WARM_UP: usize = 20;
/// Sockets that are bound one after another before they are closed.
const AT_ONCE: usize = 32;

/// Does the drill as often as each line of input says, and answers with what it took.
pub fn perform(drill: &Drill) -> Result<()> {
    let refusal = refusal();
    become_caller(&drill.caller)?;
    let addresses: Vec<SockaddrStorage> = drill
        .ports
        .iter()
        .map(|port| SocketAddr::new(drill.address, *port).into())
        .collect();
    let forgets = match &drill.forgets {
        Some((pin, key)) => Some((neighbour::open(pin).context("a table")?, key)),
        None => None,
    };
    let overhead = overhead();
    let mut turn = 0;
    for line in io::stdin().lock().lines() {
        let count: usize = line?.trim().parse().context("a count")?;
        let (mut times, mut wrong) = (Vec::new(), 0);
        while times.len() < count + WARM_UP {
            let results = match drill.span {
                Span::Bind => binds(drill, turn, &addresses, &forgets)?,
                span => {
                    let address = &addresses[turn % addresses.len()];
                    vec![match span {
                        Span::Close => close(drill, address)?,
                        Span::Connection | Span::CloseAccepted => connection(drill, address)?,
                        Span::Bind | Span::Life => life(drill, address)?,
                    }]
                }
            };
            turn += results.len();
            for (time, result) in results {
                let is_right = match result {
                    Ok(()) => !drill.refused,
                    Err(errno) => drill.refused && errno == refusal,
                };
                wrong += u32::from(!is_right);
                times.push(time);
            }
        }
        let batch = Batch {
            median: (median(times.split_off(WARM_UP)) - overhead).max(0.0),
            wrong,
        };
        println!("{}", serde_json::to_string(&batch)?);
    }
    Ok(())
}

/// How long one took, in nanoseconds, and how it ended.
type Timed = (f64, Result<(), Errno>);

/// Times binds, one after another, of sockets that are there already: the port of the
/// first is that of the number `first`.
fn binds(
    drill: &Drill,
    first: usize,
    addresses: &[SockaddrStorage],
    forgets: &Option<(OwnedFd, &Vec<u8>)>,
) -> Result<Vec<Timed>> {
    // A port can be bound once; one that is refused as often as one likes.
    let count = if drill.refused {
        AT_ONCE
    } else {
        AT_ONCE.min(addresses.len())
    };
    let open = |_| socket::open_kind(drill.kind, drill.address.is_ipv6());
    let sockets: Vec<OwnedFd> = (0..count).map(open).collect::<Result<_>>()?;
    let mut results = Vec::with_capacity(count);
    for (number, socket) in sockets.iter().enumerate() {
        let address = &addresses[(first + number) % addresses.len()];
        if let Some((table, key)) = forgets {
            neighbour::forget(table, key);
        }
        let began = Instant::now();
        let result = bind(socket.as_raw_fd(), address);
        results.push((began.elapsed().as_nanos() as f64, result));
    }
    Ok(results)
}

/// Times a socket from its beginning to its end.
fn life(drill: &Drill, address: &SockaddrStorage) -> Result<Timed> {
    let began = Instant::now();
    let socket = socket::open_kind(drill.kind, drill.address.is_ipv6())?;
    let result = bind(socket.as_raw_fd(), address);
    drop(socket);
    Ok((began.elapsed().as_nanos() as f64, result))
}

/// Times the close of a socket that is bound.
fn close(drill: &Drill, address: &SockaddrStorage) -> Result<Timed> {
    let socket = socket::open_kind(drill.kind, drill.address.is_ipv6())?;
    let result = bind(socket.as_raw_fd(), address);
    let began = Instant::now();
    drop(socket);
    Ok((began.elapsed().as_nanos() as f64, result))
}

/// Times a connection to a listener, from one's asking to the other's having it, or the
/// other's close.
fn connection(drill: &Drill, address: &SockaddrStorage) -> Result<Timed> {
    let listener = socket::open_kind(drill.kind, drill.address.is_ipv6())?;
    socket::set(listener.as_raw_fd(), SocketOption::ReuseAddress, 1)?;
    let result = bind(listener.as_raw_fd(), address);
    listen(&listener, Backlog::new(8)?)?;
    let client = socket::open_kind(drill.kind, drill.address.is_ipv6())?;
    let began = Instant::now();
    connect(client.as_raw_fd(), address)?;
    let accepted = accept(listener.as_raw_fd())?;
    let took = began.elapsed().as_nanos() as f64;
    // SAFETY: accept has made it, and nobody else has it.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    // Whoever closes first keeps the port busy for a minute.
    drop(client);
    let began = Instant::now();
    drop(accepted);
    let closed = began.elapsed().as_nanos() as f64;
    Ok(match drill.span {
        Span::CloseAccepted => (closed, result),
        _ => (took, result),
    })
}

/// What it takes to look at the clock.
fn overhead() -> f64 {
    let times = (0..1000).map(|_| Instant::now().elapsed().as_nanos() as f64);
    median(times.collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    // Times are whole nanoseconds, and few of them: the middle ones together say more
    // than the one.
    let middle = times.len() * 3 / 8..(times.len() * 5).div_ceil(8);
    let middle = &times[middle];
    middle.iter().sum::<f64>() / middle.len().max(1) as f64
}
