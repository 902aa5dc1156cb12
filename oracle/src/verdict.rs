//! The decision tables of port-control 4.2 to 4.7 and 7.4, row by row.

use crate::{
    model::{Address, Answer, Ask, Job, Line, Policy, Ports, Protocol, Way, When},
    names::{distance, folded, means},
    settle::{extent, in_force, moment},
};

fn plain(reason: &'static str, line: u32) -> Answer {
    Answer {
        reason,
        line,
        grant: false,
        rewritten: None,
        shared: None,
        audit: false,
    }
}

/// What `policy` answers to `ask`.
pub fn verdict(policy: &Policy, ask: &Ask) -> Answer {
    if ask.port == 0 {
        return plain("not-judged", 0);
    }
    let lines = in_force(&policy.lines);
    let covers = |line: &Line| {
        line.protocol == ask.protocol
            && extent(line.ports).is_some_and(|(first, last)| first <= ask.port && ask.port <= last)
    };
    let mut of_port: Vec<(u32, &Line)> = lines
        .iter()
        .copied()
        .filter(|(_, line)| covers(line))
        .collect();
    by_distance(&mut of_port);
    let port_is_audited = policy.audited.iter().any(|one| {
        one.protocol == ask.protocol
            && one
                .ports
                .is_some_and(|(first, last)| first <= ask.port && ask.port <= last)
    });
    let others_are_audited = policy
        .audited
        .iter()
        .any(|one| one.protocol == ask.protocol && one.ports.is_none());
    let answer = if of_port.is_empty() {
        watched(others_are_audited, unreserved(policy, ask, &lines))
    } else if ask.listen {
        plain("not-judged", 0)
    } else {
        watched(port_is_audited, reserved(policy, ask, &of_port))
    };
    let refused = [
        "blocked",
        "other-job",
        "no-permit",
        "low-port",
        "unreserved-other",
        "unreserved-denied",
    ]
    .contains(&answer.reason);
    // A refusal that is enforced comes before one that is only told.
    let goes_on = !refused || (answer.audit && !port_is_audited);
    if !ask.listen && goes_on && !users_allow(policy, ask) {
        return watched(port_is_audited, plain("other-user", answer.line));
    }
    answer
}

/// `answer` of rules that are in audit, or not: then it gives nothing.
fn watched(audited: bool, answer: Answer) -> Answer {
    if !audited || ["not-judged", "unreserved"].contains(&answer.reason) {
        return answer;
    }
    Answer {
        audit: true,
        ..plain(answer.reason, answer.line)
    }
}

fn by_distance(lines: &mut [(u32, &Line)]) {
    lines.sort_by_key(|(number, line)| (distance(&line.user), *number));
}

/// Section 4.2.
fn reserved(policy: &Policy, ask: &Ask, of_port: &[(u32, &Line)]) -> Answer {
    let (first, _) = of_port[0];
    if of_port
        .iter()
        .any(|(_, line)| folded(&line.user) == "RESERVED")
    {
        return plain("blocked", first);
    }
    let Some((number, line)) = of_port.iter().find(|(_, line)| admits(policy, ask, line)) else {
        return plain("other-job", first);
    };
    if !saf_permits(policy, ask, line) {
        return plain("no-permit", *number);
    }
    Answer {
        reason: "permitted",
        line: *number,
        grant: ask.port < 1024 && (policy.grant_any || is_verified(policy, ask, line)),
        rewritten: rewritten(ask, line),
        shared: (ask.protocol == Protocol::Tcp).then(|| is_shared(of_port)),
        audit: false,
    }
}

/// Section 4.6, and `PRT-29`: SHAREPORT on any entry of the port, or a server with
/// BIND beside one without.
fn is_shared(of_port: &[(u32, &Line)]) -> bool {
    let any = |asks: fn(&Line) -> bool| of_port.iter().any(|(_, line)| asks(line));
    let of_one_port = any(|line| matches!(line.ports, Ports::One(_)));
    any(|line| line.share)
        || (of_one_port && any(|line| line.bind.is_some()) && any(|line| line.bind.is_none()))
}

/// Section 4.3.
fn unreserved(policy: &Policy, ask: &Ask, lines: &[(u32, &Line)]) -> Answer {
    let restricted = policy.restrict_low[usize::from(ask.protocol == Protocol::Udp)];
    if restricted && ask.port <= 1023 {
        return match (ask.listen, ask.privileged) {
            (true, _) => plain("not-judged", 0),
            (false, true) => plain("privileged-low-port", 0),
            (false, false) => plain("low-port", 0),
        };
    }
    let mut rules: Vec<(u32, &Line)> = lines
        .iter()
        .copied()
        .filter(|(_, line)| line.ports == Ports::Unreserved && line.protocol == ask.protocol)
        .collect();
    by_distance(&mut rules);
    let Some((first, rule)) = rules.first().copied() else {
        return plain("unreserved", 0);
    };
    if (moment(rule) == When::Listen) != ask.listen {
        return plain("unreserved", 0);
    }
    match rules.iter().find(|(_, line)| admits(policy, ask, line)) {
        None => plain("unreserved-other", first),
        Some((number, line)) if line.deny => plain("unreserved-denied", *number),
        Some((number, line)) if !saf_permits(policy, ask, line) => plain("no-permit", *number),
        Some((number, _)) => plain("unreserved-permitted", *number),
    }
}

fn goes(ask: &Ask, way: &Way) -> bool {
    let in_cgroup = |wanted: &str| match wanted.strip_suffix("/*") {
        Some(above) => ask.cgroup.starts_with(&format!("{above}/")),
        None => ask.cgroup == wanted || ask.cgroup.starts_with(&format!("{wanted}/")),
    };
    !ask.kernel
        && way.cgroup.is_none_or(in_cgroup)
        && way.exe.is_none_or(|exe| exe == ask.exe)
        && way.comm.as_ref().is_none_or(|comm| means(comm, &ask.comm))
        && way.user.is_none_or(|user| user == ask.uid)
}

fn satisfies(ask: &Ask, job: &Job) -> bool {
    job.ways.iter().any(|way| goes(ask, way))
}

/// Every job the caller is: those it satisfies, or else its process name, unless
/// that is the name of a defined job or the kernel's. The kernel is none but itself.
fn jobs_of<'a>(policy: &'a Policy, ask: &'a Ask) -> Vec<&'a str> {
    if ask.kernel {
        return vec!["KERNEL"];
    }
    let defined: Vec<&str> = policy
        .jobs
        .iter()
        .filter(|job| satisfies(ask, job))
        .map(|job| job.name.as_str())
        .collect();
    let is_taken = policy
        .jobs
        .iter()
        .map(|job| job.name.as_str())
        .chain(["KERNEL"])
        .any(|name| name.eq_ignore_ascii_case(&ask.comm));
    match (defined.is_empty(), is_taken) {
        (false, _) => defined,
        (true, true) => Vec::new(),
        (true, false) => vec![&ask.comm],
    }
}

fn admits(policy: &Policy, ask: &Ask, line: &Line) -> bool {
    match folded(&line.user).as_str() {
        "*" | "OMVS" => true,
        "RESERVED" => false,
        user => jobs_of(policy, ask).iter().any(|job| means(user, job)),
    }
}

/// Whether the match rests on more than what the process says of itself: on a
/// SAF check of its user, or on a way that it goes to be a job that the operand
/// means, if that way names cgroup or user.
fn is_verified(policy: &Policy, ask: &Ask, line: &Line) -> bool {
    let checked = line.saf.is_some_and(|saf| {
        !policy
            .resources
            .iter()
            .any(|resource| resource.name == saf && resource.open)
    });
    let user = folded(&line.user);
    let is_star = user == "*" || user == "OMVS";
    let by_definition = policy
        .jobs
        .iter()
        .filter(|job| !is_star && means(&user, &job.name))
        .flat_map(|job| &job.ways)
        .filter(|way| goes(ask, way))
        .any(|way| way.cgroup.is_some() || way.user.is_some());
    checked || by_definition
}

/// Section 4.7.
fn saf_permits(policy: &Policy, ask: &Ask, line: &Line) -> bool {
    let Some(saf) = line.saf else {
        return true;
    };
    policy
        .resources
        .iter()
        .filter(|resource| resource.name == saf)
        .any(|resource| {
            resource.open
                || resource.users.contains(&ask.uid)
                || resource
                    .groups
                    .iter()
                    .any(|group| ask.groups.contains(group))
        })
}

/// Section 4.5.
fn rewritten(ask: &Ask, line: &Line) -> Option<String> {
    let bind = line.bind?;
    let is_v6 = bind.contains(':');
    match (ask.address, is_v6) {
        (Address::AnyV4, false) | (Address::AnyV6, true) => Some(bind.to_owned()),
        (Address::AnyV6, false) => Some(format!("::ffff:{bind}")),
        (Address::AnyV4, true) | (Address::Specific, _) => None,
    }
}

/// Section 7.1: no restriction, or one that names the user.
fn users_allow(policy: &Policy, ask: &Ask) -> bool {
    let mut of_port = policy
        .restrictions
        .iter()
        .filter(|one| one.protocol == ask.protocol && one.first <= ask.port && ask.port <= one.last)
        .peekable();
    of_port.peek().is_none() || of_port.any(|one| one.users.contains(&ask.uid))
}
