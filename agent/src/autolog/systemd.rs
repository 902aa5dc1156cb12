//! Procedures as services of a systemd, asked over D-Bus.
//!
//! A call that starts or stops a unit answers with a job. The job's end is only the first
//! word: of a service of type simple that dies at once it is "done", and so it is of a unit
//! whose condition isn't met. So the unit itself is looked at when its job is over.

use std::{
    cell::RefCell,
    collections::HashMap,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{sleep, timeout};
use zbus::{
    Connection, DynamicType, Message, OwnedObjectPath, OwnedVariant, Type, Variant,
    connection::Builder,
};

use super::procedures::{GRACE, KILLED, Procedures, Trouble};
use crate::{config::Bus, policy::autolog::Runs};

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";
const SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
/// What the bus says where nobody has systemd's name.
const NOBODY: &str = "org.freedesktop.DBus.Error.ServiceUnknown";
/// A job takes the place of others of the unit.
const REPLACE: &str = "replace";

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(25);
/// How often a job is looked at, at first and later.
const STEPS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A systemd. The connection is made when it is needed, and again when it broke.
pub struct Systemd {
    bus: Bus,
    connection: RefCell<Option<Connection>>,
}

/// A unit, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit {
    path: OwnedObjectPath,
    exists: bool,
    active: String,
    /// The number of the job that is under way, or 0.
    job: u32,
}

/// What in a service's own settings works against its supervision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether there is such a unit.
    pub exists: bool,
    /// `Restart=`.
    pub restart: String,
    /// `Slice=`.
    pub slice: String,
    /// The socket units that start it.
    pub sockets: Vec<String>,
}

impl Systemd {
    /// The one on `bus`.
    pub const fn new(bus: Bus) -> Self {
        Self {
            bus,
            connection: RefCell::new(None),
        }
    }

    async fn connection(&self) -> Result<Connection, Trouble> {
        let known = self.connection.borrow().clone();
        if let Some(connection) = known {
            return Ok(connection);
        }
        let builder = match &self.bus {
            Bus::System => Builder::system(),
            Bus::User => Builder::session(),
            Bus::Address(address) => Builder::address(address.as_str()),
        };
        let connecting = async { builder.build().await };
        let connected = match timeout(PATIENCE, connecting).await {
            Ok(connected) => connected.map_err(|error| unreachable(error.to_string()))?,
            Err(_) => return Err(unreachable("no answer from the bus".to_owned())),
        };
        *self.connection.borrow_mut() = Some(connected.clone());
        Ok(connected)
    }

    async fn call<B: Serialize + DynamicType>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, Trouble> {
        let connection = self.connection().await?;
        let asked = connection.call_method(Some(SERVICE), path, Some(interface), method, body);
        let trouble = match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(zbus::Error::MethodError(name, why, _))) if name.as_str() != NOBODY => {
                let why = why.unwrap_or_else(|| name.to_string());
                return Err(match name.as_str() {
                    NO_SUCH_UNIT => Trouble::NoUnit(why),
                    _ => refused(why),
                });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer to {method} within {} s", PATIENCE.as_secs()),
        };
        // The next call connects anew.
        self.connection.borrow_mut().take();
        Err(unreachable(trouble))
    }

    async fn ask<B, T>(&self, method: &str, body: &B) -> Result<T, Trouble>
    where
        B: Serialize + DynamicType,
        T: DeserializeOwned + Type,
    {
        let answer = self.call(MANAGER, MANAGER_INTERFACE, method, body).await?;
        read(&answer)
    }

    /// All properties that `interface` has of the unit at `path`.
    async fn properties(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
    ) -> Result<Properties, Trouble> {
        let body = (interface,);
        let answer = self.call(path.as_str(), PROPERTIES, "GetAll", &body);
        read(&answer.await?)
    }

    async fn unit(&self, name: &str) -> Result<Unit, Trouble> {
        // Reads it from the disk, if it isn't known yet.
        let path: OwnedObjectPath = self.ask("LoadUnit", &(name,)).await?;
        let properties = self.properties(&path, UNIT_INTERFACE).await?;
        Ok(Unit {
            exists: text(&properties, "LoadState") != "not-found",
            active: text(&properties, "ActiveState"),
            job: job(&properties),
            path,
        })
    }

    /// Whether there is a process in the unit's cgroup, whatever its state is: one that
    /// failed may have left some, and those of `KillMode=process` outlive it.
    async fn has_processes(&self, name: &str) -> Result<bool, Trouble> {
        let processes: Vec<(String, u32, String)> =
            match self.ask("GetUnitProcesses", &(name,)).await {
                Err(Trouble::NoUnit(_)) => return Ok(false),
                processes => processes?,
            };
        Ok(!processes.is_empty())
    }

    /// Waits until no job is under way for the unit; at most so long, if that is said.
    async fn wait(&self, name: &str, most: Option<Duration>) -> Result<Unit, Trouble> {
        let began = Instant::now();
        let (mut step, longest) = STEPS;
        loop {
            let unit = self.unit(name).await?;
            let is_late = most.is_some_and(|most| began.elapsed() > most);
            if unit.job == 0 || is_late {
                return Ok(unit);
            }
            sleep(step).await;
            step = (step * 2).min(longest);
        }
    }

    async fn start_command(&self, name: &str, words: &[String]) -> Result<(), Trouble> {
        let program = words.first().map(String::as_str).unwrap_or_default();
        // Neither `$` nor `%` means anything: the words are the command's own.
        let command = vec![(program, words, vec!["no-env-expand"])];
        let properties: Vec<(&str, Variant<'_>)> = vec![
            (
                "Description",
                Variant::from("procedure of portreeve's AUTOLOG"),
            ),
            ("CollectMode", Variant::from("inactive-or-failed")),
            ("Type", Variant::from("exec")),
            ("ExecStartEx", Variant::from(command)),
        ];
        let others: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let body = (name, REPLACE, properties, others);
        let _: OwnedObjectPath = self.ask("StartTransientUnit", &body).await?;
        Ok(())
    }

    /// What `name` says of itself that works against its supervision.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if it can't be told.
    pub async fn settings(&self, name: &str) -> Result<Settings, Trouble> {
        let unit = self.unit(name).await?;
        if !unit.exists {
            return Ok(Settings::default());
        }
        let own = self.properties(&unit.path, UNIT_INTERFACE).await?;
        let service = self.properties(&unit.path, SERVICE_INTERFACE).await?;
        let by = texts(&own, "TriggeredBy").into_iter();
        Ok(Settings {
            exists: true,
            restart: text(&service, "Restart"),
            slice: text(&service, "Slice"),
            sockets: by.filter(|name| name.ends_with(".socket")).collect(),
        })
    }
}

impl Procedures for Systemd {
    async fn is_active(&self, name: &str) -> Result<bool, Trouble> {
        let unit = match self.unit(name).await {
            Err(Trouble::NoUnit(_)) => return Ok(false),
            unit => unit?,
        };
        let is_down = matches!(unit.active.as_str(), "inactive" | "failed");
        Ok(!is_down || self.has_processes(name).await?)
    }

    async fn start(&self, runs: &Runs) -> Result<(), Trouble> {
        let name = runs.unit();
        // What has failed too often isn't started any more; here it is the pass that is slow.
        let reset: Result<(), Trouble> = self.ask("ResetFailedUnit", &(name,)).await;
        if let Err(trouble @ Trouble::Unreachable { .. }) = reset {
            return Err(trouble);
        }
        match runs {
            Runs::Unit { name } => {
                if !self.unit(name).await?.exists {
                    let why = format!("the unit {name} does not exist");
                    return Err(Trouble::NoUnit(why));
                }
                let _: OwnedObjectPath = self.ask("StartUnit", &(name, REPLACE)).await?;
            }
            Runs::Command { name, words } => self.start_command(name, words).await?,
        }
        let unit = self.wait(name, None).await?;
        match unit.active.as_str() {
            "active" | "activating" | "reloading" => Ok(()),
            _ if !unit.exists => Err(Trouble::NotUp("it has ended".to_owned())),
            state => {
                let service = self.properties(&unit.path, SERVICE_INTERFACE).await;
                let result = service.map(|service| text(&service, "Result"));
                Err(Trouble::NotUp(match result {
                    Ok(result) => format!("it is {state}, with result {result}"),
                    Err(_) => format!("it is {state}"),
                }))
            }
        }
    }

    async fn cancel(&self, name: &str) -> Result<(), Trouble> {
        let stopped: Result<OwnedObjectPath, Trouble> =
            self.ask("StopUnit", &(name, REPLACE)).await;
        match stopped {
            Err(Trouble::NoUnit(_)) => return Ok(()),
            stopped => stopped.map(drop)?,
        }
        self.wait(name, Some(GRACE)).await?;
        if !self.is_active(name).await? {
            return Ok(());
        }
        let kill = nix::libc::SIGKILL;
        let killed: Result<(), Trouble> = self.ask("KillUnit", &(name, "all", kill)).await;
        match killed {
            // It was gone just before.
            Err(Trouble::NoUnit(_) | Trouble::Refused { .. }) | Ok(()) => {}
            Err(trouble) => return Err(trouble),
        }
        match self.ends_within(name, KILLED).await? {
            true => Ok(()),
            false => Err(Trouble::NotDown),
        }
    }
}

const fn unreachable(why: String) -> Trouble {
    Trouble::Unreachable {
        who: "systemd",
        why,
    }
}

const fn refused(why: String) -> Trouble {
    Trouble::Refused {
        who: "systemd",
        why,
    }
}

fn read<T: DeserializeOwned + Type>(answer: &Message) -> Result<T, Trouble> {
    let body = answer.body();
    let read = body.deserialize();
    read.map_err(|error| refused(format!("what isn't understood: {error}")))
}

type Properties = HashMap<String, OwnedVariant>;

fn text(properties: &Properties, name: &str) -> String {
    match properties.get(name).map(|value| &**value) {
        Some(Variant::Str(text)) => text.as_str().to_owned(),
        _ => String::new(),
    }
}

fn texts(properties: &Properties, name: &str) -> Vec<String> {
    let Some(Variant::Array(list)) = properties.get(name).map(|value| &**value) else {
        return Vec::new();
    };
    let text = |value: &Variant<'_>| match value {
        Variant::Str(text) => Some(text.as_str().to_owned()),
        _ => None,
    };
    list.iter().filter_map(text).collect()
}

/// The number of the unit's job, 0 if it has none.
fn job(properties: &Properties) -> u32 {
    let Some(Variant::Structure(job)) = properties.get("Job").map(|value| &**value) else {
        return 0;
    };
    match job.fields().first() {
        Some(Variant::U32(number)) => *number,
        _ => 0,
    }
}
