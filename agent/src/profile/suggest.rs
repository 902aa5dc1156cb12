//! Did you mean ...?

/// Longest word that is compared; longer ones are no misspelt keywords.
const LONGEST: usize = 32;

/// How many edits a word of this length may be away from a keyword.
fn allowance(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    }
}

/// The candidate closest to `word`, ignoring case, and how many edits away it
/// is; `None` if none is close.
pub fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<(&'a str, usize)> {
    if word.len() > LONGEST || !word.is_ascii() {
        return None;
    }
    let word = word.to_ascii_uppercase();
    let allowed = allowance(word.len());
    let set = letters(word.as_bytes());
    // An edit changes at most one letter for another; this spares most of the work.
    let similar = |candidate: &&str| {
        let different = (letters(candidate.as_bytes()) ^ set).count_ones() as usize;
        candidate.len().abs_diff(word.len()) <= allowed && different <= 2 * allowed
    };
    candidates
        .into_iter()
        .filter(similar)
        .map(|candidate| (candidate, distance(word.as_bytes(), candidate.as_bytes())))
        .filter(|(_, edits)| *edits <= allowed)
        .min_by_key(|(_, edits)| *edits)
}

/// The letters of `word` as a set.
fn letters(word: &[u8]) -> u32 {
    word.iter()
        .fold(0, |set, byte| set | 1 << (byte.to_ascii_uppercase() & 31))
}

/// Edits (insert, delete, change, swap two neighbours) from `a` to `b`, both of
/// at most twice [`LONGEST`] bytes.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before_last = [0u8; 2 * LONGEST + 1];
    let mut last = [0u8; 2 * LONGEST + 1];
    for (edits, cell) in (0..).zip(&mut last) {
        *cell = edits;
    }
    let width = b.len().min(2 * LONGEST);
    for (row, left) in a.iter().take(2 * LONGEST).enumerate() {
        let mut current = [0u8; 2 * LONGEST + 1];
        current[0] = row as u8 + 1;
        for (column, right) in b.iter().take(width).enumerate() {
            let changed = last[column] + u8::from(left != right);
            let mut edits = changed.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *left == b[column - 1] && a[row - 1] == *right;
            if swapped {
                edits = edits.min(before_last[column - 1] + 1);
            }
            current[column + 1] = edits;
        }
        before_last = last;
        last = current;
    }
    usize::from(last[width])
}

/// `"did you mean X?"`, for a help line.
pub fn did_you_mean(keyword: &str) -> String {
    format!("did you mean `{keyword}`?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in [
            ("PROT", "PORT", 1),
            ("PORT", "PORT", 0),
            ("", "AB", 2),
            ("PRT", "PORT", 1),
            ("NOAUTLOG", "NOAUTOLOG", 1),
            ("ABC", "XYZ", 3),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), edits, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), edits, "{b} {a}");
        }
    }

    #[test]
    fn only_close_words_are_suggested() {
        let names = ["PORT", "PORTRANGE", "HOME"];
        assert_eq!(closest("prot", names), Some(("PORT", 1)));
        assert_eq!(closest("PORTRNAGE", names), Some(("PORTRANGE", 1)));
        assert_eq!(closest("XYZZY", names), None);
        assert_eq!(closest("P", names), None);
        assert_eq!(closest(&"P".repeat(1 << 20), names), None);
        assert_eq!(closest("PÖRT", names), None);
    }
}
