//! Patterns as one deterministic automaton, in the words that the programs run.

use std::collections::{BTreeSet, HashMap};

use portreeve_common::{abi::jobs::Automaton, identity::FIRST_ROW};

use super::conditions::FactClasses;

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This byte.
    Byte(u8),
    /// Any one byte (`?`).
    Any,
    /// Any bytes (`*`).
    Many,
}

/// A pattern, and which condition it satisfies.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub tokens: Vec<Token>,
    pub condition: u32,
}

impl Pattern {
    /// `*`, and with `question_marks` also `?`, have a meaning; other bytes are
    /// themselves.
    pub fn new(text: &str, question_marks: bool, condition: u32) -> Self {
        let token = |byte| match byte {
            b'*' => Token::Many,
            b'?' if question_marks => Token::Any,
            byte => Token::Byte(byte),
        };
        let mut tokens: Vec<Token> = text.bytes().map(token).collect();
        tokens.dedup_by(|one, other| (*one, *other) == (Token::Many, Token::Many));
        Self { tokens, condition }
    }
}

/// The words of a policy's automata.
#[derive(Debug, Default)]
pub(super) struct Words {
    words: Vec<u16>,
}

/// Words are packed so.
const PER_ELEMENT: usize = 4;
/// Words that say the columns of the bytes.
const BYTES: usize = 256;
/// The column of NUL; column 0 is where a row's class stands.
const NUL: u16 = 1;
/// The column of every byte that no pattern spells.
const OTHER: u16 = 2;

impl Words {
    /// Words packed as in the table, the first one lowest.
    pub fn packed(&self) -> Vec<u64> {
        let pack = |four: &[u16]| {
            four.iter()
                .rev()
                .fold(0, |packed, word| packed << 16 | u64::from(*word))
        };
        self.words.chunks(PER_ELEMENT).map(pack).collect()
    }

    /// Adds the automaton of `patterns`; the class of a text is that of the
    /// conditions whose patterns it matches. No more than `limit` words are
    /// used in all: then `false` is returned too, and texts that led further
    /// match nothing.
    pub fn add(
        &mut self,
        patterns: &[Pattern],
        classes: &mut FactClasses,
        limit: usize,
    ) -> (Automaton, bool) {
        if patterns.is_empty() {
            return (Automaton::default(), true);
        }
        let columns = columns(patterns);
        let width = usize::from(OTHER) + 1 + columns.spelled.len();
        let start = self.words.len();
        let room = limit.saturating_sub(start + BYTES) / width;
        let (rows, complete) = rows(patterns, &columns, classes, room.min(usize::from(u16::MAX)));
        if rows.is_empty() {
            return (Automaton::default(), false);
        }
        self.words.extend(columns.of_bytes);
        self.words.extend(rows);
        let automaton = Automaton {
            start: start as u32,
            width: width as u32,
        };
        (automaton, complete)
    }
}

/// Bytes that no pattern tells apart share a column.
struct Columns {
    of_bytes: [u16; BYTES],
    /// The bytes with a column of their own, behind [`OTHER`].
    spelled: Vec<u8>,
}

fn columns(patterns: &[Pattern]) -> Columns {
    let tokens = patterns.iter().flat_map(|pattern| &pattern.tokens);
    let spelled: BTreeSet<u8> = tokens
        .filter_map(|token| match token {
            // A text ends at its first NUL.
            Token::Byte(0) | Token::Any | Token::Many => None,
            Token::Byte(byte) => Some(*byte),
        })
        .collect();
    let mut of_bytes = [OTHER; BYTES];
    of_bytes[0] = NUL;
    for (column, byte) in (OTHER + 1..).zip(&spelled) {
        of_bytes[usize::from(*byte)] = column;
    }
    Columns {
        of_bytes,
        spelled: spelled.into_iter().collect(),
    }
}

/// A place in a pattern: its index, and how many of its tokens are behind. At a
/// `*` it is the place behind it too, because that may stand for nothing.
type Position = (u32, u16);

/// The rows, if there is room for the dead end, the first and `room` in all.
fn rows(
    patterns: &[Pattern],
    columns: &Columns,
    classes: &mut FactClasses,
    room: usize,
) -> (Vec<u16>, bool) {
    let mut table = Table {
        patterns,
        room,
        known: HashMap::new(),
        states: Vec::new(),
        complete: true,
    };
    let starts = (0..).zip(patterns).map(|(index, _)| (index, 0));
    if room <= FIRST_ROW as usize || table.row(starts.collect()) == 0 {
        return (Vec::new(), false);
    }
    // The dead end.
    let mut words = vec![0; columns.width()];
    let mut row = 0;
    while let Some(state) = table.states.get(row).cloned() {
        let number = row as u16 + FIRST_ROW as u16;
        words.push(table.class(&state, classes) as u16);
        words.push(number);
        let (others, mut spelled) = table.ways(&state);
        let of_others = table.row(others.clone());
        words.push(of_others);
        for byte in &columns.spelled {
            words.push(match spelled.remove(byte) {
                None => of_others,
                Some(further) => table.row(others.iter().copied().chain(further).collect()),
            });
        }
        row += 1;
    }
    (words, table.complete)
}

impl Columns {
    fn width(&self) -> usize {
        usize::from(OTHER) + 1 + self.spelled.len()
    }
}

/// The states found so far; that of the first row stands first.
struct Table<'a> {
    patterns: &'a [Pattern],
    room: usize,
    known: HashMap<Vec<Position>, u16>,
    states: Vec<Vec<Position>>,
    complete: bool,
}

impl Table<'_> {
    fn token(&self, (pattern, behind): Position) -> Option<Token> {
        let tokens = &self.patterns[pattern as usize].tokens;
        tokens.get(usize::from(behind)).copied()
    }

    /// The row of the state that `positions` are; the dead end if they match
    /// nothing any more or there is no room.
    fn row(&mut self, positions: Vec<Position>) -> u16 {
        let state = self.reduced(positions);
        if state.is_empty() {
            return 0;
        }
        if let Some(row) = self.known.get(&state) {
            return *row;
        }
        let row = self.states.len() + FIRST_ROW as usize;
        if row >= self.room {
            self.complete = false;
            return 0;
        }
        self.states.push(state.clone());
        self.known.insert(state, row as u16);
        row as u16
    }

    /// `positions` without those that others make superfluous: in a pattern all
    /// before the last `*` that was reached, because what matches from there
    /// matches from the `*` too, and other patterns of a condition that any rest
    /// of the text satisfies.
    fn reduced(&self, mut positions: Vec<Position>) -> Vec<Position> {
        positions.sort_unstable();
        positions.dedup();
        let mut kept: Vec<Position> = Vec::with_capacity(positions.len());
        let mut satisfied = BTreeSet::new();
        for position in positions {
            if self.token(position) == Some(Token::Many) {
                let is_other = |kept: &Position| kept.0 != position.0;
                let length = kept.iter().rposition(is_other).map_or(0, |last| last + 1);
                kept.truncate(length);
                if self.token((position.0, position.1 + 1)).is_none() {
                    satisfied.insert(self.condition(position));
                }
            }
            kept.push(position);
        }
        if !satisfied.is_empty() {
            kept.retain(|position| {
                let condition = self.condition(*position);
                let is_end = self.token(*position) == Some(Token::Many)
                    && self.token((position.0, position.1 + 1)).is_none();
                !satisfied.contains(&condition) || is_end
            });
        }
        kept
    }

    fn condition(&self, position: Position) -> u32 {
        self.patterns[position.0 as usize].condition
    }

    /// Where bytes lead that no pattern spells, and where each other byte leads
    /// besides.
    fn ways(&self, state: &[Position]) -> (Vec<Position>, HashMap<u8, Vec<Position>>) {
        let mut others = Vec::new();
        let mut spelled: HashMap<u8, Vec<Position>> = HashMap::new();
        for &(pattern, mut behind) in state {
            if self.token((pattern, behind)) == Some(Token::Many) {
                others.push((pattern, behind));
                behind += 1;
            }
            match self.token((pattern, behind)) {
                Some(Token::Any) => others.push((pattern, behind + 1)),
                Some(Token::Byte(byte)) => {
                    spelled.entry(byte).or_default().push((pattern, behind + 1));
                }
                // Two `*` never follow each other.
                Some(Token::Many) | None => {}
            }
        }
        (others, spelled)
    }

    /// The class of a text that ends in `state`.
    fn class(&self, state: &[Position], classes: &mut FactClasses) -> u32 {
        let ended = state.iter().filter(|&&(pattern, behind)| {
            let at = self.token((pattern, behind));
            let next = self.token((pattern, behind + 1));
            at.is_none() || (at == Some(Token::Many) && next.is_none())
        });
        classes.of(&ended.map(|position| self.condition(*position)).collect())
    }
}
