//! Machines that are dying or hostile: whatever they answer, a collector gives a reading or an error, never a panic.

use domain::facts::Facts;
use domain::testing::play;

use crate::recordings::Recording;

/// A stream of numbers that is the same at each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// What is done to every output of a conversation.
type Change = Box<dyn FnMut(&mut Vec<u8>)>;

fn changes() -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for length in [0, 1, 2, 3, 5, 9, 17, 33, 65, 127, 255, 511, 1023, 2047, 4095] {
        changes.push(Box::new(move |output| output.truncate(length)));
    }
    for seed in 1..12 {
        let mut noise = Noise(0x9E37_79B9_7F4A_7C15 ^ seed);
        changes.push(Box::new(move |output| {
            for byte in output.iter_mut() {
                if noise.next().is_multiple_of(20) {
                    *byte = noise.next().to_le_bytes()[0];
                }
            }
        }));
    }
    // the largest numbers that fit, and ones that do not
    for digits in
        ["18446744073709551615", "9223372036854775808", "99999999999999999999999", "-1", "4294967296"]
    {
        changes.push(Box::new(move |output| {
            let text = String::from_utf8_lossy(output).into_owned();
            let mut hostile = String::new();
            let mut is_inside = false;
            for character in text.chars() {
                if !character.is_ascii_digit() {
                    hostile.push(character);
                } else if !is_inside {
                    hostile.push_str(digits);
                }
                is_inside = character.is_ascii_digit();
            }
            *output = hostile.into_bytes();
        }));
    }
    // fields in a row without what is between them
    changes.push(Box::new(|output| output.retain(|byte| !byte.is_ascii_whitespace())));
    changes.push(Box::new(|output| output.retain(|byte| *byte != b'\n')));
    changes
}

#[test]
fn no_answer_makes_a_collector_panic() {
    for recording in Recording::all() {
        let facts = recording.facts();
        for change in changes() {
            let transcript = recording.transcript.clone().altered(change);
            // an error is an answer, too
            drop(play(recording.def, &transcript, &facts));
            drop(play(recording.def, &transcript, &Facts::default()));
        }
    }
}
