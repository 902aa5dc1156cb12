//! Making text from files harmless on a terminal.

/// Longest word that a message quotes, in characters.
const QUOTED_CHARS: usize = 40;

/// Whether `c` could change a terminal's state or the order of what it shows.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Appends `c`, escaped if it is hostile.
fn push_escaped(text: &mut String, c: char) {
    if is_hostile(c) {
        text.extend(c.escape_unicode());
    } else {
        text.push(c);
    }
}

/// One harmless character that stands for `c`, so that columns stay what they are.
pub fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        // The pictures of the control characters are in their order.
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('?'),
        '\x7f' => '\u{2421}',
        _ if is_hostile(c) => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

/// `text` with every hostile character escaped.
pub fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        push_escaped(&mut result, c);
    }
    result
}

/// A word from a file as messages show it: in backquotes, escaped, cut if long.
pub fn quoted(word: &str) -> String {
    let mut result = String::from("`");
    for (index, c) in word.chars().enumerate() {
        if index == QUOTED_CHARS {
            result.push_str("...");
            break;
        }
        push_escaped(&mut result, c);
    }
    result.push('`');
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hostile_is_left() {
        let all: String = (0..=0x11_0000u32).filter_map(char::from_u32).collect();
        assert!(!escaped(&all).chars().any(is_hostile));
        assert!(!all.chars().map(visible).any(is_hostile));
        assert_eq!(escaped("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escaped("\u{9b}"), "\\u{9b}");
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(quoted("FTPD1"), "`FTPD1`");
        assert!(quoted(&"x".repeat(1 << 20)).len() < 60);
    }
}
