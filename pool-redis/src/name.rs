//! The name of a command in capitals, without an allocation: servers do not care about the case.

use redis::{Arg, Cmd};

/// Longer than the name of any command that this crate has to know.
const LONGEST: usize = 16;

/// A word of a command, in capitals; empty if it is longer than any that matters.
pub(crate) struct Name {
    letters: [u8; LONGEST],
    len: usize,
}

impl Name {
    /// Of word number `index`, where the command's own name is number 0.
    #[inline]
    pub(crate) fn of(command: &Cmd, index: usize) -> Self {
        match command.args_iter().nth(index) {
            Some(Arg::Simple(word)) => Self::new(word),
            _ => Self::new(b""),
        }
    }

    #[inline]
    pub(crate) fn new(word: &[u8]) -> Self {
        let mut name = Self {
            letters: [0; LONGEST],
            len: 0,
        };
        if let Some(letters) = name.letters.get_mut(..word.len()) {
            letters.copy_from_slice(word);
            letters.make_ascii_uppercase();
            name.len = word.len();
        }
        name
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.letters[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_capitals_or_too_long_to_matter() {
        let command = redis::cmd("Client").arg("no-Evict").clone();
        assert_eq!(Name::of(&command, 0).as_bytes(), b"CLIENT");
        assert_eq!(Name::of(&command, 1).as_bytes(), b"NO-EVICT");
        assert_eq!(Name::of(&command, 2).as_bytes(), b"");
        assert_eq!(Name::new(&[b'x'; LONGEST]).as_bytes(), [b'X'; LONGEST]);
        assert_eq!(Name::new(&[b'x'; LONGEST + 1]).as_bytes(), b"");
    }
}
