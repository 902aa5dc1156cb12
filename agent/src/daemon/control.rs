//! The control socket: root only, bounded in size, number and time.

mod clients;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    os::unix::net::UnixStream as StdStream,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt, AsyncWriteExt as _, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, OwnedSemaphorePermit},
    task::{spawn_local, yield_now},
    time::{Instant, sleep, timeout},
};

use self::clients::{Client, Clients, MOST_FOLLOWERS, TOLD_EVERY};
use super::{
    agent::{Agent, reply},
    protocol::{MAX_REQUEST, Reply, Request, handshake},
    reload::Manner,
};

/// Longest time a client may take to ask, or to take a part of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an answer is sent at a time, in bytes.
const PART: usize = 64 * 1024;
/// How much is read, in bytes, and for how long, of what nobody asked to be sent.
const REST: (u64, Duration) = (4 << 20, Duration::from_secs(1));
/// Wait after a connection that could not be accepted.
const RECOVERY: Duration = Duration::from_millis(100);

/// Another agent has the socket.
#[derive(Debug, Error)]
#[error("another agent answers on {}; name another socket with --socket", .0.display())]
pub struct SocketTaken(PathBuf);

/// Makes the socket, for root only.
///
/// # Errors
///
/// If another agent answers there already, or the file system says no.
pub fn listen(path: &Path) -> Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .with_context(|| format!("can't make {}", folder.display()))?;
    }
    if StdStream::connect(path).is_ok() {
        return Err(SocketTaken(path.into()).into());
    }
    match fs::symlink_metadata(path) {
        // Left behind by an agent that was killed.
        Ok(metadata) if std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
            fs::remove_file(path).with_context(|| format!("can't remove {}", path.display()))?;
        }
        Ok(_) => bail!(
            "{} is there and is no socket; name another one with --socket",
            path.display()
        ),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("can't make the socket {}", path.display()))?;
    // Until here others could connect, but not ask: every client's user is checked.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("can't set the mode of {}", path.display()))?;
    Ok(listener)
}

/// Serves clients until the agent ends. `detached` is told when a client has
/// ended enforcement.
pub async fn serve(listener: UnixListener, agent: Rc<Agent>, detached: Rc<Notify>) {
    let clients = Rc::new(Clients::new());
    let mut told: Option<Instant> = None;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: others have to hang up first.
                if told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
                    log::warn!(
                        "control socket: clients have to wait: {error}; if they wait long, raise LimitNOFILE= of the agent's unit"
                    );
                    told = Some(Instant::now());
                }
                clients.tighten();
                sleep(RECOVERY).await;
                continue;
            }
        };
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let client = clients.admit(pid);
        let (agent, detached) = (Rc::clone(&agent), Rc::clone(&detached));
        spawn_local(async move {
            if let Err(error) = session(stream, client, &agent).await {
                log::debug!("control socket: {error:#}");
            }
            if agent.is_detached() {
                detached.notify_one();
            }
        });
        // Whoever has asked already is heard before he could have to go.
        yield_now().await;
    }
}

/// A client's line of communication.
struct Line {
    client: Client,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

async fn session(stream: UnixStream, client: Client, agent: &Agent) -> Result<()> {
    let peer = stream.peer_cred().context("can't tell who the client is")?;
    let (reader, writer) = stream.into_split();
    let mut line = Line {
        client,
        reader: BufReader::new(reader),
        writer,
    };
    let request = match line.request().await? {
        // Only now: a reply to a request that wasn't read would be lost.
        Ok(_) if peer.uid() != 0 && peer.uid() != nix::unistd::geteuid().as_raw() => {
            Err("only root may talk to the agent; use sudo".into())
        }
        Ok(text) => handshake::read(&text),
        Err(why) => Err(why),
    };
    let Some(turn) = line.client.turn().await else {
        let why = "too many requests wait to be answered; try again";
        return line.send(Reply::Failed(why.into())).await;
    };
    match request {
        Err(why) => {
            drop(turn);
            line.send(Reply::Failed(why)).await?;
            line.discard_rest().await;
            Ok(())
        }
        Ok(request) => line.respond(request, turn, agent).await,
    }
}

impl Line {
    /// The line that the client sends, or what to tell it instead.
    async fn request(&mut self) -> Result<Result<Vec<u8>, String>> {
        let mut text = Vec::new();
        let mut bounded = (&mut self.reader).take(MAX_REQUEST as u64);
        let read = tokio::select! {
            // Whoever has asked is answered.
            biased;
            read = timeout(PATIENCE, bounded.read_until(b'\n', &mut text)) => read,
            () = self.client.has_to_go() => {
                return self.leave("the agent has too many clients that ask nothing; this was the oldest");
            }
        };
        match read {
            Err(_) => self.leave(&format!(
                "nothing was asked within {} s",
                PATIENCE.as_secs()
            )),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(_)) if text.ends_with(b"\n") => Ok(Ok(text)),
            Ok(Ok(0)) => bail!("the client asked nothing"),
            Ok(Ok(_)) => Ok(Err(format!(
                "a request is one line of JSON, at most {MAX_REQUEST} bytes"
            ))),
        }
    }

    /// Says why to a client that is hung up on, if it takes it at once.
    fn leave<T>(&self, why: &str) -> Result<T> {
        let told = handshake::answer(&Reply::Failed(why.to_owned()))?;
        let _ = self.writer.try_write(told.as_bytes());
        bail!("{why}")
    }

    /// Answers `request`, whose turn it is. What changes the policy is done without waiting
    /// for anything, so that there is one change at a time.
    async fn respond(
        &mut self,
        request: Request,
        turn: OwnedSemaphorePermit,
        agent: &Agent,
    ) -> Result<()> {
        let reply = match request {
            Request::Events { follow, ports } => {
                agent.catch_up().await;
                agent.take_in_repeats();
                drop(turn);
                return self.events(agent, follow, ports).await;
            }
            Request::Status {} => {
                if !agent.is_detached() {
                    agent.tend_hooks();
                    agent.prove().await;
                    agent.tend_pool();
                }
                figures(agent)
            }
            Request::Figures {} => figures(agent),
            Request::Taken {} => agent.taken(),
            Request::Ports {} => {
                agent.catch_up().await;
                agent.take_in_repeats();
                reply(&agent.ports())
            }
            Request::Watched { look } => {
                drop(turn);
                let sockets = agent.watched(look).await;
                return self.send(sockets).await;
            }
            Request::Expect {} => agent.expectations(),
            Request::Sockets {} => agent.sockets(),
            Request::Suggest { since, listeners } => {
                agent.catch_up().await;
                agent.take_in_repeats();
                agent.suggest(since.as_deref(), listeners)
            }
            Request::Explain { question } => agent.explain(&question),
            Request::Reload {
                dry_run,
                confirm,
                color,
            } => agent.reload(Manner {
                dry_run,
                confirm: confirm.map(Duration::from_secs),
                color,
            }),
            Request::Obey {
                file,
                dry_run,
                confirm,
                color,
            } => {
                let confirm = confirm.map(Duration::from_secs);
                let manner = Manner {
                    dry_run,
                    confirm,
                    color,
                };
                agent.obey(&file, manner)
            }
            Request::Confirm {} => agent.confirm(),
            Request::Procedures {} => reply(&agent.procedures()),
            Request::Procedure { wish, name } => {
                // It takes its time, and others change no policy by it.
                drop(turn);
                let reply = agent.wish(wish, name.as_deref()).await;
                return self.send(reply).await;
            }
            Request::Detach {} => {
                agent.catch_up().await;
                agent.detach()
            }
        };
        drop(turn);
        self.send(reply).await
    }

    async fn send(&mut self, reply: Reply) -> Result<()> {
        let text = handshake::answer(&reply)?;
        // As a value it takes many times the room.
        drop(reply);
        self.write(text.as_bytes()).await
    }

    async fn write(&mut self, text: &[u8]) -> Result<()> {
        let mut left = text.len();
        for part in text.chunks(PART) {
            self.client.reads(left);
            tokio::select! {
                written = timeout(PATIENCE, self.writer.write_all(part)) => {
                    written.context("the client took no answer")??;
                }
                () = self.client.has_to_go() => bail!("the client takes its answer too slowly"),
            }
            left -= part.len();
        }
        Ok(())
    }

    /// Reads on for a while: somebody who is still sending would never read the answer.
    async fn discard_rest(&mut self) {
        let (bytes, time) = REST;
        let _ = self.writer.shutdown().await;
        let mut rest = (&mut self.reader).take(bytes);
        let _ = timeout(time, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }

    /// Sends the events that are kept, or the news of `ports`, and, if asked, new ones until
    /// the client hangs up.
    async fn events(&mut self, agent: &Agent, follow: bool, ports: bool) -> Result<()> {
        if follow && !self.client.follows() {
            let why = format!(
                "{MOST_FOLLOWERS} clients follow the events already, and there can't be more"
            );
            return self.send(Reply::Failed(why)).await;
        }
        let begin = handshake::answer(&Reply::Done(serde_json::Value::Null))?;
        if !follow {
            let kept = match ports {
                true => agent.watch.news.borrow().kept(),
                false => agent.log.borrow().kept(),
            };
            self.write(begin.as_bytes()).await?;
            for line in kept {
                self.write(format!("{line}\n").as_bytes()).await?;
            }
            return Ok(());
        }
        let follower = match ports {
            true => agent.watch.news.borrow_mut().follow(),
            false => agent.log.borrow_mut().follow(),
        };
        write_line(&mut self.writer, begin.trim_end()).await?;
        let mut hung_up = [0];
        loop {
            tokio::select! {
                line = follower.next() => write_line(&mut self.writer, &line).await?,
                read = self.reader.read(&mut hung_up) => if read? == 0 {
                    return Ok(());
                },
            }
        }
    }
}

fn figures(agent: &Agent) -> Reply {
    match agent.status() {
        Ok(status) => reply(&status),
        Err(error) => Reply::Failed(error.to_string()),
    }
}

async fn write_line(writer: &mut OwnedWriteHalf, line: &str) -> io::Result<()> {
    let line = format!("{line}\n");
    timeout(PATIENCE, writer.write_all(line.as_bytes()))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
