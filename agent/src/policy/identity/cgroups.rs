//! The patterns of cgroups as a walk from the root: one state per set of patterns
//! that can still be satisfied and set of conditions that are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portreeve_common::abi::jobs::{
    CHUNK_CHARS, CHUNK_WORDS, MAX_CGROUP_DEPTH, MAX_CHUNKS, Step, StepKey, WildKey,
};

use super::{
    automaton::Pattern,
    conditions::{FactClasses, Numbered},
};
use crate::policy::jobs::{CgroupPattern, component_matches};

/// The walk's tables.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub start: Step,
    pub steps: Vec<(StepKey, Step)>,
    pub wild: Vec<(WildKey, Step)>,
    /// Whether there was room for all of them.
    pub complete: bool,
}

/// How many keys there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub steps: usize,
    pub wild: usize,
}

/// The components with `*` of all `conditions`, each a condition of its own.
pub(super) fn wild_components(conditions: &[Vec<CgroupPattern>]) -> Numbered<String> {
    let mut components = Numbered::default();
    for component in conditions
        .iter()
        .flatten()
        .flat_map(CgroupPattern::components)
    {
        if component.contains('*') {
            components.number(component.clone());
        }
    }
    components
}

/// The same as patterns of an automaton.
pub(super) fn component_patterns(components: &Numbered<String>) -> Vec<Pattern> {
    let patterns = (0..).zip(components.values());
    patterns
        .map(|(number, text)| Pattern::new(text, false, number))
        .collect()
}

/// Compiles `conditions`, a list of patterns each, with the classes of the
/// components with `*` that can occur.
pub(super) fn walk(
    conditions: &[Vec<CgroupPattern>],
    components: &Numbered<String>,
    component_classes: &FactClasses,
    classes: &mut FactClasses,
    limits: Limits,
) -> Walk {
    let parts: Vec<Part<'_>> = (0..)
        .zip(conditions)
        .flat_map(|(condition, patterns)| patterns.iter().map(move |pattern| (condition, pattern)))
        .filter(|(_, pattern)| pattern.components().len() <= MAX_CGROUP_DEPTH as usize)
        .map(|(condition, pattern)| Part {
            condition,
            components: pattern.components(),
        })
        .collect();
    if parts.is_empty() {
        return Walk {
            complete: true,
            ..Walk::default()
        };
    }
    let numbers = components.values().iter().map(String::as_str);
    let mut walker = Walker {
        parts: &parts,
        component_numbers: numbers.zip(0..).collect(),
        classes_of_component: component_classes.by_condition(),
        components_of_class: component_classes.iter().collect(),
        classes,
        limits,
        known: HashMap::new(),
        waiting: Vec::new(),
        last_state: 0,
        walk: Walk {
            complete: true,
            ..Walk::default()
        },
    };
    let live = (0..).zip(&parts).map(|(part, _)| (part, 0));
    let start = State {
        live: live.collect(),
        satisfied: BTreeSet::new(),
    };
    walker.walk.start = walker.step_to(start);
    while let Some((number, state)) = walker.waiting.pop() {
        walker.expand(number, &state);
    }
    walker.walk
}

/// A pattern.
struct Part<'a> {
    condition: u32,
    components: &'a [String],
}

/// A pattern by index, and how many of its components are behind.
type Position = (u32, u32);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    live: BTreeSet<Position>,
    satisfied: BTreeSet<u32>,
}

struct Walker<'a> {
    parts: &'a [Part<'a>],
    component_numbers: HashMap<&'a str, u32>,
    classes_of_component: HashMap<u32, Vec<u32>>,
    components_of_class: HashMap<u32, &'a [u32]>,
    classes: &'a mut FactClasses,
    limits: Limits,
    known: HashMap<State, Step>,
    /// States whose ways on are not in the tables yet.
    waiting: Vec<(u32, State)>,
    last_state: u32,
    walk: Walk,
}

impl<'a> Walker<'a> {
    fn new_state(&mut self) -> u32 {
        self.last_state += 1;
        self.last_state
    }

    fn component(&self, (part, behind): Position) -> &'a str {
        &self.parts[part as usize].components[behind as usize]
    }

    /// The step that leads to `state`.
    fn step_to(&mut self, state: State) -> Step {
        if let Some(step) = self.known.get(&state) {
            return *step;
        }
        let is_wild = |position: &Position| self.component(*position).contains('*');
        let step = Step {
            wild: u32::from(state.live.iter().any(is_wild)),
            state: self.new_state(),
            class: self.classes.of(&state.satisfied),
            reserved: 0,
        };
        self.known.insert(state.clone(), step);
        if !state.live.is_empty() {
            self.waiting.push((step.state, state));
        }
        step
    }

    /// Where a name leads that satisfies the components at `matched`.
    fn advance(&self, state: &State, matched: impl Iterator<Item = Position>) -> State {
        let mut satisfied = state.satisfied.clone();
        let mut further = Vec::new();
        for (part, behind) in matched {
            let Part {
                condition,
                components,
            } = &self.parts[part as usize];
            if behind as usize + 1 == components.len() {
                satisfied.insert(*condition);
            } else {
                further.push((part, behind + 1));
            }
        }
        // A condition that is satisfied stays so below.
        let is_open =
            |position: &Position| !satisfied.contains(&self.parts[position.0 as usize].condition);
        State {
            live: further.into_iter().filter(is_open).collect(),
            satisfied,
        }
    }

    /// Adds the ways on from `state`, whose number is `from`.
    fn expand(&mut self, from: u32, state: &State) {
        let mut exact: BTreeMap<&'a str, Vec<Position>> = BTreeMap::new();
        let mut wild: BTreeMap<&'a str, Vec<Position>> = BTreeMap::new();
        for position in &state.live {
            let component = self.component(*position);
            let kind = if component.contains('*') {
                &mut wild
            } else {
                &mut exact
            };
            kind.entry(component).or_default().push(*position);
        }
        let mut chunks = HashMap::new();
        for (name, positions) in &exact {
            // The programs don't ask the automaton about a name that leads on by itself.
            let of_wild = wild
                .iter()
                .filter(|(pattern, _)| component_matches(pattern, name));
            let matched = positions.iter().chain(of_wild.flat_map(|(_, found)| found));
            let next = self.advance(state, matched.copied());
            self.add_name(from, name, next, &mut chunks);
        }
        let wild: HashMap<u32, Vec<Position>> = wild
            .into_iter()
            .map(|(component, positions)| (self.component_numbers[component], positions))
            .collect();
        let classes: BTreeSet<u32> = wild
            .keys()
            .filter_map(|component| self.classes_of_component.get(component))
            .flatten()
            .copied()
            .collect();
        for class in classes {
            if self.walk.wild.len() == self.limits.wild {
                self.walk.complete = false;
                return;
            }
            let components = self.components_of_class[&class];
            let matched = components
                .iter()
                .filter_map(|component| wild.get(component));
            let next = self.advance(state, matched.flatten().copied());
            let key = WildKey {
                half: 0,
                state: from,
                component: class,
            };
            let step = self.step_to(next);
            self.walk.wild.push((key, step));
        }
    }

    /// Adds the way from state `from` by `name` to `next`; `chunks` holds the
    /// states between the chunks of names from there.
    fn add_name(&mut self, from: u32, name: &str, next: State, chunks: &mut HashMap<StepKey, u32>) {
        let name = name.as_bytes();
        let count = name.len() / CHUNK_CHARS + 1;
        if count > MAX_CHUNKS as usize {
            // No cgroup has so long a name.
            return;
        }
        let mut at = from;
        for index in 0..count {
            if self.walk.steps.len() >= self.limits.steps {
                self.walk.complete = false;
                return;
            }
            let rest = &name[index * CHUNK_CHARS..];
            let key = StepKey {
                half: 0,
                state: at,
                chunk: chunk(&rest[..rest.len().min(CHUNK_CHARS)]),
            };
            if index + 1 == count {
                let step = self.step_to(next);
                self.walk.steps.push((key, step));
                return;
            }
            at = match chunks.get(&key) {
                Some(state) => *state,
                None => {
                    let state = self.new_state();
                    chunks.insert(key, state);
                    let step = Step {
                        state,
                        ..Step::default()
                    };
                    self.walk.steps.push((key, step));
                    state
                }
            };
        }
    }
}

/// At most [`CHUNK_CHARS`] bytes of a name as they stand in a key.
pub(super) fn chunk(part: &[u8]) -> [u64; CHUNK_WORDS] {
    let mut bytes = [0; 8 * CHUNK_WORDS];
    bytes[..part.len()].copy_from_slice(part);
    let (words, _) = bytes.as_chunks::<8>();
    let mut chunk = [0; CHUNK_WORDS];
    for (word, bytes) in chunk.iter_mut().zip(words) {
        *word = u64::from_ne_bytes(*bytes);
    }
    chunk
}
