//! What a host can do for procedures: whether any are started there, by whom, and where.

use std::{env, fs, path::Path};

use crate::{
    config::{Backend, Bus, Config},
    diagnostics::{Code, Diagnostic, Diagnostics, Span},
    kernel::cgroup::{AttachPoint, CgroupError},
};

/// Set in the environment of every process of a pod.
const POD: &str = "KUBERNETES_SERVICE_HOST";
/// What the cgroup of every pod is below.
const PODS: &str = "kubepods";
/// There if the first process is systemd (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";
/// Where systemd has the units of the system, from the root of the cgroups.
const SYSTEM_SLICE: &str = "/system.slice";
/// Where the agent has the cgroups of commands that it starts itself, from the cgroup that
/// it is attached to.
const OWN_SLICE: &str = "portreeve.slice";

/// What a host can do for procedures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its first process is systemd.
    pub systemd: bool,
    /// We are in a pod, whose start and end are the kubelet's.
    pub pod: bool,
    /// An agent can start commands itself. One that has begun without any can't any more:
    /// it has given up what that takes.
    pub starts: bool,
    /// The cgroup that is enforced on, from the root of the cgroups, or why that can't be
    /// told.
    pub attached: Result<String, String>,
}

impl Host {
    /// The host we run on, for an agent that `starts` commands itself if it has to, and is
    /// attached to `enforced`; without one to the root.
    pub fn own(starts: bool, enforced: Option<&Path>) -> Self {
        let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self {
            systemd: Path::new(SYSTEMD).is_dir(),
            pod: env::var_os(POD).is_some() || cgroup.contains(PODS),
            starts,
            attached: attached(enforced).map_err(|error| error.to_string()),
        }
    }
}

/// The cgroup at `path`, from the root of the cgroups.
fn attached(path: Option<&Path>) -> Result<String, CgroupError> {
    let root = AttachPoint::find(None)?.path;
    let below = path.map_or(Path::new(""), |path| {
        path.strip_prefix(&root).unwrap_or(path)
    });
    Ok(format!("/{}", below.display()))
}

/// Who starts and ends procedures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    /// A systemd, as services.
    #[default]
    Systemd,
    /// The agent, commands only, each in a cgroup of its own.
    Agent,
}

/// The cgroup that procedures have theirs in.
pub(super) fn slice(config: &Config, manager: Manager, host: Option<&Host>) -> String {
    let attached = host.and_then(|host| host.attached.as_deref().ok());
    match (&config.autolog.slice, manager) {
        (Some(slice), _) => slice.clone(),
        (None, Manager::Systemd) => SYSTEM_SLICE.to_owned(),
        (None, Manager::Agent) => {
            let attached = attached.unwrap_or_default().trim_end_matches('/');
            format!("{attached}/{OWN_SLICE}")
        }
    }
}

/// Who starts procedures on `host`; on one of which nothing is known, systemd.
pub(super) fn manager(config: &Config, host: Option<&Host>) -> Manager {
    match host {
        Some(host) if config.autolog.bus == Bus::System && !host.systemd => Manager::Agent,
        _ => Manager::Systemd,
    }
}

/// Whether anything is to be started here.
pub(super) fn acts(
    config: &Config,
    host: Option<&Host>,
    first: Span,
    diagnostics: &mut Diagnostics,
) -> bool {
    let Config { autolog, .. } = config;
    let is_chosen = match autolog.backend {
        Backend::None => return false,
        Backend::Auto => false,
        Backend::Unit | Backend::Exec => true,
    };
    let Some(host) = host else {
        return true;
    };
    let none = "write [autolog] backend = \"none\" to have them watched only";
    let span = autolog.backend_span.unwrap_or(first);
    if host.pod && is_chosen {
        let message = "nothing is started from within a pod: its programs are the kubelet's to start and to end";
        diagnostics.push(Diagnostic::error(Code::NoManager, span, message).help(none));
        return false;
    }
    if host.pod {
        let message =
            "procedures are only watched here: in a pod, the kubelet starts and ends programs";
        diagnostics.push(Diagnostic::warning(Code::WatchedOnly, first, message).help(none));
        return false;
    }
    true
}
