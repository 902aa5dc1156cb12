//! The control socket: root only, bounded in size, number and time.

use std::{
    cell::Cell,
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
    io::{AsyncBufReadExt as _, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Notify,
    task::spawn_local,
    time::timeout,
};

use super::{
    agent::{Agent, reply},
    change::Manner,
    protocol::{MAX_REQUEST, Reply, Request},
};

/// Most clients at once; those who follow events count.
const MAX_CLIENTS: usize = 32;
/// Longest time a client may take to ask, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

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
    let clients = Rc::new(Cell::new(0usize));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("control socket: {error}");
                // Out of descriptors, most likely; others have to hang up first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if clients.get() >= MAX_CLIENTS {
            log::warn!("control socket: more than {MAX_CLIENTS} clients; one was turned away");
            continue;
        }
        clients.set(clients.get() + 1);
        let (agent, detached, clients) =
            (Rc::clone(&agent), Rc::clone(&detached), Rc::clone(&clients));
        spawn_local(async move {
            if let Err(error) = client(stream, &agent).await {
                log::debug!("control socket: {error:#}");
            }
            clients.set(clients.get() - 1);
            if agent.is_detached() {
                detached.notify_one();
            }
        });
    }
}

async fn client(stream: UnixStream, agent: &Agent) -> Result<()> {
    let peer = stream.peer_cred().context("can't tell who the client is")?;
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut bounded = BufReader::new(reader).take(MAX_REQUEST as u64);
    let read = timeout(PATIENCE, bounded.read_line(&mut line)).await;
    match read.context("the client asked nothing")? {
        Ok(_) if line.ends_with('\n') => {}
        Ok(_) | Err(_) => {
            let reply = Reply::Failed(format!(
                "a request is one line of JSON, at most {MAX_REQUEST} bytes"
            ));
            return send(&mut writer, &reply).await;
        }
    }
    // Only now: a reply to a request that wasn't read would be lost.
    if peer.uid() != 0 && peer.uid() != nix::unistd::geteuid().as_raw() {
        let reply = Reply::Failed("only root may talk to the agent; use sudo".into());
        return send(&mut writer, &reply).await;
    }
    let reply = match serde_json::from_str(&line) {
        Err(error) => Reply::Failed(format!(
            "this agent does not understand the request: {error}"
        )),
        Ok(Request::Events { follow }) => {
            agent.catch_up().await;
            agent.take_in_repeats();
            return events(&mut writer, bounded, agent, follow).await;
        }
        Ok(Request::Status {}) => {
            if !agent.is_detached() {
                agent.tend_hooks();
                agent.prove().await;
                agent.tend_pool();
            }
            match agent.status().map(serde_json::to_value) {
                Ok(Ok(status)) => Reply::Done(status),
                Ok(Err(error)) => Reply::Failed(error.to_string()),
                Err(error) => Reply::Failed(error.to_string()),
            }
        }
        Ok(Request::Ports {}) => {
            agent.catch_up().await;
            agent.take_in_repeats();
            reply(&agent.ports())
        }
        Ok(Request::Suggest { since, listeners }) => {
            agent.catch_up().await;
            agent.take_in_repeats();
            agent.suggest(since.as_deref(), listeners)
        }
        Ok(Request::Explain { question }) => agent.explain(&question),
        Ok(Request::Reload {
            dry_run,
            confirm,
            color,
        }) => agent.reload(Manner {
            dry_run,
            confirm: confirm.map(Duration::from_secs),
            color,
        }),
        Ok(Request::Obey {
            file,
            dry_run,
            confirm,
            color,
        }) => {
            let confirm = confirm.map(Duration::from_secs);
            let manner = Manner {
                dry_run,
                confirm,
                color,
            };
            agent.obey(&file, manner)
        }
        Ok(Request::Confirm {}) => agent.confirm(),
        Ok(Request::Detach {}) => {
            agent.catch_up().await;
            agent.detach()
        }
    };
    send(&mut writer, &reply).await
}

async fn send(writer: &mut (impl AsyncWriteExt + Unpin), reply: &Reply) -> Result<()> {
    let mut text = serde_json::to_string(reply)?;
    text.push('\n');
    timeout(PATIENCE, writer.write_all(text.as_bytes()))
        .await
        .context("the client took no answer")??;
    Ok(())
}

/// Sends the events that are kept and, if asked, new ones until the client hangs up.
async fn events(
    writer: &mut (impl AsyncWriteExt + Unpin),
    mut reader: impl AsyncReadExt + Unpin,
    agent: &Agent,
    follow: bool,
) -> Result<()> {
    if !follow {
        let kept = agent.log.borrow().kept();
        for line in kept {
            write_line(writer, &line).await?;
        }
        return Ok(());
    }
    let follower = agent.log.borrow_mut().follow();
    let mut hung_up = [0];
    loop {
        tokio::select! {
            line = follower.next() => write_line(writer, &line).await?,
            read = reader.read(&mut hung_up) => if read? == 0 {
                return Ok(());
            },
        }
    }
}

async fn write_line(writer: &mut (impl AsyncWriteExt + Unpin), line: &str) -> io::Result<()> {
    let line = format!("{line}\n");
    timeout(PATIENCE, writer.write_all(line.as_bytes()))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
