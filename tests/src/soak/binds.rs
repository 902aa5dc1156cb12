//! Binds of every kind whose verdict is known, whatever policy of the soak is in force.

use std::{fmt::Write as _, net::Ipv6Addr};

use anyhow::Result;

use super::random::Random;
use crate::{
    ensure_eq,
    harness::{Binder, Caller, NOBODY, Need, Sandbox, Want, refusal, tcp, udp},
};

/// The two jobs that the port [`CONTENDED`] goes back and forth between.
pub const OWNERS: [&str; 2] = ["ANNA", "BERT"];
/// What one of [`OWNERS`] has.
pub const CONTENDED: u16 = 4322;
/// What a change file gives to EXTRA.
pub const EXTRA: u16 = 4323;

/// What the policies of a soak are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which of [`OWNERS`] has [`CONTENDED`].
    pub owner: usize,
    /// How many reservations there are beside.
    pub size: usize,
    /// Whether EXTRA has [`EXTRA`].
    pub extra: bool,
}

/// How large policies are, beside what is common to them.
pub const SIZES: [usize; 5] = [0, 10, 300, 3_000, 20_000];

impl Policy {
    /// Any but one that a change file was put on.
    pub fn any(random: &mut Random) -> Self {
        Self {
            owner: random.below(OWNERS.len()),
            size: random.among(&SIZES),
            extra: false,
        }
    }

    /// How many entries it has.
    pub fn entries(self) -> usize {
        5 + self.size + usize::from(self.extra)
    }

    /// Its profile.
    pub fn profile(self) -> Result<String> {
        let mut text = String::from(
            "TCPCONFIG RESTRICTLOWPORTS\nPORT\n 4321 TCP RIGHT\n 4321 UDP RIGHT\n 600 TCP LOW\n 601 TCP RESERVED\n",
        );
        writeln!(text, " {CONTENDED} TCP {}", OWNERS[self.owner])?;
        for port in 0..self.size {
            writeln!(text, " {} TCP FILL{}", 10_000 + port, port % 13)?;
        }
        Ok(text)
    }
}

/// The change file that gives [`EXTRA`] away.
pub const CHANGE: &str = "PORT 4323 TCP EXTRA\n";

/// Binds by a process of a kind that `random` chooses.
pub fn one(s: &Sandbox, policy: Policy, random: &mut Random) -> Result<()> {
    let v6 = Ipv6Addr::LOCALHOST;
    let below = s.cgroup_below("below")?;
    // Each with whether it is allowed.
    let kinds: [(Caller, Want, bool); 10] = [
        (s.caller("wrong"), tcp(4321), false),
        (s.caller("wrong").thread("right"), tcp(4321).on(v6), false),
        (s.caller("wrong").cgroup(below), udp(4321), false),
        (s.caller("wrong").user(NOBODY), udp(4321).on(v6), false),
        (s.caller("any"), tcp(601), false),
        (s.caller("any"), tcp(5000), true),
        (s.caller("any"), tcp(0), true),
        // No user's but root's, whatever the host allows.
        (s.caller("any").user(NOBODY), tcp(700), false),
        (s.caller("high").user(NOBODY), tcp(600), false),
        (s.caller("extra"), tcp(EXTRA), true),
    ];
    let kind = random.below(kinds.len());
    let (caller, want, allowed) = &kinds[kind];
    check(caller, want, *allowed)?;
    if !matches!(Need::Grant.is_there(), Ok(false)) {
        check(&s.caller("low").user(NOBODY), &tcp(600), true)?;
    }
    if policy.extra {
        check(&s.caller("other"), &tcp(EXTRA), false)?;
    }
    Ok(())
}

/// That [`CONTENDED`] is its owner's and nobody else's.
pub fn contended(s: &Sandbox, policy: Policy) -> Result<()> {
    for (number, name) in OWNERS.iter().enumerate() {
        let caller = s.caller(&name.to_ascii_lowercase());
        check(&caller, &tcp(CONTENDED), number == policy.owner)?;
    }
    Ok(())
}

fn check(caller: &Caller, want: &Want, allowed: bool) -> Result<()> {
    let expected = if allowed { Ok(()) } else { Err(refusal()) };
    let found = Binder::attempt(caller, want)?;
    ensure_eq!(found, expected, "{want} by {}", caller.name);
    Ok(())
}
