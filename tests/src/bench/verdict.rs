//! One `bind()`: without programs, with programs that do little, and with ours.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use portreeve_bench::{Case, Row, Unit};
use portreeve_common::abi::{jobs::CgroupKey, names};

use super::{
    Progress,
    baseline::Baseline,
    policies::{Of, RIGHT, config, crowd, features, one_job, servauth, unreserved},
    processors,
    rounds::{Also, Contender, compete},
};
use crate::harness::{
    Agent, Caller, Sandbox,
    map_sets::map_set,
    request::Kind,
    timer::{Drill, Span, Timer},
};

/// Binds in one batch. Of a batch the median counts.
const BATCH: u32 = 200;

const EMPTY: &str = "empty program";
const EMPTY_UDP: &str = "empty program, UDP";
const EMPTY_V6: &str = "empty program, IPv6";
const EMPTY_TWICE: &str = "empty program, two processors";
const FREE: &str = "unreserved port, no reservation";
const FEW: &str = "right job by name, 100 reservations";

/// Where a policy of ours is in force.
struct Place {
    sandbox: Sandbox,
    profile: String,
    config: String,
}

impl Place {
    fn new(profile: String, more: &str) -> Result<Self> {
        Ok(Self {
            sandbox: Sandbox::new()?,
            profile,
            config: config(more),
        })
    }

    fn start(&self) -> Result<Agent<'_>> {
        self.sandbox
            .agent_with(&self.profile, &self.config)?
            .start()
    }
}

/// How a bind is made.
#[derive(Clone, Copy)]
struct How {
    kind: Kind,
    address: IpAddr,
}

const TCP: How = How {
    kind: Kind::Tcp,
    address: IpAddr::V4(Ipv4Addr::LOCALHOST),
};
const UDP: How = How {
    kind: Kind::Udp,
    ..TCP
};
const V6: How = How {
    address: IpAddr::V6(Ipv6Addr::LOCALHOST),
    ..TCP
};

impl How {
    fn drill(self, caller: Caller, of: Of) -> Drill {
        Drill {
            caller: caller.cpu(Some(processors().last)),
            kind: self.kind,
            address: self.address,
            ports: of.ports(),
            span: Span::Bind,
            refused: of == Of::Other,
            forgets: None,
        }
    }
}

/// Everything that competes.
#[derive(Default)]
struct List<'a> {
    contenders: Vec<Contender<'a>>,
}

impl<'a> List<'a> {
    /// What `drill` takes.
    fn add(
        &mut self,
        name: impl Into<String>,
        baseline: Option<&'static str>,
        target: Option<f64>,
        drill: &Drill,
    ) -> Result<()> {
        let name = name.into();
        let mut timer = Timer::start(drill).with_context(|| name.clone())?;
        self.contenders.push(Contender {
            name,
            baseline,
            target,
            also: None,
            measure: Box::new(move || timer.time(BATCH)),
        });
        Ok(())
    }

    /// Compares the last one with another baseline too.
    fn also(&mut self, name: &str, baseline: &'static str, target: f64) {
        if let Some(contender) = self.contenders.last_mut() {
            contender.also = Some(Also {
                name: name.to_owned(),
                baseline,
                target,
            });
        }
    }

    /// What `drill` takes while another processor is at it too.
    fn add_twice(
        &mut self,
        name: impl Into<String>,
        baseline: Option<&'static str>,
        drill: &Drill,
    ) -> Result<()> {
        let other = Drill {
            caller: drill.caller.clone().cpu(Some(processors().first)),
            // A port can be bound by one of them at a time.
            ports: drill.ports.iter().rev().copied().collect(),
            address: Ipv4Addr::new(127, 0, 0, 2).into(),
            ..drill.clone()
        };
        let (mut one, mut two) = (Timer::start(drill)?, Timer::start(&other)?);
        self.contenders.push(Contender {
            name: name.into(),
            baseline,
            target: None,
            also: None,
            measure: Box::new(move || {
                one.begin(BATCH)?;
                two.begin(BATCH)?;
                Ok((one.end(BATCH)? + two.end(BATCH)?) / 2.0)
            }),
        });
        Ok(())
    }
}

/// Measures them all.
pub fn run(rounds: u32, progress: &Progress) -> Result<Vec<Row>> {
    let bare = Sandbox::new()?;
    let empty = Sandbox::new()?;
    let both = Sandbox::new()?;
    let calling = Sandbox::new()?;
    let linear = [1u16, 16, 128].map(|rules| Ok((rules, Sandbox::new()?)));
    let linear: Vec<(u16, Sandbox)> = linear.into_iter().collect::<Result<_>>()?;
    let attached = linear.iter();
    let attached = attached.map(|(rules, sandbox)| Baseline::linear(&sandbox.cgroup, *rules));
    let _linear: Vec<Baseline> = attached.collect::<Result<_>>()?;
    let _empty = Baseline::empty(&empty.cgroup)?;
    let _both = Baseline::empty_on_both(&both.cgroup)?;
    let _calling = Baseline::calling(&calling.cgroup, 8)?;
    let mut list = List::default();
    let named = |sandbox: &Sandbox| sandbox.caller("right");

    let free = |sandbox: &Sandbox, how: How| how.drill(named(sandbox), Of::Free);
    list.add("no program", Some(EMPTY), None, &free(&bare, TCP))?;
    list.add(EMPTY, None, None, &free(&empty, TCP))?;
    list.add(
        "empty program, once more",
        Some(EMPTY),
        None,
        &free(&empty, TCP),
    )?;
    list.add(
        "empty programs before and after",
        Some(EMPTY),
        None,
        &free(&both, TCP),
    )?;
    list.add(
        "program that calls 8 helpers",
        Some(EMPTY),
        None,
        &free(&calling, TCP),
    )?;
    for (rules, sandbox) in &linear {
        let name = match rules {
            1 => "list of 1 rule".to_owned(),
            rules => format!("list of {rules} rules"),
        };
        list.add(name, Some(EMPTY), None, &free(sandbox, TCP))?;
    }
    list.add(EMPTY_UDP, None, None, &free(&empty, UDP))?;
    list.add(EMPTY_V6, None, None, &free(&empty, V6))?;
    list.add_twice(EMPTY_TWICE, None, &free(&empty, TCP))?;

    // By how much is reserved.
    let crowds = [0, 100, 10_000, 130_000].map(|count| Ok((count, Place::new(crowd(count), "")?)));
    let crowds: Vec<(usize, Place)> = crowds.into_iter().collect::<Result<_>>()?;
    let agents = crowds.iter().map(|(_, place)| place.start());
    let _crowds: Vec<Agent<'_>> = agents.collect::<Result<_>>()?;
    for (count, place) in &crowds {
        let name = match count {
            0 => FREE.to_owned(),
            count => format!("unreserved port, {count} reservations"),
        };
        list.add(name, Some(EMPTY), Some(1.02), &free(&place.sandbox, TCP))?;
        if *count == 130_000 {
            list.also("unreserved port, 130000 reservations to none", FREE, 1.02);
        }
    }
    for (count, place) in &crowds[1..] {
        let drill = TCP.drill(named(&place.sandbox), Of::Crowd);
        let name = format!("right job by name, {count} reservations");
        list.add(name, Some(EMPTY), Some(1.08), &drill)?;
        if *count == 130_000 {
            list.also("right job by name, 130000 reservations to 100", FEW, 1.02);
        }
    }

    // By what an entry asks.
    let some = Place::new(features(), &servauth())?;
    let _some = some.start()?;
    let drill = |how: How, of: Of| how.drill(named(&some.sandbox), of);
    for (name, of, target) in [
        ("right job by name", Of::Job, Some(1.08)),
        ("wrong job, refused with an event", Of::Other, Some(1.30)),
        ("SAF by user", Of::User, Some(1.12)),
        ("SAF by group", Of::Group, None),
        ("port shared by 16 jobs, the last one", Of::Shared, None),
    ] {
        list.add(name, Some(EMPTY), target, &drill(TCP, of))?;
    }
    let few = Drill {
        ports: Of::Other.ports()[..1].to_vec(),
        ..drill(TCP, Of::Other)
    };
    list.add("wrong job, refused over and over", Some(EMPTY), None, &few)?;
    list.add(
        "unreserved port, UDP",
        Some(EMPTY_UDP),
        Some(1.02),
        &drill(UDP, Of::Free),
    )?;
    list.add(
        "right job by name, UDP",
        Some(EMPTY_UDP),
        Some(1.08),
        &drill(UDP, Of::Job),
    )?;
    list.add(
        "unreserved port, IPv6",
        Some(EMPTY_V6),
        Some(1.02),
        &drill(V6, Of::Free),
    )?;
    list.add(
        "right job by name, IPv6",
        Some(EMPTY_V6),
        Some(1.08),
        &drill(V6, Of::Job),
    )?;
    for (name, of) in [
        ("unreserved port, two processors", Of::Free),
        ("right job by name, two processors", Of::Job),
        ("wrong job, refused, two processors", Of::Other),
    ] {
        list.add_twice(name, Some(EMPTY_TWICE), &drill(TCP, of))?;
    }

    // By what tells a job.
    let cgroups = Place::new(one_job(), "")?;
    let name = format!("{}/service", cgroups.sandbox.cgroup_name());
    let cgroups = Place {
        config: config(&format!("[jobs.{RIGHT}]\ncgroup = \"{name}\"\n")),
        ..cgroups
    };
    let by_cgroup = cgroups.start()?;
    let service = cgroups.sandbox.cgroup_below("service")?;
    let cached = TCP.drill(cgroups.sandbox.caller("server").cgroup(&service), Of::Job);
    list.add("cgroup job, cached", Some(EMPTY), Some(1.12), &cached)?;
    let uncached = Drill {
        forgets: Some(class_of(&by_cgroup, &service)?),
        ..cached
    };
    list.add("cgroup job, not cached", Some(EMPTY), None, &uncached)?;
    let exe = std::env::current_exe()?;
    let files = Place::new(one_job(), &format!("[jobs.{RIGHT}]\nexe = {exe:?}\n"))?;
    let _files = files.start()?;
    let drill = TCP.drill(files.sandbox.caller("server"), Of::Job);
    list.add("exe job", Some(EMPTY), None, &drill)?;

    let others = Place::new(unreserved(), "")?;
    let _others = others.start()?;
    let drill = TCP.drill(named(&others.sandbox), Of::Free);
    list.add(
        "unreserved port, UNRSV with 16 entries",
        Some(EMPTY),
        None,
        &drill,
    )?;

    let audited = Place::new(features(), &servauth())?;
    let audited = Place {
        config: format!(
            "mode = \"audit\"\n{}[events]\nreport = \"all\"\n",
            audited.config
        ),
        ..audited
    };
    let _audited = audited.start()?;
    for (name, of) in [
        ("audit, every bind told: unreserved port", Of::Free),
        ("audit, every bind told: right job", Of::Job),
    ] {
        let drill = TCP.drill(named(&audited.sandbox), of);
        list.add(name, Some(EMPTY), None, &drill)?;
    }

    compete(
        Case::Verdict,
        Unit::Nanoseconds,
        list.contenders,
        rounds,
        progress,
    )
}

/// What `agent` keeps of the cgroup: the table's pin, and the key.
fn class_of(agent: &Agent<'_>, cgroup: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let generation = agent.status()?["generation"].as_u64();
    let key = CgroupKey {
        cgroup: cgroup.metadata()?.ino(),
        generation: u32::try_from(generation.context("no generation")?)?,
        reserved: 0,
    };
    let mut bytes = key.cgroup.to_ne_bytes().to_vec();
    bytes.extend(key.generation.to_ne_bytes());
    bytes.extend(key.reserved.to_ne_bytes());
    Ok((map_set(agent.sandbox)?.join(names::CGROUP_CLASSES), bytes))
}
