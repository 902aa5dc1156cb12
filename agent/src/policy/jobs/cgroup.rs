//! Patterns of cgroups.

use std::fmt;

/// A cgroup and all below it: an absolute path from the root of the hierarchy,
/// with `*` for any characters within one component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupPattern {
    components: Vec<String>,
}

impl CgroupPattern {
    /// The pattern `path`, which the config has checked.
    pub fn new(path: &str) -> Self {
        Self {
            components: components(path).map(str::to_owned).collect(),
        }
    }

    /// Its components from the root on, each a name or a pattern.
    pub fn components(&self) -> &[String] {
        &self.components
    }

    /// Whether the cgroup at `path`, or one that it is in, is meant. The root is
    /// never meant: it would be everybody.
    pub fn covers(&self, path: &str) -> bool {
        let mut path = components(path);
        !self.components.is_empty()
            && self.components.iter().all(|pattern| {
                path.next()
                    .is_some_and(|name| component_matches(pattern, name))
            })
    }
}

impl fmt::Display for CgroupPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.components
            .iter()
            .try_for_each(|component| write!(f, "/{component}"))
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|component| !component.is_empty())
}

/// Whether `pattern`, with `*` for any characters, spells the whole of `name`.
/// The first place where a piece fits is as good as any later one.
pub fn component_matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|start| name.strip_prefix(start)) else {
        return false;
    };
    let Some(end) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(end)
}
