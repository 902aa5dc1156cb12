//! Cases: few names, ports and users, so that entries meet and patterns match.

use proptest::{prelude::*, sample::select};

use crate::model::{
    Address, Ask, Audited, Job, Line, Policy, Ports, Protocol, Resource, Restriction, Way, When,
};
use crate::settle::extent;

const SAF_NAMES: [&str; 3] = ["ONE", "TWO", "NONE"];
const ADDRESSES: [&str; 3] = ["192.0.2.9", "198.51.100.1", "2001:db8::9"];
const CGROUPS: [&str; 4] = ["/a", "/a/b", "/b", "/"];
const EXES: [&str; 2] = ["/nowhere/x", "/nowhere/y"];
const USERS: [u32; 3] = [0, 1000, 1001];
const GROUPS: [u32; 2] = [100, 200];

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![3 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![1u16..=12, 1018u16..=1030, 65530u16..=65535]
}

fn user() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[AB]{1,4}",
        1 => "[ab]{1,3}",
        4 => "[AB][AB?*]{0,3}",
        2 => "[?*AB]{2,4}",
        2 => Just("*".to_owned()),
        1 => Just("OMVS".to_owned()),
        1 => Just("KERNEL".to_owned()),
    ]
}

/// An entry without options: what the kernel side enforces in full.
pub fn simple_line() -> impl Strategy<Value = Line> {
    let ports =
        (port(), proptest::option::weighted(0.25, 1u16..=6)).prop_map(
            |(first, count)| match count {
                None => Ports::One(first),
                Some(count) => Ports::Range(first, count),
            },
        );
    let who = prop_oneof![8 => user(), 1 => Just("RESERVED".to_owned())];
    (ports, protocol(), who).prop_map(|(ports, protocol, user)| Line::new(ports, protocol, &user))
}

fn reserved_line() -> impl Strategy<Value = Line> {
    let saf = proptest::option::weighted(0.3, select(&SAF_NAMES[..]));
    let bind = proptest::option::weighted(0.3, select(&ADDRESSES[..]));
    (simple_line(), saf, bind, any::<bool>()).prop_map(|(line, saf, bind, share)| {
        if line.user == "RESERVED" {
            return line;
        }
        let one = matches!(line.ports, Ports::One(_));
        Line {
            saf,
            bind: bind.filter(|_| one),
            share: share && one && line.protocol == Protocol::Tcp,
            ..line
        }
    })
}

fn unreserved_line() -> impl Strategy<Value = Line> {
    let when = proptest::option::of(select(&[When::Listen, When::Bind][..]));
    let saf = proptest::option::weighted(0.3, select(&SAF_NAMES[..]));
    (protocol(), user(), when, saf, any::<bool>()).prop_map(|(protocol, user, when, saf, deny)| {
        let deny = deny && user == "*";
        Line {
            deny,
            saf: saf.filter(|_| !deny),
            when: when.filter(|when| protocol == Protocol::Tcp || *when == When::Bind),
            ..Line::new(Ports::Unreserved, protocol, &user)
        }
    })
}

fn way() -> impl Strategy<Value = Way> {
    let cgroup = proptest::option::of(select(&["/a", "/a/b", "/a/*", "/b"][..]));
    let exe = proptest::option::weighted(0.3, select(&EXES[..]));
    let comm = proptest::option::of("[AB]{1,2}[*]?");
    let user = proptest::option::of(select(&USERS[..]));
    (cgroup, exe, comm, user).prop_map(|(cgroup, exe, comm, user)| Way {
        cgroup,
        exe,
        // A definition needs at least one key.
        comm: match (cgroup, exe, user) {
            (None, None, None) => comm.or(Some("A".to_owned())),
            _ => comm,
        },
        user,
    })
}

fn job() -> impl Strategy<Value = Job> {
    let ways = proptest::collection::vec(way(), 1..3);
    ("[AB]{1,3}", ways).prop_map(|(name, ways)| Job { name, ways })
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    proptest::collection::vec(job(), 0..3).prop_map(|mut jobs| {
        jobs.sort_by(|a, b| a.name.cmp(&b.name));
        jobs.dedup_by(|a, b| a.name == b.name);
        jobs
    })
}

/// A resource for each SAF name but the last, which nothing covers.
fn resources() -> impl Strategy<Value = Vec<Resource>> {
    let one = |name: &'static str| {
        let users = proptest::sample::subsequence(USERS.to_vec(), 0..=2);
        let groups = proptest::sample::subsequence(GROUPS.to_vec(), 0..=1);
        (proptest::bool::weighted(0.2), users, groups).prop_map(move |(open, users, groups)| {
            Resource {
                name,
                open,
                users,
                groups,
            }
        })
    };
    (one(SAF_NAMES[0]), one(SAF_NAMES[1])).prop_map(|(first, second)| vec![first, second])
}

fn restriction() -> impl Strategy<Value = Restriction> {
    let users = proptest::sample::subsequence(USERS.to_vec(), 1..=2);
    (protocol(), port(), 0u16..4, users).prop_map(|(protocol, first, more, users)| Restriction {
        protocol,
        first,
        last: first.saturating_add(more),
        users,
    })
}

/// What of a policy is in audit: whatever its rules speak of.
fn audited(lines: &[Line], restrict_low: [bool; 2], restrictions: &[Restriction]) -> Vec<Audited> {
    let of_lines = lines.iter().map(|line| Audited {
        protocol: line.protocol,
        ports: extent(line.ports),
    });
    let of_restrictions = restrictions.iter().map(|one| Audited {
        protocol: one.protocol,
        ports: Some((one.first, one.last)),
    });
    let low = [Protocol::Tcp, Protocol::Udp].into_iter().zip(restrict_low);
    let of_low = low
        .filter(|(_, restricted)| *restricted)
        .map(|(protocol, _)| Audited {
            protocol,
            ports: None,
        });
    of_lines.chain(of_restrictions).chain(of_low).collect()
}

/// The same policy with some of its ports in audit, or parts of them.
fn watched(policy: Policy) -> impl Strategy<Value = Policy> {
    let all = audited(&policy.lines, policy.restrict_low, &policy.restrictions);
    let most = all.len().min(4);
    let some = proptest::sample::subsequence(all, 0..=most);
    (some, proptest::bool::weighted(0.5), 0u16..3).prop_map(move |(mut some, none, less)| {
        if none {
            some.clear();
        }
        for one in &mut some {
            // A part of a range that the entry still has.
            one.ports = one
                .ports
                .map(|(first, last)| (last.saturating_sub(less).max(first), last));
        }
        Policy {
            audited: some,
            ..policy.clone()
        }
    })
}

/// Policies of PORT and PORTRANGE entries without options, under `grant = "any"`.
pub fn simple_policy() -> impl Strategy<Value = Policy> {
    proptest::collection::vec(simple_line(), 0..12).prop_map(|lines| Policy {
        lines,
        grant_any: true,
        ..Policy::default()
    })
}

/// Policies that use the whole language.
pub fn policy() -> impl Strategy<Value = Policy> {
    let line = prop_oneof![5 => reserved_line(), 1 => unreserved_line()];
    let restrictions = proptest::collection::vec(restriction(), 0..3);
    (
        proptest::collection::vec(line, 0..12),
        proptest::array::uniform2(proptest::bool::weighted(0.3)),
        any::<bool>(),
        jobs(),
        resources(),
        restrictions,
    )
        .prop_map(
            |(lines, restrict_low, grant_any, jobs, resources, restrictions)| Policy {
                lines,
                restrict_low,
                grant_any,
                jobs,
                resources,
                restrictions,
                audited: Vec::new(),
            },
        )
        .prop_flat_map(watched)
}

/// The same, with UNRSV judged at bind always: what hooks of bind can enforce.
pub fn policy_at_bind() -> impl Strategy<Value = Policy> {
    policy().prop_map(|mut policy| {
        for line in &mut policy.lines {
            if line.ports == Ports::Unreserved {
                line.when = Some(When::Bind);
            }
        }
        policy
    })
}

/// A caller, asking for a port that entries are likely to name.
pub fn ask() -> impl Strategy<Value = Ask> {
    let address = select(&[Address::AnyV4, Address::AnyV6, Address::Specific][..]);
    let name = prop_oneof![12 => "[ABab]{1,5}", 1 => Just("kernel".to_owned())];
    let who = (
        name,
        select(&CGROUPS[..]),
        select(&EXES[..]),
        proptest::bool::weighted(0.05),
        select(&USERS[..]),
    );
    let groups = proptest::sample::subsequence(GROUPS.to_vec(), 0..=2);
    let ports = prop_oneof![12 => port(), 1 => Just(0u16), 2 => Just(5000u16)];
    (
        protocol(),
        ports,
        proptest::bool::weighted(0.2),
        address,
        who,
        groups,
        any::<bool>(),
    )
        .prop_map(
            |(
                protocol,
                port,
                listen,
                address,
                (comm, cgroup, exe, kernel, uid),
                groups,
                capable,
            )| Ask {
                protocol,
                port,
                listen: listen && protocol == Protocol::Tcp,
                address,
                comm,
                cgroup,
                exe,
                kernel,
                uid,
                groups,
                privileged: uid == 0 || capable,
            },
        )
}
