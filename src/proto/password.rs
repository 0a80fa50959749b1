//! Which passwords are too easy to guess: those on a list of common ones, also where they are only dressed up with
//! digits, marks and look-alikes, those that are a pattern, and those that repeat what everyone knows (NIST SP 800-63B
//! §3.1.1.2, ASVS 6.2.4). No rules of composition: length is what counts.

use crate::base::limits::PASSWORD_BYTES_MAX;
use crate::base::limits::PASSWORD_CHARS_MIN;

#[cfg(test)]
mod tests;

/// One a line, lower case, sorted; lines with `#` are not.
const COMMON: &str = include_str!("../../static/common-passwords.txt");

/// What everyone knows of this product.
const PRODUCT: &str = "ringfort";

/// Digits and marks around a common word that do not make it less common, such as `2026!`.
const DRESSING_MAX: usize = 5;

/// Rows of keyboards and the alphabet: a walk along one is no password.
const WALKS: [&str; 6] =
    ["abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm"];
/// Characters that may follow one another in a walk before it weighs.
const WALK_PIECE: usize = 4;

/// Whether this may become the password of the user with this name.
///
/// # Errors
/// A sentence part on what is wrong, never with the password in it.
pub fn check(name: &str, password: &str) -> Result<(), String> {
    let chars = password.chars().count();
    if chars < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("it has {PASSWORD_CHARS_MIN} characters at least and {PASSWORD_BYTES_MAX} bytes at most"));
    }
    let refused = |reason: &str| Err(format!("{reason}; take several unrelated words"));
    let plain = password.to_lowercase();
    if is_common(&plain) {
        return refused("it is one of those that are tried first");
    }
    if is_pattern(&plain) {
        return refused("it repeats itself or follows a row of keys");
    }
    let mut without_known = plain.replace(PRODUCT, "");
    if name.chars().count() > 2 {
        without_known = without_known.replace(&name.to_lowercase(), "");
    }
    if without_known != plain && without_known.chars().count() < PASSWORD_CHARS_MIN {
        return refused("it is little more than the name of the user or of this product");
    }
    Ok(())
}

fn is_listed(word: &str) -> bool {
    COMMON.lines().any(|line| line == word && !line.starts_with('#'))
}

fn is_common(plain: &str) -> bool {
    if is_listed(plain) {
        return true;
    }
    let readings = [straight(plain), undressed(plain)];
    readings.iter().any(|word| {
        let dressing = plain.chars().count().saturating_sub(word.chars().count());
        dressing <= DRESSING_MAX && !word.is_empty() && is_listed(word)
    })
}

/// Without digits and marks at its ends.
fn straight(plain: &str) -> String {
    plain.trim_matches(|c: char| !c.is_alphabetic()).to_owned()
}

/// The same after look-alikes are read as letters.
fn undressed(plain: &str) -> String {
    let end = plain.trim_end_matches(|c: char| !c.is_alphabetic());
    let letter = |c: char| match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    };
    end.chars().map(letter).collect()
}

/// Few different characters, one piece again and again, or little beside walks along rows of keys.
fn is_pattern(plain: &str) -> bool {
    let chars: Vec<char> = plain.chars().collect();
    let mut different = chars.clone();
    different.sort_unstable();
    different.dedup();
    let repeats = |piece: usize| chars.iter().zip(chars.iter().skip(piece)).all(|(a, b)| a == b);
    different.len() < 4 || (1..=chars.len() / 2).any(repeats) || outside_walks(&chars) < PASSWORD_CHARS_MIN / 2
}

/// Characters that no walk of at least [`WALK_PIECE`] covers; each walk counts as one.
fn outside_walks(chars: &[char]) -> usize {
    let (mut outside, mut rest) = (0, chars);
    while let [_, tail @ ..] = rest {
        let walk = (WALK_PIECE..=rest.len()).take_while(|len| rest.get(..*len).is_some_and(is_walk)).last();
        rest = walk.and_then(|len| rest.get(len..)).unwrap_or(tail);
        outside += 1;
    }
    outside
}

fn is_walk(piece: &[char]) -> bool {
    let forward: String = piece.iter().collect();
    let backward: String = piece.iter().rev().collect();
    WALKS.iter().any(|walk| walk.contains(&forward) || walk.contains(&backward))
}
