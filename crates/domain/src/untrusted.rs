//! Text that a machine wrote: cleaned where it enters, marked as untrusted by its type ever after.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};

/// Text from a machine. It is data, never an instruction: terminal escapes, control characters, bidirectional
/// overrides and invisible characters were removed when it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Untrusted<T>(T);

impl Untrusted<String> {
    /// Cleans `text`: see [`clean`].
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(clean(text.as_ref()))
    }

    /// The cleaned text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Untrusted<String> {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Untrusted<String> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Untrusted<String> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer).map(Self::new)
    }
}

impl JsonSchema for Untrusted<String> {
    fn schema_name() -> Cow<'static, str> {
        "Untrusted".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// Longest text kept of one field, in characters; what is longer ends in `…`.
pub const LONGEST: usize = 4_096;

/// Removes terminal escape sequences, control characters (a line feed or tab becomes a space), bidirectional
/// controls, zero-width and tag characters; cuts at [`LONGEST`] characters.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len().min(LONGEST));
    let mut kept = 0;
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let character = match character {
            '\u{1b}' => {
                skip_escape(&mut rest);
                continue;
            }
            '\n' | '\t' => ' ',
            other if is_invisible(other) => continue,
            other => other,
        };
        if kept == LONGEST {
            cleaned.push('…');
            break;
        }
        cleaned.push(character);
        kept += 1;
    }
    cleaned
}

fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.peek() {
        // CSI: parameters, then one final byte
        Some('[') => {
            rest.next();
            for character in rest.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&character) {
                    break;
                }
            }
        }
        // OSC, DCS, SOS, PM, APC: everything up to BEL or ST
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let mut before = ' ';
            for character in rest.by_ref() {
                if character == '\u{7}' || character == '\u{9c}' || (before == '\u{1b}' && character == '\\')
                {
                    break;
                }
                before = character;
            }
        }
        Some(_) => {
            rest.next();
        }
        None => {}
    }
}

fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_becomes_plain() {
        let hostile = "\u{1b}[31mred\u{1b}[0m \u{1b}]8;;http://evil\u{7}link\u{1b}]8;;\u{7}\u{202e}abc\u{200b}d\n\u{e0041}end";
        assert_eq!(clean(hostile), "red linkabcd end");
    }

    #[test]
    fn long_text_says_that_it_was_cut() {
        let text = clean(&"x".repeat(LONGEST + 5));
        assert_eq!(text.chars().count(), LONGEST + 1);
        assert!(text.ends_with('…'));
    }
}
