//! A running agent.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    ptr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    libc,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{
    Sandbox,
    command::{self, Finished},
    host,
    launch::Launch,
    pace::patience,
};

/// Lines of output that are shown of an agent that disappointed.
const SHOWN: usize = 20;

/// An agent that is about to be started.
pub struct Start<'s> {
    sandbox: &'s Sandbox,
    /// How.
    pub launch: Launch,
}

impl<'s> Start<'s> {
    /// On the sandbox's profile and config.
    pub fn new(sandbox: &'s Sandbox) -> Result<Self> {
        let mut arguments = vec!["run".to_owned()];
        arguments.extend(sandbox.places());
        for (option, path) in [
            ("--profile", sandbox.profile()),
            ("--config", sandbox.config()),
        ] {
            arguments.extend([option.to_owned(), path.display().to_string()]);
        }
        let launch = Launch {
            program: host::agent()?.to_owned(),
            arguments,
            ..Launch::default()
        };
        Ok(Self { sandbox, launch })
    }

    /// The agent that was built with another layout of its maps.
    pub fn of_other_layout(mut self) -> Result<Self> {
        self.launch.program = host::other_agent()?;
        Ok(self)
    }

    /// With another argument; of an option given twice the program complains.
    pub fn arg(mut self, argument: &str) -> Self {
        self.launch.arguments.push(argument.to_owned());
        self
    }

    /// With another value for an option that is given already.
    pub fn option(mut self, option: &str, value: &str) -> Self {
        let arguments = &mut self.launch.arguments;
        match arguments.iter().position(|argument| argument == option) {
            Some(at) => value.clone_into(&mut arguments[at + 1]),
            None => arguments.extend([option.to_owned(), value.to_owned()]),
        }
        self
    }

    /// Without an option and its value.
    pub fn without(mut self, option: &str) -> Self {
        let arguments = &mut self.launch.arguments;
        if let Some(at) = arguments.iter().position(|argument| argument == option) {
            arguments.drain(at..at + 2);
        }
        self
    }

    /// Starts it and waits until it says that its mode is proven.
    pub fn start(self) -> Result<Agent<'s>> {
        let agent = self.begin()?;
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Starts it and doesn't wait.
    pub fn begin(self) -> Result<Agent<'s>> {
        let log = self.sandbox.dir.join("agent.log");
        let mut child = self
            .launch
            .command()?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .context("the agent can't be run")?;
        let stdout = child.stdout.take().context("the agent has no output")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                said.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Ok(Agent {
            sandbox: self.sandbox,
            child,
            lines,
            log,
        })
    }

    /// Runs it to an end that is expected to come at once.
    pub fn finish(&self) -> Result<Finished> {
        command::finish(&mut self.launch.command()?)
    }
}

/// An agent's process; killed when dropped.
pub struct Agent<'s> {
    /// Where it is.
    pub sandbox: &'s Sandbox,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    log: PathBuf,
}

impl Agent<'_> {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How many lines of its log have all of these words.
    pub fn logged(&self, words: &[&str]) -> usize {
        let log = self.log();
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        log.lines().filter(has_all).count()
    }

    /// Waits until a line of its log has all of these words.
    pub fn wait_for_log(&self, words: &[&str]) -> Result<()> {
        self.wait_until(&words.join(" ... "), |agent| agent.logged(words) > 0)
    }

    /// Waits until `holds`, or says what it is that never came.
    pub fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + patience();
        while !holds(self) {
            if Instant::now() > deadline {
                let lines = self.stdout();
                let last = &lines[lines.len().saturating_sub(SHOWN)..];
                bail!(
                    "{what} never came\nstdout, {} lines, at the end: {last:?}\nstderr: {}",
                    lines.len(),
                    self.log()
                );
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn wait_until_ready(&self) -> Result<()> {
        let is_ready = |agent: &Self| {
            let lines = agent.stdout();
            lines.iter().any(|line| line.starts_with("ready"))
        };
        let has_ended = |agent: &Self| !Path::new(&format!("/proc/{}/fd/0", agent.pid())).exists();
        self.wait_until("`ready`", |agent| is_ready(agent) || has_ended(agent))?;
        ensure!(
            is_ready(self),
            "the agent ended instead of getting ready:\n{}",
            self.log()
        );
        Ok(())
    }

    /// The line that says it is ready.
    pub fn ready(&self) -> String {
        let lines = self.stdout();
        let ready = lines.into_iter().find(|line| line.starts_with("ready"));
        ready.unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?);
        kill(pid, signal).context("the agent is gone")
    }

    /// Stops it, every thread, until it gets a SIGCONT.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        // The signal is on its way when kill(2) returns.
        self.wait_until("the stop", |agent| {
            let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid()));
            let mut tasks = tasks.into_iter().flatten().flatten();
            tasks.all(|task| {
                let stat = fs::read_to_string(task.path().join("stat"));
                let stat = stat.unwrap_or_default();
                let state = stat.rsplit(") ").next();
                state.is_some_and(|state| state.starts_with('T'))
            })
        })
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> Result<u64> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid()))?;
        Ok(open.count() as u64)
    }

    /// Lets it open no descriptor with a number of `limit` or more.
    pub fn limit_descriptors(&self, limit: u64) -> Result<()> {
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        let pid = i32::try_from(self.pid())?;
        // SAFETY: the kernel reads `limit`, which outlives the call, and writes nothing.
        let done =
            unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, ptr::null_mut()) };
        Errno::result(done).context("no limit can be set")?;
        Ok(())
    }

    /// Processor time that it has used, in its threads, not its children.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let (_, fields) = stat.rsplit_once(") ").context("no stat")?;
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(str::parse::<u64>).sum::<Result<_, _>>()?;
        // The kernel shows them in hundredths of a second, whatever its own are.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// The same in nanoseconds, as the scheduler counts it.
    pub fn processor_nanoseconds(&self) -> Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let stat = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = stat.split(' ').next().context("no schedstat")?;
            sum += first.parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Memory that it has, in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kilobytes.context("no VmRSS")?.parse::<u64>()? * 1024)
    }

    /// Kills it; nothing of it can run any more.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits until it has.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the agent does not end:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its status; fails unless it says that the mode is proven.
    pub fn status(&self) -> Result<Value> {
        self.sandbox
            .portreeve(&["status", "--format", "json"])?
            .ended_with(0)?
            .json()
    }

    /// The register.
    pub fn ports(&self) -> Result<Vec<Value>> {
        let ports = self.sandbox.portreeve(&["ports", "--format", "json"])?;
        let ports = ports.ended_with(0)?.json()?;
        Ok(serde_json::from_value(ports)?)
    }

    /// The events it keeps, oldest first.
    pub fn events(&self) -> Result<Vec<Value>> {
        let events = self.sandbox.portreeve(&["events", "--format", "json"])?;
        let events = events.ended_with(0)?;
        let lines = events.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// Reloads: exit status and answer.
    pub fn reload(&self, arguments: &[&str]) -> Result<(i32, Value)> {
        self.change(&[&["reload"], arguments].concat())
    }

    /// Obeys a change file: exit status and answer.
    pub fn obey(&self, file: &Path, arguments: &[&str]) -> Result<(i32, Value)> {
        let file = file.display().to_string();
        self.change(&[&["obey", file.as_str()], arguments].concat())
    }

    fn change(&self, arguments: &[&str]) -> Result<(i32, Value)> {
        let arguments = [arguments, &["--format", "json"]].concat();
        let done = self.sandbox.portreeve(&arguments)?;
        let code = done.code.context("the verb was killed")?;
        Ok((code, done.json()?))
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
