//! The policy image: the tables as they are published, and as `explain` reads them.

use std::net::IpAddr;

use super::{identity::JobImage, lists::JobLists, permits::PermitSets};
use portreeve_common::{
    PolicyView,
    abi::{BindAddress, Entry, Matcher, Protocol, SLOTS, Slot, Unreserved},
    jobname::Glob,
};

/// One compiled policy. Elements refer to each other by index, as in the maps.
#[derive(Clone, Debug)]
pub struct Image {
    /// One per protocol and port: always [`SLOTS`] of them.
    pub slots: Vec<Slot>,
    /// Entries, those of one port side by side, most specific first.
    pub entries: Vec<Entry>,
    /// Jobname operands, each once.
    pub matchers: Vec<Matcher>,
    /// Automata of the patterns that need one.
    pub globs: Vec<Glob>,
    /// Per protocol: what holds for ports that nobody reserved.
    pub unreserved: [Unreserved; Protocol::ALL.len()],
    /// Addresses of BIND, each once.
    pub addresses: Vec<BindAddress>,
    /// Who is in which permit set.
    pub permits: PermitSets,
    /// Which entries of which port cover which defined jobs.
    pub lists: JobLists,
    /// How the programs recognise defined jobs, with executables as they were known when
    /// it was compiled.
    pub jobs: JobImage,
}

impl Default for Image {
    /// No reservation at all: everything is allowed.
    fn default() -> Self {
        Self {
            slots: vec![Slot::default(); SLOTS as usize],
            entries: Vec::new(),
            matchers: Vec::new(),
            globs: Vec::new(),
            unreserved: Default::default(),
            addresses: Vec::new(),
            permits: PermitSets::default(),
            lists: JobLists::default(),
            jobs: JobImage::default(),
        }
    }
}

impl Image {
    /// 1 + index of `address` in the table, which it is added to if need be.
    pub fn address(&mut self, address: IpAddr) -> u32 {
        let address = match address {
            IpAddr::V4(address) => BindAddress::v4(address.octets()),
            IpAddr::V6(address) => BindAddress::v6(address.octets()),
        };
        let known = self.addresses.iter().position(|other| *other == address);
        let index = known.unwrap_or_else(|| {
            self.addresses.push(address);
            self.addresses.len() - 1
        });
        index as u32 + 1
    }
}

impl PolicyView for Image {
    fn slot(&self, protocol: Protocol, port: u16) -> Option<Slot> {
        self.slots
            .get(Slot::index(0, protocol, port) as usize)
            .copied()
    }

    fn unreserved(&self, protocol: Protocol) -> Option<Unreserved> {
        self.unreserved.get(protocol as usize).copied()
    }

    fn address(&self, index: u32) -> Option<&BindAddress> {
        self.addresses.get(index as usize)
    }

    fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    fn matcher(&self, index: u32) -> Option<&Matcher> {
        self.matchers.get(index as usize)
    }

    fn glob(&self, index: u32) -> Option<&Glob> {
        self.globs.get(index as usize)
    }
}
