//! The agent's end of it.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as StdStream, process::CommandExt as _},
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::UnixStream,
    sync::Mutex,
    time::{sleep, timeout},
};

use super::{Answer, NAME, Request};
use crate::autolog::procedures::Trouble;

/// Who starts commands, as it is called in what is told.
const WHO: &str = "the process that starts commands";
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(25);

/// How long an end may take.
const MOMENT: Duration = Duration::from_millis(100);

/// The process that starts commands, while it runs.
pub struct Starter {
    /// Nothing any more if it has ended.
    socket: Mutex<Option<BufStream<UnixStream>>>,
    /// Where nothing comes until it ends.
    end: Mutex<UnixStream>,
    process: Mutex<Child>,
}

/// One that no event loop knows of yet.
pub struct Begun {
    socket: StdStream,
    end: StdStream,
    process: Child,
}

impl Starter {
    /// Starts it, with all that the calling process may do now.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn begin() -> io::Result<Begun> {
        let (own, its) = StdStream::pair()?;
        let (end, its_end) = StdStream::pair()?;
        own.set_nonblocking(true)?;
        end.set_nonblocking(true)?;
        // The program that runs, whatever has become of its file.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0(NAME)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::from(OwnedFd::from(its_end)))
            .stderr(Stdio::null());
        Ok(Begun {
            process: command.spawn()?,
            socket: own,
            end,
        })
    }

    /// Waits until it has ended. From then on nothing is started or cancelled.
    pub async fn ended(&self) {
        let mut end = self.end.lock().await;
        // It writes nothing there; whatever it is, waiting has an end.
        let _ = end.read(&mut [0]).await;
        *self.socket.lock().await = None;
        // Its files are closed a moment before it can be reaped.
        sleep(MOMENT).await;
        let _ = self.process.lock().await.try_wait();
    }

    /// Starts `words` in the cgroup whose directory is `cgroup`.
    ///
    /// # Errors
    ///
    /// [`Trouble::NotUp`] if the program can't be run.
    pub async fn start(&self, cgroup: &Path, words: &[String]) -> Result<(), Trouble> {
        let request = Request::Start {
            cgroup: directory(cgroup),
            words: words.to_vec(),
        };
        self.ask(&request).await?.map_err(Trouble::NotUp)
    }

    /// Sends SIGTERM to all that is in `cgroup`.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if that can't be done.
    pub async fn terminate(&self, cgroup: &Path) -> Result<(), Trouble> {
        let cgroup = directory(cgroup);
        self.demand(&Request::Terminate { cgroup }).await
    }

    /// Kills all that is in `cgroup`.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if that can't be done.
    pub async fn kill(&self, cgroup: &Path) -> Result<(), Trouble> {
        let cgroup = directory(cgroup);
        self.demand(&Request::Kill { cgroup }).await
    }

    /// Removes `cgroup`, in which nothing is any more.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if that can't be done.
    pub async fn remove(&self, cgroup: &Path) -> Result<(), Trouble> {
        let cgroup = directory(cgroup);
        self.demand(&Request::Remove { cgroup }).await
    }

    async fn demand(&self, request: &Request) -> Result<(), Trouble> {
        let refused = |why| Trouble::Refused { who: WHO, why };
        self.ask(request).await?.map_err(refused)
    }

    async fn ask(&self, request: &Request) -> Result<Answer, Trouble> {
        let mut socket = self.socket.lock().await;
        let unreachable = |why: String| Trouble::Unreachable { who: WHO, why };
        let Some(stream) = socket.as_mut() else {
            let why = "it has ended; start the agent again".to_owned();
            return Err(unreachable(why));
        };
        let asked = timeout(PATIENCE, exchange(stream, request)).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        // What comes late would be taken for the answer to something else.
        answer.map_err(|error| {
            *socket = None;
            unreachable(format!("{error}; start the agent again"))
        })
    }
}

impl Begun {
    /// To be asked from now on by the event loop that runs.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn ready(self) -> io::Result<Starter> {
        let stream = BufStream::new(UnixStream::from_std(self.socket)?);
        Ok(Starter {
            socket: Mutex::new(Some(stream)),
            end: Mutex::new(UnixStream::from_std(self.end)?),
            process: Mutex::new(self.process),
        })
    }
}

async fn exchange(stream: &mut BufStream<UnixStream>, request: &Request) -> io::Result<Answer> {
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = String::new();
    match stream.read_line(&mut answer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(serde_json::from_str(&answer)?),
    }
}

fn directory(cgroup: &Path) -> String {
    cgroup.to_string_lossy().into_owned()
}
