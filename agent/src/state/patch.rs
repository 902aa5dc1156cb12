//! A file as what tells it from another one: of a long profile in which a line was
//! changed, only the line has to be written, and to be on the disk, before the change comes
//! into force.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};

/// Shorter files are always kept whole: that is as quick.
const SHORTEST: usize = 64 << 10;
/// Most bytes that may differ; it is all written with the index, whenever that is.
const MOST: usize = 16 << 10;

/// A file that begins and ends like another one, its base, which is kept whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Patch {
    /// The base's hash.
    pub base: String,
    /// The base's bytes.
    pub length: u64,
    /// So many bytes are the base's first ones.
    head: usize,
    /// Then these follow, in base64.
    middle: String,
    /// And so many bytes are the base's last ones.
    tail: usize,
}

impl Patch {
    /// What makes `new` of `old`, which has hash `hash`, or is kept as the patch `of_old`.
    /// `None` if `new` is short, or differs too much.
    pub fn new(hash: &str, old: &[u8], of_old: Option<&Self>, new: &[u8]) -> Option<Self> {
        if new.len() < SHORTEST {
            return None;
        }
        let head = same(old, new);
        let rests = [&old[head..], &new[head..]];
        let tail = same_at_end(rests[0], rests[1]);
        // What both have of the old file, as far as the base has it.
        let (base, length, head, tail) = match of_old {
            Some(patch) => {
                let (head, tail) = (head.min(patch.head), tail.min(patch.tail));
                (patch.base.as_str(), patch.length, head, tail)
            }
            None => (hash, old.len() as u64, head, tail),
        };
        let middle = new.get(head..new.len() - tail)?;
        (middle.len() <= MOST).then(|| Self {
            base: base.to_owned(),
            length,
            head,
            middle: BASE64_STANDARD.encode(middle),
            tail,
        })
    }

    /// The file, of `base`; `None` if that is another one, or the patch nonsense. Whether
    /// it is the right file is for its hash to say.
    pub fn apply(&self, base: &[u8]) -> Option<Vec<u8>> {
        let middle = BASE64_STANDARD.decode(&self.middle).ok()?;
        let head = base.get(..self.head)?;
        let tail = base.get(base.len().checked_sub(self.tail)?..)?;
        Some([head, &middle, tail].concat())
    }
}

/// How many bytes `one` and `other` begin with alike.
fn same(one: &[u8], other: &[u8]) -> usize {
    /// Compared at once, as long as they are alike.
    const STRIDE: usize = 4096;
    let strides = one.chunks_exact(STRIDE).zip(other.chunks_exact(STRIDE));
    let whole = strides.take_while(|(one, other)| one == other).count() * STRIDE;
    let rest = one[whole..].iter().zip(&other[whole..]);
    whole + rest.take_while(|(one, other)| one == other).count()
}

/// How many bytes they end with alike.
fn same_at_end(one: &[u8], other: &[u8]) -> usize {
    const STRIDE: usize = 4096;
    let strides = one.rchunks_exact(STRIDE).zip(other.rchunks_exact(STRIDE));
    let whole = strides.take_while(|(one, other)| one == other).count() * STRIDE;
    let rests = [one, other].map(|bytes| bytes[..bytes.len() - whole].iter().rev());
    let [one, other] = rests;
    whole
        + one
            .zip(other)
            .take_while(|(one, other)| one == other)
            .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn long() -> Vec<u8> {
        (0..SHORTEST as u32 + 9000)
            .flat_map(u32::to_le_bytes)
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// One change after the other, each kept as what tells it from the first file.
        #[test]
        fn patches_make_the_file(changes in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..9usize, prop::collection::vec(any::<u8>(), 0..9)),
            1..4,
        )) {
            let base = long();
            let (mut old, mut patch) = (base.clone(), None);
            for (at, gone, come) in changes {
                let mut new = old.clone();
                let at = at.index(new.len() - gone);
                new.splice(at..at + gone, come);
                if let Some(made) = Patch::new("base", &old, patch.as_ref(), &new) {
                    prop_assert_eq!(&made.base, "base");
                    prop_assert_eq!(made.length, base.len() as u64);
                    let again = made.apply(&base);
                    prop_assert_eq!(again.as_ref(), Some(&new));
                    (old, patch) = (new, Some(made));
                }
            }
        }
    }

    #[test]
    fn what_differs_much_or_is_short_is_no_patch() {
        let base = long();
        let patch = |new: &[u8]| Patch::new("base", &base, None, new);
        assert!(patch(&base).is_some());
        assert!(patch(&base[..100]).is_none());
        assert!(patch(&vec![7; base.len()]).is_none());
        // Bytes that repeat belong to the beginning or to the end, not to both.
        let (short, long) = (vec![7; SHORTEST], vec![7; SHORTEST + 5]);
        for (old, new) in [(&short, &long), (&long, &short)] {
            let patch = Patch::new("base", old, None, new).unwrap();
            assert_eq!(patch.apply(old).as_ref(), Some(new));
            assert_eq!(patch.apply(&[]), None);
        }
    }
}
