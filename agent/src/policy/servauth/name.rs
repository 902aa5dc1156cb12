//! Names of resource profiles: what they cover and which is the closest.

use std::{cmp::Ordering, fmt};

/// Longest name of a profile.
const MAX_CHARS: usize = 246;

/// One qualifier of a profile's name (`SAF-07`). In a text, `%` stands for one
/// character.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Qualifier {
    /// Text: exactly one qualifier, spelled so.
    Exact(String),
    /// Text and `*` inside a name: one qualifier that begins so. The text may be
    /// empty: any one qualifier.
    Begins(String),
    /// Text and `*` at the end of a name: a qualifier that begins so, and any
    /// number of further ones.
    Rest(String),
    /// `**`: any number of qualifiers, none included.
    Any,
}

/// A profile's name. Ordered by how specific it is, most specific first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProfileName {
    qualifiers: Vec<Qualifier>,
    text: String,
}

impl ProfileName {
    /// The name spelled `text`; `Err` says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if text.chars().count() > MAX_CHARS {
            return Err("a name has at most 246 characters");
        }
        let text = text.to_ascii_uppercase();
        let mut qualifiers = Vec::new();
        let mut rest = text.split('.').peekable();
        while let Some(word) = rest.next() {
            let qualifier = qualifier(word, rest.peek().is_none())?;
            if qualifier == Qualifier::Any && qualifiers.contains(&Qualifier::Any) {
                return Err("** may stand in it only once");
            }
            qualifiers.push(qualifier);
        }
        Ok(Self { qualifiers, text })
    }

    /// Whether the profile covers `resource`, which is in upper case.
    pub fn covers(&self, resource: &str) -> bool {
        let resource: Vec<&str> = resource.split('.').collect();
        covers(&self.qualifiers, &resource)
    }

    /// What the name consists of, in the order in which RACF compares names.
    fn parts(&self) -> impl Iterator<Item = Part> {
        let last = self.qualifiers.len().saturating_sub(1);
        let parts = self
            .qualifiers
            .iter()
            .enumerate()
            .flat_map(move |(index, qualifier)| {
                let (text, end) = match qualifier {
                    Qualifier::Exact(text) => (text.as_str(), None),
                    Qualifier::Begins(text) => (text.as_str(), Some(Part::Star)),
                    Qualifier::Rest(text) => (text.as_str(), Some(Part::Rest)),
                    Qualifier::Any => ("", Some(Part::Any)),
                };
                let trailing = *qualifier == Qualifier::Any && index == last && index > 0;
                let (dot, end) = match (trailing, index) {
                    (true, _) => (None, Some(Part::Tail)),
                    (false, 0) => (None, end),
                    (false, _) => (Some(Part::Character('.')), end),
                };
                let characters = text.chars().map(|c| match c {
                    '%' => Part::Percent,
                    _ => Part::Character(c),
                });
                dot.into_iter().chain(characters).chain(end)
            });
        parts.chain([Part::End])
    }

    /// Whether it names one resource only.
    fn is_discrete(&self) -> bool {
        !self.text.contains(['%', '*'])
    }
}

/// Part of a name; the more specific, the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Character(char),
    /// Nothing more: closer than all that could as well stand for nothing.
    End,
    /// `.**` at the end: a dot, unless it stands for nothing.
    Tail,
    Percent,
    /// `*` inside a name.
    Star,
    /// `*` at the end.
    Rest,
    /// `**` elsewhere.
    Any,
}

impl Ord for ProfileName {
    /// Discrete names come first. Two generic ones are compared from left to
    /// right, as RACF does: at the first difference a character is closer than
    /// `%`, that closer than `*`, and that closer than `**`. `*` at the end of a
    /// name, which crosses dots, is less close than one inside.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .is_discrete()
            .cmp(&self.is_discrete())
            .then_with(|| self.parts().cmp(other.parts()))
    }
}

impl PartialOrd for ProfileName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn qualifier(word: &str, is_last: bool) -> Result<Qualifier, &'static str> {
    if word == "**" {
        return Ok(Qualifier::Any);
    }
    let (text, star) = match word.strip_suffix('*') {
        Some(text) => (text, true),
        None => (word, false),
    };
    if text.contains('*') {
        return Err("* stands at the end of a qualifier and ** only between dots");
    }
    if word.is_empty() {
        return Err("there is nothing between two dots or at an end");
    }
    let legal = |c: char| matches!(c, 'A'..='Z' | '0'..='9' | '@' | '#' | '$' | '-' | '_' | '%');
    if !text.chars().all(legal) {
        return Err("it has letters, digits and @ # $ - _, with % and * for others");
    }
    let text = text.to_owned();
    Ok(match (star, is_last) {
        (false, _) => Qualifier::Exact(text),
        (true, false) => Qualifier::Begins(text),
        (true, true) => Qualifier::Rest(text),
    })
}

/// There is at most one `**`, so this takes at most the product of the lengths.
fn covers(qualifiers: &[Qualifier], resource: &[&str]) -> bool {
    let Some((qualifier, qualifiers)) = qualifiers.split_first() else {
        return resource.is_empty();
    };
    if *qualifier == Qualifier::Any {
        return (0..=resource.len()).any(|skipped| covers(qualifiers, &resource[skipped..]));
    }
    let Some((word, resource)) = resource.split_first() else {
        return false;
    };
    match qualifier {
        Qualifier::Exact(text) => spells(text, word, false) && covers(qualifiers, resource),
        Qualifier::Begins(text) => spells(text, word, true) && covers(qualifiers, resource),
        Qualifier::Rest(text) => spells(text, word, true),
        Qualifier::Any => false,
    }
}

/// Whether `word` is spelled, or with `more` begins, like `text`.
fn spells(text: &str, word: &str, more: bool) -> bool {
    let mut word = word.chars();
    let same = text
        .chars()
        .all(|c| word.next().is_some_and(|other| c == '%' || c == other));
    same && (more || word.next().is_none())
}
