//! The policy image: the tables as they are published, and as `explain` reads them.

use portreeve_common::{
    PolicyView,
    abi::{Entry, Matcher, Protocol, SLOTS, Slot},
    jobname::Glob,
};

/// One compiled policy. Elements refer to each other by index, as in the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// One per protocol and port: always [`SLOTS`] of them.
    pub slots: Vec<Slot>,
    /// Entries, those of one port side by side, most specific first.
    pub entries: Vec<Entry>,
    /// Jobname operands, each once.
    pub matchers: Vec<Matcher>,
    /// Automata of the patterns that need one.
    pub globs: Vec<Glob>,
}

impl Default for Image {
    /// No reservation at all: everything is allowed.
    fn default() -> Self {
        Self {
            slots: vec![Slot::default(); SLOTS as usize],
            entries: Vec::new(),
            matchers: Vec::new(),
            globs: Vec::new(),
        }
    }
}

impl PolicyView for Image {
    fn slot(&self, protocol: Protocol, port: u16) -> Option<Slot> {
        self.slots
            .get(Slot::index(0, protocol, port) as usize)
            .copied()
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
