//! Policies and callers, and how they are written.

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// `"tcp"` or `"udp"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// What one line of the profile is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// PORT.
    One(u16),
    /// PORTRANGE: first and count.
    Range(u16, u16),
    /// PORT UNRSV.
    Unreserved,
}

/// When an UNRSV entry is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// WHENLISTEN.
    Listen,
    /// WHENBIND.
    Bind,
}

/// One entry; it stands alone on its line, as a statement of its own.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which ports.
    pub ports: Ports,
    /// Of which protocol.
    pub protocol: Protocol,
    /// The jobname operand.
    pub user: String,
    /// DENY.
    pub deny: bool,
    /// SHAREPORT.
    pub share: bool,
    /// BIND.
    pub bind: Option<&'static str>,
    /// SAF.
    pub saf: Option<&'static str>,
    /// WHENLISTEN or WHENBIND.
    pub when: Option<When>,
}

/// A job that the config defines.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// A caller is the job who goes one of these ways.
    pub ways: Vec<Way>,
}

/// One way to be a job.
#[derive(Clone, Debug)]
pub struct Way {
    /// The cgroup it is in, if that is asked for.
    pub cgroup: Option<&'static str>,
    /// The file it runs, if that is asked for.
    pub exe: Option<&'static str>,
    /// Its process name, if that is asked for.
    pub comm: Option<String>,
    /// Its user, if that is asked for.
    pub user: Option<u32>,
}

/// A resource profile of the config.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The SAF name it covers.
    pub name: &'static str,
    /// Open to all.
    pub open: bool,
    /// Users who are permitted.
    pub users: Vec<u32>,
    /// Groups that are permitted.
    pub groups: Vec<u32>,
}

/// Ports for certain users only.
#[derive(Clone, Debug)]
pub struct Restriction {
    /// Of which protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// The users.
    pub users: Vec<u32>,
}

/// A whole policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The profile's entries; line `n` of the text is entry `n - 1`.
    pub lines: Vec<Line>,
    /// RESTRICTLOWPORTS for TCP and for UDP.
    pub restrict_low: [bool; 2],
    /// `[grant] require = "any"`.
    pub grant_any: bool,
    /// `[jobs]`.
    pub jobs: Vec<Job>,
    /// `[servauth]`.
    pub resources: Vec<Resource>,
    /// `[[restriction]]`.
    pub restrictions: Vec<Restriction>,
    /// `[audit]`.
    pub audited: Vec<Audited>,
}

/// Ports in audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Of which protocol.
    pub protocol: Protocol,
    /// First and last; those that no entry names, if there are none.
    pub ports: Option<(u16, u16)>,
}

/// The address that a bind asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The IPv4 wildcard.
    AnyV4,
    /// The IPv6 wildcard.
    AnyV6,
    /// One of the host's.
    Specific,
}

/// Who asks for what.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// `listen` on a port that was chosen, instead of `bind`.
    pub listen: bool,
    /// The address.
    pub address: Address,
    /// The process name.
    pub comm: String,
    /// Its cgroup.
    pub cgroup: &'static str,
    /// The file it runs.
    pub exe: &'static str,
    /// It is the kernel itself, and all of the above means nothing.
    pub kernel: bool,
    /// Its effective user.
    pub uid: u32,
    /// Its groups.
    pub groups: Vec<u32>,
    /// Root, or `CAP_NET_BIND_SERVICE`.
    pub privileged: bool,
}

/// What the oracle answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The reason, as the product names it.
    pub reason: &'static str,
    /// The line that decides or stands for the port; 0 for none.
    pub line: u32,
    /// No capability is needed.
    pub grant: bool,
    /// The address that takes the wildcard's place.
    pub rewritten: Option<String>,
    /// Of a reserved TCP port that is given: whether several listeners may have it.
    pub shared: Option<bool>,
    /// The rules that say so are in audit.
    pub audit: bool,
}

impl Line {
    /// An entry for `user` without options.
    pub fn new(ports: Ports, protocol: Protocol, user: &str) -> Self {
        Self {
            ports,
            protocol,
            user: user.to_owned(),
            deny: false,
            share: false,
            bind: None,
            saf: None,
            when: None,
        }
    }

    /// As the profile says it.
    pub fn text(&self) -> String {
        let protocol = self.protocol.name();
        let mut text = match self.ports {
            Ports::One(port) => format!("PORT {port} {protocol} {}", self.user),
            Ports::Range(first, count) => {
                format!("PORTRANGE {first} {count} {protocol} {}", self.user)
            }
            Ports::Unreserved => format!("PORT UNRSV {protocol} {}", self.user),
        };
        let options = [
            self.deny.then(|| "DENY".to_owned()),
            self.share.then(|| "SHAREPORT".to_owned()),
            self.bind.map(|address| format!("BIND {address}")),
            self.saf.map(|name| format!("SAF {name}")),
            self.when.map(|when| match when {
                When::Listen => "WHENLISTEN".to_owned(),
                When::Bind => "WHENBIND".to_owned(),
            }),
        ];
        for option in options.into_iter().flatten() {
            text.push(' ');
            text.push_str(&option);
        }
        text
    }
}

impl Policy {
    /// The profile; the statements without entries stand behind the entries, so
    /// that line numbers stay simple.
    pub fn profile(&self) -> String {
        let mut text: String = self.lines.iter().map(|line| line.text() + "\n").collect();
        for (statement, restricted) in ["TCPCONFIG", "UDPCONFIG"]
            .into_iter()
            .zip(self.restrict_low)
        {
            if restricted {
                text.push_str(&format!("{statement} RESTRICTLOWPORTS\n"));
            }
        }
        text
    }

    /// The config.
    pub fn config(&self) -> String {
        let require = if self.grant_any { "any" } else { "verified" };
        let mut text = format!("[grant]\nrequire = \"{require}\"\n");
        let audited: Vec<String> = self
            .audited
            .iter()
            .map(|one| match (one.protocol.name(), one.ports) {
                (protocol, Some((first, last))) => format!("\"{protocol}/{first}-{last}\""),
                (protocol, None) => format!("\"{protocol}/unreserved\""),
            })
            .collect();
        text.push_str(&format!("[audit]\nports = [{}]\n", audited.join(", ")));
        for job in &self.jobs {
            for way in &job.ways {
                text.push_str(&format!("[[jobs.\"{}\"]]\n", job.name));
                if let Some(cgroup) = way.cgroup {
                    text.push_str(&format!("cgroup = \"{cgroup}\"\n"));
                }
                if let Some(exe) = way.exe {
                    text.push_str(&format!("exe = \"{exe}\"\n"));
                }
                if let Some(comm) = &way.comm {
                    text.push_str(&format!("comm = \"{comm}\"\n"));
                }
                if let Some(user) = way.user {
                    text.push_str(&format!("user = \"{user}\"\n"));
                }
            }
        }
        for resource in &self.resources {
            let users = resource.users.iter().map(|user| format!("\"{user}\""));
            let groups = resource.groups.iter().map(|group| format!("\"@{group}\""));
            let permits: Vec<String> = users.chain(groups).collect();
            text.push_str(&format!(
                "[servauth.\"EZB.PORTACCESS.*.*.{}\"]\nuacc = \"{}\"\npermit = [{}]\n",
                resource.name,
                if resource.open { "read" } else { "none" },
                permits.join(", ")
            ));
        }
        for restriction in &self.restrictions {
            let users: Vec<String> = restriction
                .users
                .iter()
                .map(|user| format!("\"{user}\""))
                .collect();
            text.push_str(&format!(
                "[[restriction]]\nports = \"{}-{}\"\nprotocol = \"{}\"\nusers = [{}]\n",
                restriction.first,
                restriction.last,
                restriction.protocol.name(),
                users.join(", ")
            ));
        }
        text
    }
}
