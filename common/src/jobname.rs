//! Job names, patterns and their matching, written for the BPF verifier.
//!
//! A name is at most [`NAME_LEN`]` - 1` bytes, padded with NULs to two machine
//! words, because that is what the kernel keeps of a process name. Everything
//! here works on those words without a branch per character: a byte loop that
//! stops early, or one that backtracks, doesn't pass every verifier, and
//! branches multiply the paths it has to walk.
//!
//! A pattern is compiled into one of two forms (`PRT-02` to `PRT-04`):
//! [`MaskedName`], two masked compares, says all patterns whose only `*` is the
//! last character; [`Glob`], an automaton with one table look-up per character,
//! says the others.

/// Bytes of a name with its padding: the size of the kernel's `comm`.
pub const NAME_LEN: usize = 16;

/// Longest name or pattern, in characters (z/OS has 8; see [`ZOS_NAME_CHARS`]).
pub const MAX_NAME_CHARS: usize = NAME_LEN - 1;

/// Longest job name on z/OS (port-control 3.1).
pub const ZOS_NAME_CHARS: usize = 8;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A folded name: upper case, cut at its first NUL, padded with NULs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(C)]
pub struct Name {
    words: [u64; 2],
}

impl Name {
    /// The name in a kernel `comm` buffer. What stands behind the first NUL is
    /// dropped: on older kernels it can be the rest of an earlier name.
    #[inline(always)]
    pub fn from_comm(comm: [u64; 2]) -> Self {
        let first = u64::from_le(comm[0]);
        let second = u64::from_le(comm[1]);
        let (first, ended) = cut_at_nul(first);
        // Nothing more is masked: with a top byte that is known to be zero, the
        // compiler leaves out the masks that older verifiers need to see before
        // they accept a character as an index.
        let (second, _) = cut_at_nul(second & !ended);
        Self {
            words: [fold(first), fold(second)],
        }
    }

    /// The subject that the kernel's own threads are, and no process.
    pub const KERNEL: Self = Self {
        words: [u64::from_le_bytes(*b"KERNEL\0\0"), 0],
    };

    /// The name whose words these are.
    #[inline(always)]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self { words }
    }

    /// Its characters as two words, the first one in the lowest byte.
    #[inline(always)]
    pub const fn words(self) -> [u64; 2] {
        self.words
    }

    /// The name spelled `text`, folded. `None` if it is longer than
    /// [`MAX_NAME_CHARS`] or holds a NUL.
    pub fn new(text: &str) -> Option<Self> {
        if text.len() > MAX_NAME_CHARS || text.as_bytes().contains(&0) {
            return None;
        }
        let mut bytes = [0; NAME_LEN];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self::from_comm(words(bytes).map(u64::to_le)))
    }

    /// The name's bytes, padded with NULs.
    pub fn bytes(self) -> [u8; NAME_LEN] {
        let mut bytes = [0; NAME_LEN];
        bytes[..8].copy_from_slice(&self.words[0].to_le_bytes());
        bytes[8..].copy_from_slice(&self.words[1].to_le_bytes());
        bytes
    }

    /// Whether there is no name at all; no process is called so.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.words[0] & 0xff == 0
    }

    /// Character `index`, or 0 behind the end.
    #[inline(always)]
    fn byte(self, index: usize) -> u8 {
        (self.words[index / 8] >> (8 * (index % 8))) as u8
    }
}

fn words(bytes: [u8; NAME_LEN]) -> [u64; 2] {
    let mut first = [0; 8];
    let mut second = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    second.copy_from_slice(&bytes[8..]);
    [u64::from_le_bytes(first), u64::from_le_bytes(second)]
}

/// The high bit of each zero byte of `word`. Exact up to and including the
/// lowest zero byte, which is all that is asked of it here.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// `word` up to its first NUL byte, and all ones if it had one (else zero).
#[inline(always)]
fn cut_at_nul(word: u64) -> (u64, u64) {
    let zeros = zero_bytes(word);
    let lowest = zeros & zeros.wrapping_neg();
    // Bits below the lowest NUL byte; all of them when there is none.
    let keep = (lowest >> 7).wrapping_sub(1);
    let ended = ((zeros | zeros.wrapping_neg()) >> 63).wrapping_neg();
    (word & keep, ended)
}

/// ASCII lower case to upper case, eight bytes at once.
#[inline(always)]
fn fold(word: u64) -> u64 {
    let seven = word & !HIGH;
    let from_a = seven + (0x80 - b'a' as u64) * ONES;
    let above_z = seven + (0x7f - b'z' as u64) * ONES;
    let lower = (from_a & !above_z) & !word & HIGH;
    word ^ (lower >> 2)
}

/// A pattern without `*`, or whose only `*` ends it. The default matches nothing:
/// no name can satisfy it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MaskedName {
    /// 0xff where a literal character stands (and behind an exact name's end).
    mask: [u64; 2],
    literal: [u64; 2],
    /// 0xff where `?` stands: any character, but there must be one.
    any: [u64; 2],
}

impl Default for MaskedName {
    fn default() -> Self {
        // A literal bit outside the mask is never equal.
        Self {
            mask: [0; 2],
            literal: [u64::MAX; 2],
            any: [0; 2],
        }
    }
}

impl MaskedName {
    /// Compiles `pattern`; `None` if it needs a [`Glob`], is empty or too long.
    pub fn new(pattern: &str) -> Option<Self> {
        let (stem, open) = match pattern.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (pattern, false),
        };
        if pattern.is_empty() || stem.contains('*') || stem.len() > MAX_NAME_CHARS {
            return None;
        }
        let name = Name::new(stem)?;
        let mut mask = [if open { 0 } else { 0xff }; NAME_LEN];
        let mut any = [0; NAME_LEN];
        for (index, byte) in stem.bytes().enumerate() {
            let wild = byte == b'?';
            mask[index] = if wild { 0 } else { 0xff };
            any[index] = if wild { 0xff } else { 0 };
        }
        let mask = words(mask);
        Some(Self {
            mask,
            literal: [name.words[0] & mask[0], name.words[1] & mask[1]],
            any: words(any),
        })
    }

    /// Whether the pattern matches the whole of `name`.
    #[inline(always)]
    pub fn matches(&self, name: Name) -> bool {
        let [first, second] = name.words;
        let wrong = ((first & self.mask[0]) ^ self.literal[0])
            | ((second & self.mask[1]) ^ self.literal[1])
            | zero_bytes(first | !self.any[0])
            | zero_bytes(second | !self.any[1]);
        wrong == 0
    }
}

/// A pattern with `*` anywhere, as an automaton: bit `i` of the state says "the
/// first `i` characters of the pattern (stars not counted) are matched".
///
/// One character moves the state by one table look-up, without a branch; NUL,
/// the padding, leaves it as it is. The all-zero value matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Glob {
    /// Per byte: in the low half the states that advance, in the high half
    /// those that stay.
    step: [u32; 256],
    /// The bit of the final state.
    accept: u32,
    _reserved: u32,
}

impl Glob {
    /// Compiles `pattern`; `None` if it is empty or longer than a name can be.
    pub fn new(pattern: &str) -> Option<Self> {
        if pattern.is_empty() || pattern.len() > MAX_NAME_CHARS || pattern.contains('\0') {
            return None;
        }
        let mut advance = [0u32; 256];
        let mut stars = 0u32;
        let mut position = 0;
        for byte in pattern.bytes() {
            match byte {
                b'*' => stars |= 1 << position,
                b'?' => {
                    for (_, states) in advance.iter_mut().enumerate().skip(1) {
                        *states |= 1 << position;
                    }
                    position += 1;
                }
                _ => {
                    // Names are folded before they are matched.
                    advance[usize::from(byte.to_ascii_uppercase())] |= 1 << position;
                    position += 1;
                }
            }
        }
        let mut step = [0; 256];
        for (byte, states) in advance.iter().enumerate() {
            step[byte] = states | (stars << 16);
        }
        step[0] = 0xffff_0000;
        Some(Self {
            step,
            accept: 1 << position,
            _reserved: 0,
        })
    }

    /// Whether the pattern matches the whole of `name`.
    #[inline(always)]
    pub fn matches(&self, name: Name) -> bool {
        let mut state = 1u32;
        let mut index = 0;
        while index < NAME_LEN {
            // A byte is always an index of 256 words; `get` lets the compiler
            // see it without a panic path, which BPF can't have.
            let step = self
                .step
                .get(usize::from(name.byte(index)))
                .copied()
                .unwrap_or(0);
            state = ((state & step & 0xffff) << 1) | (state & (step >> 16));
            index += 1;
        }
        state & self.accept != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The slow and obvious matcher.
    fn reference(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skip| reference(rest, &name[skip..])),
            Some((b'?', rest)) => !name.is_empty() && reference(rest, &name[1..]),
            Some((c, rest)) => name.first() == Some(c) && reference(rest, &name[1..]),
        }
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn comm_is_cut_at_its_first_nul() {
        // Seen on 5.10: "dd_", NUL, NUL, "er/".
        let comm = words(*b"dd_\0\0er/\0\0\0\0\0\0\0\0").map(u64::to_le);
        assert_eq!(Name::from_comm(comm), name("DD_"));
        let comm = words(*b"abcdefgh\0rubbish").map(u64::to_le);
        assert_eq!(Name::from_comm(comm), name("ABCDEFGH"));
        assert!(Name::from_comm([0, 0]).is_empty());
        assert!(Name::from_comm([0, u64::MAX]).is_empty());
    }

    /// The kernel terminates every comm. Should one not be, no exact name is equal to it.
    #[test]
    fn an_unterminated_comm_is_nobodys_name() {
        let comm = words(*b"abcdefghijklmnop").map(u64::to_le);
        let matches = |pattern: &str| {
            MaskedName::new(pattern)
                .unwrap()
                .matches(Name::from_comm(comm))
        };
        assert!(!matches("ABCDEFGHIJKLMNO"));
        assert!(matches("ABC*"));
    }

    #[test]
    fn only_ascii_letters_fold() {
        for byte in 1..=u8::MAX {
            let mut bytes = [0; NAME_LEN];
            bytes[0] = byte;
            bytes[9] = byte;
            bytes[1..9].fill(b'A');
            let folded = Name::from_comm(words(bytes).map(u64::to_le)).bytes();
            assert_eq!(folded[0], byte.to_ascii_uppercase());
            assert_eq!(folded[9], byte.to_ascii_uppercase());
        }
    }

    #[test]
    fn zero_values_match_nobody() {
        for text in ["", "A", "FTPD1", "ABCDEFGHIJKLMNO"] {
            assert!(!MaskedName::default().matches(name(text)));
            let zero = Glob {
                step: [0; 256],
                accept: 0,
                _reserved: 0,
            };
            assert!(!zero.matches(name(text)));
        }
    }

    /// `PRT-02`, `PRT-03`, `PRT-04`.
    #[test]
    fn exact_prefix_and_question_mark() {
        let matches =
            |pattern: &str, text: &str| MaskedName::new(pattern).unwrap().matches(name(text));
        assert!(matches("FTPD1", "FTPD1"));
        assert!(matches("ftpd1", "FtPd1"));
        assert!(!matches("FTPD1", "FTPD"));
        assert!(!matches("FTPD1", "FTPD12"));
        assert!(matches("ABC*", "ABC"));
        assert!(matches("ABC*", "ABCDEFGHIJKLMNO"));
        assert!(!matches("ABC*", "AB"));
        assert!(matches("WEB?", "WEB1"));
        assert!(!matches("WEB?", "WEB"));
        assert!(!matches("WEB?", "WEB12"));
        assert!(!matches("???????????????", "ABCDEFGHIJKLMN"));
        assert!(matches("???????????????", "ABCDEFGHIJKLMNO"));
        assert!(MaskedName::new("A*B").is_none());
        assert!(MaskedName::new("").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn patterns_agree_with_the_reference(
            pattern in "[AB?*]{1,15}",
            text in "[ABab]{0,15}",
        ) {
            let expected = reference(pattern.as_bytes(), text.to_ascii_uppercase().as_bytes());
            prop_assert_eq!(Glob::new(&pattern).unwrap().matches(name(&text)), expected);
            if let Some(masked) = MaskedName::new(&pattern) {
                prop_assert_eq!(masked.matches(name(&text)), expected);
            } else {
                prop_assert!(pattern.trim_end_matches('*').contains('*') || pattern.ends_with("**"));
            }
        }

        #[test]
        fn any_comm_folds_like_the_obvious_way(comm in any::<[u8; 16]>()) {
            let text: Vec<u8> = comm.iter().copied().take_while(|b| *b != 0)
                .map(|b| b.to_ascii_uppercase()).collect();
            let folded = Name::from_comm(words(comm).map(u64::to_le)).bytes();
            prop_assert_eq!(&folded[..text.len()], &text[..]);
            prop_assert!(folded[text.len()..].iter().all(|b| *b == 0));
        }
    }
}
