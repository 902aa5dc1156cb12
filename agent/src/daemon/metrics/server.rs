//! The thread that serves HTTP, and its limits.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    convert::Infallible,
    io,
    rc::Rc,
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net,
    sync::{Notify, oneshot},
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{listener::Listener, observer::Observer, site::Site, snapshot::Asks};
use crate::daemon::worker::Worker;

/// Most connections at a time. When there is another, the oldest for which nothing is
/// worked out has to go; if there is none, the oldest.
const MOST: usize = 64;
/// Longest time for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Most bytes of a request's head, and of what is written at once.
const BUFFER: usize = 16 << 10;
/// Most headers.
const HEADERS: usize = 64;
/// Longest time for a request and its answer.
const LIFETIME: Duration = Duration::from_secs(60);
/// Wait after a connection that could not be accepted.
const RECOVERY: Duration = Duration::from_millis(100);

/// Serves `listener` with what `asks` tells, on a thread of its own.
///
/// # Errors
///
/// See [`Worker::start`].
pub fn start(listener: Listener, asks: Asks) -> io::Result<Worker> {
    Worker::start("metrics", move |stopped| serve(listener, asks, stopped))
}

async fn serve(listener: Listener, asks: Asks, mut stopped: oneshot::Receiver<Infallible>) {
    let connections = Rc::new(Connections::default());
    let local = match &listener {
        Listener::Tcp(_, address) => address.ip().to_canonical().is_loopback(),
        Listener::Unix(..) => false,
    };
    let site = Rc::new(Site::new(Observer::new(asks), local));
    let accepted = async {
        match listener {
            Listener::Tcp(listener, _) => {
                let listener = net::TcpListener::from_std(listener)?;
                loop {
                    accept(listener.accept().await, &connections, &site).await?;
                }
            }
            Listener::Unix(listener, _file) => {
                let listener = net::UnixListener::from_std(listener)?;
                loop {
                    accept(listener.accept().await, &connections, &site).await?;
                }
            }
        }
    };
    let accepted: io::Result<Infallible> = tokio::select! {
        _ = &mut stopped => return,
        failed = accepted => failed,
    };
    let Err(error) = accepted;
    log::error!("metrics can't be served: {error}");
}

/// # Errors
///
/// If the socket listens no more: it was destroyed, as the policy may ask for.
async fn accept<S, A>(
    accepted: io::Result<(S, A)>,
    connections: &Rc<Connections>,
    site: &Rc<Site>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    match accepted {
        Ok((stream, _)) => {
            let connection = connections.admit();
            spawn_local(converse(stream, connection, Rc::clone(site)));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
        Err(error) => {
            // Out of descriptors, most likely: others have to hang up first.
            log::debug!("metrics: {error}");
            connections.hang_up_on_one();
            sleep(RECOVERY).await;
        }
    }
    Ok(())
}

async fn converse<S>(stream: S, connection: Connection, site: Rc<Site>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let answer = |request: hyper::Request<Incoming>| {
        let (site, is_busy) = (Rc::clone(&site), Rc::clone(&connection.is_busy));
        async move {
            is_busy.set(true);
            let response = site.respond(&request).await;
            // Who doesn't read it waits for nobody.
            is_busy.set(false);
            Ok::<_, Infallible>(response)
        }
    };
    // One request each: what isn't read piles up nowhere, and nobody lingers.
    let conversation = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    tokio::select! {
        ended = timeout(LIFETIME, conversation) => if let Ok(Err(error)) = ended {
            log::debug!("metrics: {error}");
        },
        () = connection.has_to_go.notified() => {}
    }
}

/// Who is connected.
#[derive(Default)]
struct Connections {
    all: RefCell<BTreeMap<u64, Entry>>,
    last: Cell<u64>,
}

struct Entry {
    is_busy: Rc<Cell<bool>>,
    has_to_go: Rc<Notify>,
}

impl Connections {
    fn admit(self: &Rc<Self>) -> Connection {
        while self.all.borrow().len() >= MOST {
            self.hang_up_on_one();
        }
        let number = self.last.get() + 1;
        self.last.set(number);
        let connection = Connection {
            connections: Rc::clone(self),
            number,
            is_busy: Rc::default(),
            has_to_go: Rc::default(),
        };
        let entry = Entry {
            is_busy: Rc::clone(&connection.is_busy),
            has_to_go: Rc::clone(&connection.has_to_go),
        };
        self.all.borrow_mut().insert(number, entry);
        connection
    }

    fn hang_up_on_one(&self) {
        let mut all = self.all.borrow_mut();
        let idle = all.iter().find(|(_, entry)| !entry.is_busy.get());
        let number = idle
            .or_else(|| all.iter().next())
            .map(|(number, _)| *number);
        if let Some(entry) = number.and_then(|number| all.remove(&number)) {
            entry.has_to_go.notify_one();
        }
    }
}

/// One of them, as long as it is there.
struct Connection {
    connections: Rc<Connections>,
    number: u64,
    is_busy: Rc<Cell<bool>>,
    has_to_go: Rc<Notify>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.all.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_goes_before_who_is_answered() {
        let connections = Rc::new(Connections::default());
        let all: Vec<Connection> = (0..MOST).map(|_| connections.admit()).collect();
        all[0].is_busy.set(true);
        let is_there = |one: &Connection| connections.all.borrow().contains_key(&one.number);
        let more = connections.admit();
        assert!(is_there(&all[0]) && !is_there(&all[1]) && is_there(&all[2]) && is_there(&more));
        for one in &all {
            one.is_busy.set(true);
        }
        more.is_busy.set(true);
        let last = connections.admit();
        assert!(!is_there(&all[0]) && is_there(&last));
        drop((all, more, last));
        assert!(connections.all.borrow().is_empty());
    }
}
