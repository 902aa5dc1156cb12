//! net-snmp: an SNMP agent that subagents talk to, managers that ask it, and one that is
//! notified.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    Sandbox, command,
    command::Finished,
    pace::{limit, patience},
    peer::Peer,
    tools,
};

/// What `PORTREEVE-MIB` is below unless the config says otherwise.
pub const BASE: &str = ".1.3.6.1.4.1.8072.9999.9999.28786";
/// Where managers ask.
const ASKED: &str = "127.0.0.1:16100";
/// Where notifications go.
const NOTIFIED: &str = "127.0.0.1:16200";
/// `snmpTrapOID.0`, which says what is notified of.
pub const TRAP: &str = ".1.3.6.1.6.3.1.1.4.1.0";
/// `sysDescr.0`, which the SNMP agent answers itself.
pub const DESCRIPTION: &str = ".1.3.6.1.2.1.1.1.0";
/// Seconds that the SNMP agent waits for a subagent, and how often it asks again.
const PATIENCE: [u32; 2] = [1, 1];

/// A program of net-snmp that finds nothing of this machine's.
fn tool(name: &str, folder: &Path) -> Result<Command> {
    let mut tool = Command::new(tools::program(name)?);
    tool.env("MIBS", "")
        .env("SNMPCONFPATH", folder)
        .env("SNMP_PERSISTENT_DIR", folder);
    Ok(tool)
}

/// The SNMP agent of the host.
pub struct Master {
    program: Peer,
    /// Where subagents find it, as `[snmp] master` says it.
    pub place: String,
    folder: PathBuf,
}

impl Master {
    /// One at a Unix socket.
    pub fn start(s: &Sandbox) -> Result<Self> {
        let socket = s.dir.join("agentx");
        // One that was killed leaves it behind.
        let _ = fs::remove_file(&socket);
        Self::start_at(
            s,
            &socket.to_string_lossy(),
            format!("unix:{}", socket.display()),
        )
    }

    /// One at TCP port `port` of loopback.
    pub fn start_tcp(s: &Sandbox, port: u16) -> Result<Self> {
        let place = format!("tcp:127.0.0.1:{port}");
        Self::start_at(s, &place.clone(), place)
    }

    fn start_at(s: &Sandbox, socket: &str, place: String) -> Result<Self> {
        let folder = s.dir.join("snmpd");
        fs::create_dir_all(&folder)?;
        let [timeout, retries] = PATIENCE;
        let config = format!(
            "master agentx\nagentXSocket {socket}\nagentXTimeout {timeout}\n\
             agentXRetries {retries}\nview portreeve included {BASE}\n\
             view portreeve included .1.3.6.1.2.1.1\nrocommunity public 127.0.0.1 -V portreeve\n\
             rwcommunity private 127.0.0.1\ntrap2sink {NOTIFIED} public\n"
        );
        let file = folder.join("snmpd.conf");
        fs::write(&file, config)?;
        let mut snmpd = tool("snmpd", &folder)?;
        snmpd.args(["-f", "-Lo", "-C", "-c"]).arg(&file).args([
            "-r",
            "-I",
            "-smux,mteTrigger,mteTriggerConf",
            &format!("udp:{ASKED}"),
        ]);
        let log = folder.join("log");
        let mut program = Peer::start(&mut snmpd, log)?;
        program.wait_until("the SNMP agent", |said| said.contains("NET-SNMP version"))?;
        let master = Self {
            program,
            place,
            folder,
        };
        master.wait_for("public", DESCRIPTION, |value| value.starts_with("STRING"))?;
        Ok(master)
    }

    /// Sends it a signal.
    pub fn signal(&self, what: Signal) -> Result<()> {
        self.program.signal(what)
    }

    /// What it has said.
    pub fn said(&self) -> String {
        self.program.said()
    }

    /// Asks it as a manager does, waiting `seconds` for the answer.
    pub fn ask(
        &self,
        program: &str,
        community: &str,
        seconds: u64,
        words: &[&str],
    ) -> Result<Finished> {
        let seconds = limit(seconds).as_secs();
        let mut manager = tool(program, &self.folder)?;
        manager.args(["-v2c", "-On", "-r", "0", "-t", &seconds.to_string(), "-c"]);
        manager.args([community, ASKED]).args(words);
        command::finish_within(&mut manager, limit(120))
    }

    /// The value of the variable `place` of the module, with its type.
    pub fn get(&self, place: &str) -> Result<String> {
        let name = format!("{BASE}.{place}");
        let answer = self.ask("snmpget", "public", 5, &[&name])?.ended_with(0)?;
        let mut values = values(&answer.stdout)?;
        let value = values.remove(&name);
        value.with_context(|| format!("no {name} in {answer:?}"))
    }

    /// All there is below `place` of the module, in the order of the answers.
    pub fn walk(&self, program: &str, place: &str) -> Result<Vec<(String, String)>> {
        let name = format!("{BASE}.{place}");
        let answer = self.ask(program, "public", 5, &[&name])?.ended_with(0)?;
        let own = |name: String| Some(name.strip_prefix(BASE)?.strip_prefix('.')?.to_owned());
        // What isn't below any more, and the end of all there is.
        let is_there = |(_, value): &(String, String)| !value.starts_with("No more variables");
        lines(&answer.stdout)
            .filter(is_there)
            .map(|(name, value)| {
                let name = own(name.clone()).with_context(|| format!("{name} is not below"))?;
                Ok((name, value))
            })
            .collect()
    }

    /// Asks for `name` until `holds` of its value.
    fn wait_for(&self, community: &str, name: &str, holds: impl Fn(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + patience();
        loop {
            let answer = self.ask("snmpget", community, 1, &[name])?;
            if values(&answer.stdout)?
                .get(name)
                .is_some_and(|value| holds(value))
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{name}: {answer:?}\n{}",
                self.said()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until `holds` of the variable `place` of the module.
    pub fn wait_for_value(&self, place: &str, holds: impl Fn(&str) -> bool) -> Result<()> {
        self.wait_for("public", &format!("{BASE}.{place}"), holds)
    }
}

/// Names and values of an answer, in its order; a text may have several lines.
fn lines(answer: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = answer.lines().filter_map(|line| line.split_once(" = "));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
}

fn values(answer: &str) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for (name, value) in lines(answer) {
        ensure!(
            values.insert(name.clone(), value).is_none(),
            "{name} is there twice: {answer}"
        );
    }
    Ok(values)
}

/// A manager that is notified.
pub struct Listener(Peer);

impl Listener {
    /// Starts it.
    pub fn start(s: &Sandbox) -> Result<Self> {
        let folder = s.dir.join("snmptrapd");
        fs::create_dir_all(&folder)?;
        let file = folder.join("snmptrapd.conf");
        fs::write(&file, "authCommunity log public\nformat2 TRAP\\t%v\\n\n")?;
        let mut snmptrapd = tool("snmptrapd", &folder)?;
        snmptrapd.args(["-f", "-Lo", "-On", "-C", "-c"]).arg(&file);
        snmptrapd.arg(format!("udp:{NOTIFIED}"));
        let mut peer = Peer::start(&mut snmptrapd, folder.join("log"))?;
        peer.wait_until("who is notified", |said| said.contains("NET-SNMP version"))?;
        Ok(Self(peer))
    }

    /// The notifications of the module so far: which, and its values by their places.
    pub fn heard(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let said = self.0.said();
        let lines = said.lines().filter_map(|line| line.strip_prefix("TRAP\t"));
        lines
            .filter_map(|line| {
                let values = line.split('\t').filter_map(|pair| pair.split_once(" = "));
                let mut values: BTreeMap<String, String> = values
                    .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                    .collect();
                let what = values.remove(TRAP)?;
                let what = what.strip_prefix(&format!("OID: {BASE}."))?.to_owned();
                let own = |name: &str| Some(name.strip_prefix(BASE)?.strip_prefix('.')?.to_owned());
                let values = values
                    .iter()
                    .filter_map(|(name, value)| Some((own(name)?, value.clone())));
                Some((what, values.collect()))
            })
            .collect()
    }

    /// Waits until notifications `holds`, and returns them.
    pub fn wait_until(
        &self,
        holds: impl Fn(&[(String, BTreeMap<String, String>)]) -> bool,
    ) -> Result<Vec<(String, BTreeMap<String, String>)>> {
        let deadline = Instant::now() + patience();
        loop {
            let heard = self.heard();
            if holds(&heard) {
                return Ok(heard);
            }
            ensure!(
                Instant::now() < deadline,
                "never notified so; heard {heard:?} of\n{}",
                self.0.said()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}
