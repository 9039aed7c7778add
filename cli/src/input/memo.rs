//! Names seen before, with what they stand for.

use indexmap::IndexMap;

/// Bytes of names and what they stand for; quick where names come in the same order again and again, as in logs.
#[derive(Debug)]
pub(super) struct Memo<T> {
    known: IndexMap<Box<[u8]>, T>,
    /// Position of the name that came last.
    last: usize,
}

/// Names are looked for one by one among so many, by their hash among more.
const FEW: usize = 8;

impl<T: Copy> Memo<T> {
    pub(super) fn new() -> Self {
        Self { known: IndexMap::new(), last: 0 }
    }

    /// What a name stands for, if it was seen before.
    pub(super) fn get(&mut self, name: &[u8]) -> Option<T> {
        let guesses = [self.last, self.last + 1, 0];
        let is_it = |&at: &usize| self.known.get_index(at).is_some_and(|(known, _)| **known == *name);
        let at = match guesses.into_iter().find(is_it) {
            Some(at) => at,
            None if self.known.len() <= FEW => (0..self.known.len()).find(is_it)?,
            None => self.known.get_index_of(name)?,
        };
        self.last = at;
        Some(self.known[at])
    }

    /// Keeps what a name stands for.
    pub(super) fn insert(&mut self, name: &[u8], value: T) {
        self.last = self.known.insert_full(name.into(), value).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_order() {
        let mut memo = Memo::new();
        assert_eq!(memo.get(b"0"), None);
        for number in 0..50 {
            memo.insert(number.to_string().as_bytes(), number);
            for stride in [1, 7, 49] {
                for i in 0..=number {
                    let wanted = i * stride % (number + 1);
                    assert_eq!(memo.get(wanted.to_string().as_bytes()), Some(wanted));
                }
            }
            assert_eq!(memo.get(b"none"), None);
        }
    }
}
