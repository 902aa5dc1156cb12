//! Who tries what, and what should come of it.

use std::ffi::OsString;

/// One process and its bind.
pub struct Case {
    /// What the case shows.
    pub point: &'static str,
    /// The name of the process, which is its job.
    pub job: &'static str,
    /// Root, or an ordinary user.
    pub root: bool,
    /// As in `tcp/21`.
    pub port: &'static str,
    /// The address it asks for.
    pub address: &'static str,
    expected: Expected,
}

enum Expected {
    Bound,
    /// By the agent.
    Refused,
    /// By Linux, which keeps low ports from ordinary users.
    HostRefuses,
}

use Expected::{Bound, HostRefuses, Refused};

/// An account without any privilege, there or not.
const ORDINARY: u32 = 65534;

impl Case {
    /// Who it is, for people.
    pub fn who(&self) -> String {
        let user = if self.root { "root" } else { "a user" };
        format!("{} ({user})", self.job)
    }

    /// What it asks for, for people.
    pub fn what(&self) -> String {
        match self.address {
            ANY => self.port.to_owned(),
            address => format!("{} on {address}", self.port),
        }
    }

    /// The arguments of `cargo xtask bind`.
    pub fn arguments(&self) -> Vec<OsString> {
        let words = [
            "bind",
            self.port,
            "--as",
            self.job,
            "--address",
            self.address,
        ];
        let mut arguments: Vec<OsString> = words.map(OsString::from).into();
        if !self.root {
            arguments.extend(["--user".into(), ORDINARY.to_string().into()]);
        }
        arguments
    }

    /// What the binder should say.
    pub fn result(&self) -> &'static str {
        match self.expected {
            Bound => "bound",
            Refused | HostRefuses => "EACCES",
        }
    }

    /// Whether the agent's event should say that it refused.
    pub fn refused_by_agent(&self) -> bool {
        matches!(self.expected, Refused)
    }
}

const ANY: &str = "0.0.0.0";

/// A case of the wildcard address.
const fn case(
    point: &'static str,
    job: &'static str,
    root: bool,
    port: &'static str,
    expected: Expected,
) -> Case {
    Case {
        point,
        job,
        root,
        port,
        address: ANY,
        expected,
    }
}

/// The demonstration, in order.
pub const ALL: &[Case] = &[
    case("the right job", "ftpd1", true, "tcp/21", Bound),
    case("needs no privilege", "ftpd1", false, "tcp/21", Bound),
    case("another job", "nginx", false, "tcp/21", Refused),
    case("root is no exception", "nginx", true, "tcp/21", Refused),
    Case {
        address: "::",
        ..case("nor is IPv6", "nginx", true, "tcp/21", Refused)
    },
    Case {
        address: "::1",
        ..case("which the job may use", "ftpd1", false, "tcp/21", Bound)
    },
    case("UDP is another table", "nginx", true, "udp/21", Bound),
    case("a prefix", "webfront", false, "tcp/443", Bound),
    case("not the prefix", "squid", true, "tcp/443", Refused),
    case("one more character", "appl7", false, "tcp/3123", Bound),
    case("two are too many", "appl42", false, "tcp/3123", Refused),
    case("a second job", "mqstby", false, "tcp/1414", Bound),
    case("reserved for any job", "anyone", false, "tcp/20", Bound),
    case("RESERVED: for nobody", "ftpd1", true, "tcp/2003", Refused),
    case("past the range", "ftpd1", false, "tcp/2010", Bound),
    case("unreserved", "nginx", false, "tcp/8080", Bound),
    case("unreserved, but low", "nginx", false, "tcp/81", HostRefuses),
];
