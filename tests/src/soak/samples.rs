//! What an agent takes, looked at again and again.

use std::{
    fmt::{self, Write as _},
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::operations::Life;
use crate::harness::pace::limit;

/// When a resource counts as grown: if the least of the last third exceeds that of the
/// middle third by more than this. What an operation takes and gives back comes and goes
/// by more than a leak; what isn't given back is in the least too.
#[derive(Clone, Copy, Debug)]
struct Tolerance {
    percent: u64,
    more: u64,
}

/// A resource.
struct Resource {
    name: &'static str,
    /// Without, it is only shown.
    tolerance: Option<Tolerance>,
}

const NOTHING: Option<Tolerance> = Some(Tolerance {
    percent: 0,
    more: 0,
});

const RESOURCES: [Resource; 7] = [
    Resource {
        name: "resident memory, KiB",
        // What the allocator keeps depends on the last policies' sizes.
        tolerance: Some(Tolerance {
            percent: 10,
            more: 4096,
        }),
    },
    Resource {
        name: "descriptors",
        tolerance: NOTHING,
    },
    Resource {
        name: "BPF maps held",
        tolerance: NOTHING,
    },
    Resource {
        name: "BPF programs held",
        tolerance: NOTHING,
    },
    Resource {
        name: "pins",
        tolerance: NOTHING,
    },
    Resource {
        name: "files remembered",
        // A change file is one more.
        tolerance: Some(Tolerance {
            percent: 0,
            more: 1,
        }),
    },
    Resource {
        name: "bytes remembered",
        // They are those of the policies in force.
        tolerance: None,
    },
];

/// All that was seen, in the order of [`RESOURCES`].
#[derive(Debug, Default)]
pub struct Samples(Vec<[u64; RESOURCES.len()]>);

impl Samples {
    /// Looks at the agent of `life` when nobody wants anything of it.
    pub fn take(&mut self, life: &mut Life<'_>) -> Result<()> {
        life.leave_alone();
        let pid = life.agent()?.pid();
        // It notices some time later that somebody hung up.
        let few = self.0.iter().map(|sample| sample[1]).min();
        let deadline = Instant::now() + limit(2);
        let mut held = Held::by(pid)?;
        while few.is_some_and(|few| held.descriptors > few) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
            held = Held::by(pid)?;
        }
        let (files, bytes) = contents(&life.sandbox().state())?;
        let (pins, _) = contents(&life.sandbox().bpffs)?;
        self.0.push([
            resident(pid)?,
            held.descriptors,
            held.maps,
            held.programs,
            pins,
            files,
            bytes,
        ]);
        Ok(())
    }

    fn column(&self, resource: usize) -> Vec<u64> {
        self.0.iter().map(|sample| sample[resource]).collect()
    }

    /// What was seen last, in short.
    pub fn last(&self) -> impl fmt::Display {
        self.0.last().map_or_else(String::new, |sample| {
            let [memory, descriptors, ..] = sample;
            format!("{} MiB, {descriptors} descriptors", memory >> 10)
        })
    }

    /// First, least, median, last and highest of each.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let header = ["first", "least", "median", "last", "max"];
        let _ = write!(table, "  {:<22}", "");
        for header in header {
            let _ = write!(table, "{header:>10}");
        }
        table.push('\n');
        for (number, resource) in RESOURCES.iter().enumerate() {
            let column = self.column(number);
            let ends = [column.first(), column.last()].map(|end| end.copied().unwrap_or(0));
            let highest = column.iter().max().copied().unwrap_or(0);
            let _ = write!(table, "  {:<22}", resource.name);
            for value in [ends[0], least(&column), median(&column), ends[1], highest] {
                let _ = write!(table, "{value:>10}");
            }
            table.push('\n');
        }
        table
    }

    /// What grew, in a sentence each, if what may grow by a part may do so by `at_least`
    /// percent.
    pub fn grown(&self, at_least: u64) -> Vec<String> {
        let third = self.0.len() / 3;
        let mut grown = Vec::new();
        for (number, resource) in RESOURCES.iter().enumerate() {
            let (Some(Tolerance { percent, more }), column) =
                (resource.tolerance, self.column(number))
            else {
                continue;
            };
            let percent = if percent == 0 {
                0
            } else {
                percent.max(at_least)
            };
            let middle = least(&column[third..column.len() - third]);
            let last = least(&column[column.len() - third..]);
            if last > middle + middle * percent / 100 + more {
                let name = resource.name;
                grown.push(format!(
                    "{name}: never less than {last} in the last third, than {middle} in the \
                     middle one"
                ));
            }
        }
        grown
    }
}

/// The lowest one; 0 of none.
fn least(values: &[u64]) -> u64 {
    values.iter().min().copied().unwrap_or(0)
}

/// The one in the middle; 0 of none.
fn median(values: &[u64]) -> u64 {
    let mut values = values.to_owned();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// KiB of memory.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|text| text.trim().strip_suffix(" kB"));
    Ok(number.context("no VmRSS")?.parse()?)
}

/// What a process has open.
struct Held {
    descriptors: u64,
    maps: u64,
    programs: u64,
}

impl Held {
    fn by(pid: u32) -> Result<Self> {
        let mut held = Self {
            descriptors: 0,
            maps: 0,
            programs: 0,
        };
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            // One that is closed meanwhile is not held.
            let Ok(info) = fs::read_to_string(entry?.path()) else {
                continue;
            };
            let has = |field: &str| info.lines().any(|line| line.starts_with(field));
            held.descriptors += 1;
            // A link's says its program too.
            held.maps += u64::from(has("map_id:"));
            held.programs += u64::from(has("prog_id:"));
        }
        Ok(held)
    }
}

/// How many files are below a folder, and their bytes.
fn contents(folder: &Path) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let (more, long) = contents(&entry.path())?;
            (files, bytes) = (files + more, bytes + long);
        } else {
            files += 1;
            bytes += entry.metadata()?.len();
        }
    }
    Ok((files, bytes))
}
