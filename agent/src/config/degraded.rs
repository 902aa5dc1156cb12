//! `[degraded]`: what a policy may do without where the kernel lacks it.

use super::table::{Reader, Section, invalid};
use crate::{diagnostics::quoted, profile::suggest::closest};

/// Something that a policy may need and some kernels lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Feature {
    /// A refusal's errno is the policy's. Without it every refusal is EPERM.
    Errno,
    /// The rightful job binds a low port without `CAP_NET_BIND_SERVICE`. Without it
    /// the host's own rule applies.
    Grant,
    /// The bind hook switches socket options such as `SO_REUSEPORT`. Without it they
    /// are as the application sets them.
    Options,
    /// UNRSV for TCP is judged before the socket listens. Without it the listener is
    /// destroyed right after it starts.
    Listen,
}

impl Feature {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 4] = [Self::Errno, Self::Grant, Self::Options, Self::Listen];

    /// The word for it in the config.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Errno => "errno",
            Self::Grant => "grant",
            Self::Options => "options",
            Self::Listen => "listen",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What is accepted: where the kernel lacks one of these features, a policy that
/// needs it is enforced without it, and the status says so. Where the kernel has it,
/// accepting its lack changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Degraded(u8);

impl Degraded {
    /// Whether a policy that needs `feature` may do without it.
    pub const fn accepts(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// The same, and `feature` too.
    #[must_use]
    pub const fn and(self, feature: Feature) -> Self {
        Self(self.0 | feature.bit())
    }
}

pub(super) fn degraded(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Degraded {
    let mut section = reader.section(top, "degraded");
    let words = reader.words(&mut section, "accept").unwrap_or_default();
    reader.finish(section);
    let mut accepted = Degraded::default();
    for word in words {
        let name = quoted(&word.value);
        let feature = Feature::ALL.into_iter().find(|f| f.word() == word.value);
        match feature {
            Some(feature) if accepted.accepts(feature) => {
                reader.push(invalid(word.span, format!("{name} is named twice")));
            }
            Some(feature) => accepted = accepted.and(feature),
            None => {
                let message = format!("{name} is nothing that can be done without");
                reader.push(invalid(word.span, message).help(advice(&word.value)));
            }
        }
    }
    accepted
}

/// What a word that is none of ours should have been.
fn advice(word: &str) -> String {
    let words = Feature::ALL.map(Feature::word);
    // What is compared with is in upper case.
    let folded = words.map(str::to_ascii_uppercase);
    match closest(word, folded.iter().map(String::as_str)) {
        Some((close, _)) => format!("did you mean `{}`?", close.to_ascii_lowercase()),
        None => format!("the words here are {}", words.join(", ")),
    }
}
