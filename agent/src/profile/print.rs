//! Statements back to text, in their canonical spelling.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{
    Autolog, Options, PortEntry, PortList, Profile, ProtocolConfig, SaConfig, Share, Statement,
    Target, User, When,
};

impl Display for Profile {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        for statement in &self.statements {
            writeln!(f, "{statement}")?;
        }
        Ok(())
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Port(list) => list.print(f, "PORT"),
            Self::PortRange(list) => list.print(f, "PORTRANGE"),
            Self::DeletePort(list) => list.print(f, "DELETE PORT"),
            Self::DeletePortRange(list) => list.print(f, "DELETE PORTRANGE"),
            Self::ProtocolConfig(config) => config.fmt(f),
            Self::IpConfig(config) => {
                f.write_str("IPCONFIG")?;
                flag(f, config.ip_security.is_some(), "IPSECURITY")
            }
            Self::GlobalConfig(config) => {
                f.write_str("GLOBALCONFIG")?;
                match &config.bind_range {
                    Some(range) => {
                        let (first, count) = range.value;
                        write!(f, " EXPLICITBINDPORTRANGE {first} {count}")
                    }
                    None => Ok(()),
                }
            }
            Self::SaConfig(config) => config.fmt(f),
            Self::Autolog(autolog) => autolog.fmt(f),
            // Its operands were not kept.
            Self::Skipped(skipped) => write!(f, "; {}", skipped.name),
        }
    }
}

impl PortList {
    fn print(&self, f: &mut Formatter, name: &str) -> fmt::Result {
        f.write_str(name)?;
        for entry in &self.entries {
            write!(f, "\n  {entry}")?;
            if let Some(description) = &entry.description {
                write!(f, " ; {description}")?;
            }
        }
        Ok(())
    }
}

impl Display for PortEntry {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let protocol = self.protocol.name().to_ascii_uppercase();
        write!(
            f,
            "{} {protocol} {}{}",
            self.target, self.user, self.options
        )
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Range { first, count } => write!(f, "{first} {count}"),
            Self::Unrsv => f.write_str("UNRSV"),
        }
    }
}

impl Display for User {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Job(name) => name,
            Self::Anyone => "*",
            Self::Omvs => "OMVS",
            Self::Reserved => "RESERVED",
            Self::Authport => "AUTHPORT",
        })
    }
}

fn flag(f: &mut Formatter, given: bool, name: &str) -> fmt::Result {
    if given { write!(f, " {name}") } else { Ok(()) }
}

fn switch(f: &mut Formatter, given: Option<bool>, on: &str, off: &str) -> fmt::Result {
    match given {
        Some(true) => write!(f, " {on}"),
        Some(false) => write!(f, " {off}"),
        None => Ok(()),
    }
}

impl Display for Options {
    /// Each option with a blank before it, in the order in which they must stand.
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        flag(f, self.no_autolog.is_some(), "NOAUTOLOG")?;
        let delay = self.delay_acks.map(|option| option.value);
        switch(f, delay, "DELAYACKS", "NODELAYACKS")?;
        let weighted = self.share.map(|option| option.value == Share::Weighted);
        switch(f, weighted, "SHAREPORTWLM", "SHAREPORT")?;
        if let Some(address) = &self.bind {
            write!(f, " BIND {}", address.value)?;
        }
        if let Some(name) = &self.saf {
            write!(f, " SAF {}", name.value)?;
        }
        switch(f, self.smc.map(|option| option.value), "SMC", "NOSMC")?;
        flag(f, self.deny.is_some(), "DENY")?;
        let listen = self.when.map(|option| option.value == When::Listen);
        switch(f, listen, "WHENLISTEN", "WHENBIND")
    }
}

impl Display for ProtocolConfig {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{}CONFIG", self.protocol.name().to_ascii_uppercase())?;
        let restrict = self.restrict_low_ports.map(|option| option.value);
        switch(f, restrict, "RESTRICTLOWPORTS", "UNRESTRICTLOWPORTS")?;
        match self.ephemeral.map(|option| option.value) {
            Some((first, last)) => write!(f, " EPHEMERALPORTS {first} {last}"),
            None => Ok(()),
        }
    }
}

impl Display for SaConfig {
    /// Without the community, which is a password (`SAC-06`).
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("SACONFIG")?;
        let enabled = self.enabled.map(|option| option.value);
        switch(f, enabled, "ENABLED", "DISABLED")?;
        if let Some(port) = &self.agent {
            write!(f, " AGENT {}", port.value)?;
        }
        switch(f, self.osa_enabled, "OSAENABLED", "OSADISABLED")?;
        if let Some(port) = self.osa_port {
            write!(f, " OSASF {port}")?;
        }
        if let Some(time) = self.cache_time {
            write!(f, " SACACHETIME {time}")?;
        }
        switch(f, self.sets_enabled, "SETSENABLED", "SETSDISABLED")
    }
}

impl Display for Autolog {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("AUTOLOG")?;
        if let Some(minutes) = self.wait {
            write!(f, " {minutes}")?;
        }
        for procedure in &self.procedures {
            write!(f, "\n  {}", procedure.name)?;
            if let Some(name) = &procedure.jobname {
                write!(f, " JOBNAME {name}")?;
            }
            if let Some(text) = &procedure.parameters {
                let quote = if text.contains('"') { '\'' } else { '"' };
                f.write_str(" PARMSTRING ")?;
                f.write_char(quote)?;
                f.write_str(text)?;
                f.write_char(quote)?;
            }
            if procedure.after_dvipa || procedure.after_ttls {
                f.write_str(" DELAYSTART")?;
                flag(f, procedure.after_dvipa, "DVIPA")?;
                flag(f, procedure.after_ttls, "TTLS")?;
            }
        }
        f.write_str("\nENDAUTOLOG")
    }
}
