//! What changes from one policy to the next, entry by entry.

use portreeve_common::{
    PolicyView as _,
    abi::{Protocol, Unreserved},
};
use serde::{Deserialize, Serialize};

use super::{build::Policy, pairs::Pairs, place::EntryPlace, reservations::Reservation};

/// The difference between two policies; its JSON form is what `reload` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Entries that only the new one has.
    pub added: Vec<EntryPlace>,
    /// Entries that only the old one has.
    pub removed: Vec<EntryPlace>,
    /// Entries of both with other options, or enforced in one and in audit in the other,
    /// as the new one has them.
    pub changed: Vec<EntryPlace>,
    /// How many entries are the same.
    pub unchanged: usize,
    /// Of those that changed, the ones of which `[audit]` names other ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audit: Vec<AuditChange>,
    /// The mode of the whole policy, if it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeChange>,
    /// Protocols in which RESTRICTLOWPORTS changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub low_ports: Vec<LowPorts>,
}

/// From `enforce`, `audit` or, of an entry, `audit of` some of its ports, to another of
/// these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeChange {
    /// Before.
    pub from: String,
    /// Then.
    pub to: String,
}

/// An entry of which `[audit]` names other ports than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditChange {
    /// The entry, as the new policy has it.
    #[serde(flatten)]
    pub entry: EntryPlace,
    /// What becomes of it.
    #[serde(flatten)]
    pub change: ModeChange,
}

/// RESTRICTLOWPORTS begins or ceases to hold (`LOW-07`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowPorts {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Whether it holds in the new policy.
    pub restricted: bool,
    /// Whether it is in audit there.
    #[serde(default)]
    pub audit: bool,
}

impl Diff {
    /// Whether both policies mean the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.changed.is_empty()
            && self.low_ports.is_empty()
            && self.mode.is_none()
    }

    /// The difference from `old` to `new`.
    pub fn between(old: &Policy, new: &Policy) -> Self {
        let pairs = Pairs::of(&old.reservations, &new.reservations);
        Self::of(&pairs, old, new)
    }

    /// The difference from `old` to `new`, of whose entries these are the `pairs`.
    pub fn of(pairs: &Pairs, old: &Policy, new: &Policy) -> Self {
        let mut diff = Self::default();
        let is_audited = !(old.audited.is_empty() && new.audited.is_empty());
        for (index, reservation) in new.reservations.iter().enumerate() {
            let before = pairs.before(index);
            let Some(before) = before.and_then(|before| old.reservations.get(before)) else {
                diff.added.push(new.place_of(reservation));
                continue;
            };
            let change = is_audited
                .then(|| audit_change(old, before, new, reservation))
                .flatten();
            let audit_changes = change.is_some();
            if let Some(change) = change {
                let entry = new.place_of(reservation);
                diff.audit.push(AuditChange { entry, change });
            }
            if audit_changes || !same_options(before, reservation) {
                diff.changed.push(new.place_of(reservation));
            } else {
                diff.unchanged += 1;
            }
        }
        for (index, reservation) in old.reservations.iter().enumerate() {
            if !pairs.stays(index) {
                diff.removed.push(old.place_of(reservation));
            }
        }
        for protocol in Protocol::ALL {
            let (restricted, audit) = low_ports(new, protocol);
            if (restricted, audit) != low_ports(old, protocol) {
                diff.low_ports.push(LowPorts {
                    protocol: protocol.name().to_owned(),
                    restricted,
                    audit,
                });
            }
        }
        if old.config.mode != new.config.mode {
            diff.mode = Some(ModeChange {
                from: old.config.mode.name().to_owned(),
                to: new.config.mode.name().to_owned(),
            });
        }
        diff
    }
}

/// How much of an entry is in audit before and then, if that changes.
fn audit_change(
    old: &Policy,
    before: &Reservation,
    new: &Policy,
    after: &Reservation,
) -> Option<ModeChange> {
    let extent = |policy: &Policy, entry| policy.audited.extent_of(entry).to_string();
    let (from, to) = (extent(old, before), extent(new, after));
    (from != to).then_some(ModeChange { from, to })
}

/// Whether RESTRICTLOWPORTS holds, and whether that is in audit.
fn low_ports(policy: &Policy, protocol: Protocol) -> (bool, bool) {
    let unreserved = policy.compiled.image.unreserved(protocol);
    let restricts = |rules: Unreserved| (true, rules.entries.is_audited());
    unreserved
        .filter(|rules| rules.restricts_low_ports())
        .map_or((false, false), restricts)
}

/// Options compare by value; where they stand in the text doesn't matter.
fn same_options(old: &Reservation, new: &Reservation) -> bool {
    if !old.options.is_given() && !new.options.is_given() {
        return true;
    }
    let values = |reservation: &Reservation| {
        let options = &reservation.options;
        (
            options.no_autolog.is_some(),
            options.delay_acks.as_ref().map(|option| option.value),
            options.share.as_ref().map(|option| option.value),
            options.bind.as_ref().map(|option| option.value),
            options.saf.as_ref().map(|option| option.value.clone()),
            options.smc.as_ref().map(|option| option.value),
            options.deny.is_some(),
            options.when.as_ref().map(|option| option.value),
        )
    };
    values(old) == values(new)
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config,
        diagnostics::Diagnostics,
        policy::build::{Ingredients, build},
        profile::{ReadOptions, parse},
    };

    fn policy(text: &str) -> Policy {
        policy_with(text, "")
    }

    pub(in crate::policy) fn policy_with(text: &str, toml: &str) -> Policy {
        let parsed = parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
        let (mut sources, mut diagnostics) = (parsed.sources, Diagnostics::new());
        let config = config::parse(Path::new("c"), toml, &mut sources, &mut diagnostics).unwrap();
        let ingredients = Ingredients::of_no_host(config, parsed.profile, sources);
        build(ingredients, &mut diagnostics)
    }

    fn between(old: &str, new: &str) -> Diff {
        Diff::between(&policy(old), &policy(new))
    }

    #[test]
    fn layout_is_no_difference() {
        let diff = between("PORT 21 TCP A ; x\n 22 TCP B", "port 22 tcp b\n\n 21 tcp a");
        assert!(diff.is_empty(), "{diff:?}");
        assert_eq!(diff.unchanged, 2);
    }

    /// Every option counts, those of UNRSV too.
    #[test]
    fn options_are_compared() {
        for (old, new) in [
            ("21 TCP A", "21 TCP A NOAUTOLOG"),
            ("21 TCP A", "21 TCP A SAF X"),
            ("21 TCP A", "21 TCP A SHAREPORT"),
            ("21 TCP A BIND 192.0.2.1", "21 TCP A BIND 192.0.2.2"),
            ("UNRSV TCP *", "UNRSV TCP * DENY"),
            ("UNRSV TCP * DENY", "UNRSV TCP * DENY WHENBIND"),
        ] {
            let diff = between(&format!("PORT {old}"), &format!("PORT {new}"));
            assert_eq!(diff.changed.len(), 1, "{old}, {new}: {diff:?}");
            assert_eq!((diff.added.len(), diff.removed.len()), (0, 0));
        }
    }

    /// What begins or ends to be enforced is a change, port by port.
    #[test]
    fn audit_is_compared() {
        let profile = "PORTRANGE 5000 4 TCP A\nPORT 21 TCP B\nTCPCONFIG RESTRICTLOWPORTS\n";
        let audit = |ports: &str| policy_with(profile, &format!("[audit]\nports = [{ports}]\n"));
        let of = |from: &Policy, to: &Policy| {
            let diff = Diff::between(from, to);
            assert_eq!(diff.unchanged + diff.changed.len(), 2);
            assert_eq!(diff.changed.len(), diff.audit.len());
            let said = diff.audit.iter().map(|one| {
                let ModeChange { from, to } = &one.change;
                format!("{}: {from} to {to}", one.entry.line)
            });
            (said.collect::<Vec<_>>(), diff.low_ports.len())
        };
        let none = policy(profile);
        let all = audit("'tcp/21', 'tcp/1024-65535', 'unreserved'");
        let part = audit("'tcp/5001-5002'");
        assert_eq!(
            of(&none, &all),
            (
                vec!["1: enforce to audit".into(), "2: enforce to audit".into()],
                1
            )
        );
        assert_eq!(
            of(&all, &part),
            (
                vec![
                    "1: audit to audit of 5001-5002".into(),
                    "2: audit to enforce".into()
                ],
                1
            )
        );
        assert_eq!(of(&part, &part), (vec![], 0));
        let whole = policy_with(profile, "mode = 'audit'");
        let diff = Diff::between(&none, &whole);
        assert_eq!((diff.is_empty(), diff.changed.len()), (false, 0));
        assert_eq!(diff.mode.unwrap().to, "audit");
    }

    /// `LOW-07`: a policy that restricts low ports is another one.
    #[test]
    fn restricted_low_ports_are_a_difference() {
        let diff = between("", "UDPCONFIG RESTRICTLOWPORTS");
        let changed = |restricted| {
            vec![LowPorts {
                protocol: "udp".into(),
                restricted,
                audit: false,
            }]
        };
        assert_eq!(diff.low_ports, changed(true));
        assert!(!diff.is_empty());
        let diff = between("UDPCONFIG RESTRICTLOWPORTS", "UDPCONFIG UNRESTRICTLOWPORTS");
        assert_eq!(diff.low_ports, changed(false));
    }
}
