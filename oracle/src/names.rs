//! Job names and patterns (port-control 3.1, 4.6).

/// A job name as it is compared: upper case, and stars in a row are one.
pub fn folded(user: &str) -> String {
    let mut name = user.to_ascii_uppercase();
    while name.contains("**") {
        name = name.replace("**", "*");
    }
    name
}

/// Whether `pattern` matches the whole of `name`, character by character.
pub fn glob(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|skip| glob(rest, &name[skip..])),
        ['?', rest @ ..] => !name.is_empty() && glob(rest, &name[1..]),
        [c, rest @ ..] => name.first() == Some(c) && glob(rest, &name[1..]),
    }
}

/// Whether the operand `user` means something called `name`.
pub fn means(user: &str, name: &str) -> bool {
    let characters = |text: &str| folded(text).chars().collect::<Vec<char>>();
    let name: Vec<char> = name.to_ascii_uppercase().chars().collect();
    glob(&characters(user), &name)
}

/// How close a match is; smaller is closer.
pub fn distance(user: &str) -> (u8, i32, i32, i32) {
    let user = folded(user);
    let count = |wanted: fn(char) -> bool| user.chars().filter(|c| wanted(*c)).count() as i32;
    match user.as_str() {
        "RESERVED" => (9, 0, 0, 0),
        "*" => (4, 0, 0, 0),
        "OMVS" => (3, 0, 0, 0),
        _ if count(|c| c == '*' || c == '?') == 0 => (1, 0, 0, 0),
        _ => {
            let literals = count(|c| c != '*' && c != '?');
            let stars = count(|c| c == '*');
            let prefix = user.chars().take_while(|c| *c != '*' && *c != '?').count() as i32;
            (2, -literals, stars, -prefix)
        }
    }
}
