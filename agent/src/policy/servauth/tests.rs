//! Resource profiles against a slow and obvious reading of the rules.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{
    diagnostics::{Severity, Sources},
    policy::accounts::FixedAccounts,
};

fn name(text: &str) -> ProfileName {
    ProfileName::new(text).unwrap()
}

fn covers(profile: &str, resource: &str) -> bool {
    name(profile).covers(resource)
}

/// The config `text` under a system HOST1 and a stack TCPIP.
fn servauth(text: &str) -> (ServAuth, Vec<(Code, Severity)>) {
    let mut sources = Sources::new();
    let mut diagnostics = Diagnostics::new();
    let config = config::parse(Path::new("c"), text, &mut sources, &mut diagnostics);
    let profiles = config.map(|config| config.servauth).unwrap_or_default();
    let accounts = FixedAccounts::new([("ftp", 14), ("root", 0)], [("ftpusers", 50)]);
    let servauth = ServAuth::new(&profiles, "host1", "tcpip", &accounts, &mut diagnostics);
    let found = diagnostics.iter().map(|d| (d.code, d.severity)).collect();
    (servauth, found)
}

fn only(users: &[u32], groups: &[u32]) -> Access {
    Access::Only(PermitSet {
        users: users.iter().copied().collect(),
        groups: groups.iter().copied().collect(),
    })
}

/// `SAF-07`: `%`, and `*` in all its places.
#[test]
fn generic_characters() {
    assert!(covers("A.B%", "A.B1"));
    assert!(!covers("A.B%", "A.B"));
    assert!(!covers("A%B", "A.B"), "% is no dot");
    assert!(covers("A.*.C", "A.B.C"));
    assert!(!covers("A.*.C", "A.C"));
    assert!(!covers("A.*.C", "A.B.B.C"));
    assert!(covers("A.B*.C", "A.B.C") && covers("A.B*.C", "A.BXY.C"));
    assert!(!covers("A.B*.C", "A.BX.Y.C"));
    assert!(covers("A.*", "A.B") && covers("A.*", "A.B.C"));
    assert!(!covers("A.*", "A"));
    assert!(covers("A.B*", "A.B") && covers("A.B*", "A.BX.Y"));
    assert!(covers("*", "A.B"));
}

/// `SAF-07`: `**` is any number of qualifiers.
#[test]
fn double_stars() {
    assert!(covers("A.**", "A") && covers("A.**", "A.B.C"));
    assert!(!covers("A.**", "AB"));
    assert!(covers("A.**.C", "A.C") && covers("A.**.C", "A.B.B.C"));
    assert!(!covers("A.**.C", "A.B"));
    assert!(covers("**", "A.B") && covers("**.C", "C"));
    assert!(covers("A.**.C.*", "A.C.C.D"));
}

#[test]
fn names_that_are_none() {
    let long = "A".repeat(247);
    for text in [
        "",
        ".",
        "A.",
        ".A",
        "A..B",
        "A**",
        "A.**B",
        "A*B",
        "**.A.**",
        "A B",
        "A/B",
        "Ä",
        long.as_str(),
    ] {
        assert!(ProfileName::new(text).is_err(), "{text}");
    }
    assert!(ProfileName::new(&long[1..]).is_ok());
}

/// `SAF-06`: each is closer than those behind it.
#[test]
fn the_most_specific_comes_first() {
    let order = [
        "EZB.PORTACCESS.H.T.X",
        "EZB.PORTACCESS.H.T.%",
        "EZB.PORTACCESS.H.T.*",
        "EZB.PORTACCESS.H.*.X",
        "EZB.PORTACCESS.H.*.*",
        "EZB.PORTACCESS.H.**",
        "EZB.PORTACCESS.H*.T.X",
        "EZB.PORTACCESS.%.T.X",
        "EZB.PORTACCESS.%.**",
        "EZB.PORTACCESS.*.*.X",
        "EZB.PORTACCESS.*.**",
        "EZB.PORTACCESS.*",
        "EZB.PORTACCESS.**.X",
        "EZB.PORTACCESS.**",
        "EZB.PORTACCESS*",
        "EZB.**",
        "*",
        "**.X",
        "**",
    ];
    for pair in order.windows(2) {
        let (a, b) = (name(pair[0]), name(pair[1]));
        assert!(a < b, "{a} {b}");
        assert!(a.covers("EZB.PORTACCESS.H.T.X"), "{a}");
    }
}

/// `PRT-34`, `SAF-01`, `SAF-02`, `SAF-06`, `SAF-08`, `SAF-09`.
#[test]
fn the_closest_profile_decides() {
    let (servauth, found) = servauth(
        "[servauth.\"EZB.PORTACCESS.*.*.FTPDATA\"]\npermit = ['ftp', '@ftpusers', '7', '@100']\n\
         [servauth.\"ezb.portaccess.host1.tcpip.web\"]\nuacc = 'read'\n\
         [servauth.\"EZB.PORTACCESS.**.SEC*\"]\n",
    );
    assert_eq!(found, []);
    assert_eq!(
        servauth.resource("ftpdata"),
        "EZB.PORTACCESS.HOST1.TCPIP.FTPDATA"
    );
    assert_eq!(servauth.access("FTPDATA"), only(&[7, 14], &[50, 100]));
    assert_eq!(servauth.access("WEB"), Access::Everyone);
    assert_eq!(servauth.access("SECRET"), only(&[], &[]));
    let (name, _) = servauth.profile_of("WEB").unwrap();
    assert_eq!(name, "EZB.PORTACCESS.HOST1.TCPIP.WEB");
}

/// `SAF-05`, A-07.
#[test]
fn what_no_profile_covers_is_no_decision() {
    assert_eq!(ServAuth::default().access("X"), Access::NotCovered);
    let (servauth, _) = servauth("[servauth.\"EZB.PORTACCESS.OTHER.*.X\"]\nuacc = 'read'\n");
    assert_eq!(servauth.access("X"), Access::NotCovered);
}

/// `SAF-10`: a name that doesn't exist permits neither nobody silently nor user 0.
#[test]
fn what_is_wrong_is_reported() {
    let (servauth, found) = servauth(
        "[servauth.\"EZB.**.A\"]\npermit = ['ghost', '@ghosts', 'ftp']\n\
         [servauth.\"EZB.**.a\"]\nuacc = 'read'\n\
         [servauth.\"**.EZB.**\"]\n",
    );
    let codes: Vec<Code> = found.iter().map(|(code, _)| *code).collect();
    let expected = [
        Code::UnknownAccount,
        Code::UnknownAccount,
        Code::BadServAuth,
        Code::BadServAuth,
    ];
    assert_eq!(codes, expected);
    assert!(
        found
            .iter()
            .all(|(_, severity)| *severity == Severity::Error)
    );
    assert_eq!(
        servauth.access("A"),
        only(&[14], &[]),
        "the first one stays"
    );
}

/// Character by character, as the rules are told (`SAF-07`).
fn reference(profile: &str, resource: &str) -> bool {
    // `.**` at the end and `**.` at the start take their dot with them.
    if profile == "**" {
        return true;
    }
    if let Some(rest) = profile.strip_prefix("**.") {
        let mut starts = resource.match_indices('.').map(|(at, _)| at + 1);
        return reference(rest, resource) || starts.any(|at| reference(rest, &resource[at..]));
    }
    if profile == ".**" {
        return resource.is_empty() || resource.starts_with('.');
    }
    if let Some(rest) = profile.strip_prefix(".**.") {
        let mut dots = resource.match_indices('.').map(|(at, _)| at + 1);
        return resource.starts_with('.') && dots.any(|at| reference(rest, &resource[at..]));
    }
    match profile.chars().next() {
        None => resource.is_empty(),
        Some('%') => {
            let next = resource.chars().next();
            next.is_some_and(|c| c != '.') && reference(&profile[1..], &resource[1..])
        }
        // At the very end: the rest, whatever it is.
        Some('*') if profile == "*" => true,
        Some('*') => {
            let end = resource.find('.').unwrap_or(resource.len());
            (0..=end).any(|at| reference(&profile[1..], &resource[at..]))
        }
        Some(c) => resource.starts_with(c) && reference(&profile[1..], &resource[1..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// `SAF-07`.
    #[test]
    fn covering_agrees_with_the_reference(
        profile in "([AB%]{1,2}\\*?|\\*|\\*\\*)(\\.([AB%]{1,2}\\*?|\\*|\\*\\*)){0,4}",
        resource in "[AB]{1,2}(\\.[AB]{1,2}){0,5}",
    ) {
        if let Ok(name) = ProfileName::new(&profile) {
            prop_assert_eq!(name.covers(&resource), reference(&profile, &resource));
        } else {
            prop_assert!(profile.matches("**").count() > 1);
        }
    }

    /// `SAF-06`: the order is one, and only a name itself ties with it.
    #[test]
    fn names_are_in_one_order(
        mut names in prop::collection::vec("([AB%]{1,2}\\*?|\\*)(\\.([A%]\\*?|\\*)){0,2}(\\.\\*\\*)?", 3),
    ) {
        names.sort_by_key(|text| name(text));
        for (index, a) in names.iter().enumerate() {
            for b in &names[index..] {
                prop_assert!(name(a) <= name(b));
                prop_assert_eq!(name(a).cmp(&name(b)).is_eq(), a == b);
            }
        }
    }

    #[test]
    fn any_name_is_read_or_refused(text in any::<String>(), resource in any::<String>()) {
        if let Ok(name) = ProfileName::new(&text) {
            name.covers(&resource);
        }
    }
}
