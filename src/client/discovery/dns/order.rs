//! In which order addresses are told.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

/// What was found, each key once, in an order that stays: what was there before is where it was, and what is new comes after it,
/// as the resolver prefers it. A name server turns its answers round, so that each of them looks like another set otherwise.
pub(super) fn settled<T, K: Eq + Hash>(
    before: &[T],
    found: Vec<T>,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    let ranks: HashMap<K, usize> = before.iter().map(&key).zip(0..).collect();
    let mut known = HashSet::new();
    let mut ranked: Vec<(usize, T)> = Vec::new();
    for one in found {
        let key = key(&one);
        let rank = ranks.get(&key).copied().unwrap_or(usize::MAX);
        if known.insert(key) {
            ranked.push((rank, one));
        }
    }
    // Stable: those that are new have the same rank.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::dns::order::settled;

    #[test]
    fn the_first_answer_is_told_as_it_is_without_what_it_says_twice() {
        assert_eq!(settled(&[], vec![3, 1, 3, 2, 1], |one| *one), [3, 1, 2]);
    }

    #[test]
    fn what_was_there_is_where_it_was_and_what_is_new_comes_after_it() {
        let before = [3, 1, 2];
        let table: [(&[i32], &[i32]); 3] = [
            (&[1, 2, 3], &[3, 1, 2]),
            (&[5, 2, 4, 3], &[3, 2, 5, 4]),
            (&[4], &[4]),
        ];
        for (found, expected) in table {
            assert_eq!(settled(&before, found.to_vec(), |one| *one), expected);
        }
    }

    #[test]
    fn what_has_changed_is_told_as_it_is_now() {
        let (before, found) = (vec![("a", 1), ("b", 1)], vec![("b", 2), ("a", 1)]);
        assert_eq!(settled(&before, found, |one| one.0), [("a", 1), ("b", 2)]);
    }
}
