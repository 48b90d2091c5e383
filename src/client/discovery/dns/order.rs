//! In which order addresses are told.

use std::{collections::HashSet, hash::Hash};

/// What was found, in an order that stays: what was there before is where it was, and what is new comes after it, as the resolver
/// prefers it. A name server turns its answers round, so that each of them looks like another set otherwise.
pub(super) fn settled<T: Clone + Eq + Hash>(before: &[T], found: Vec<T>) -> Vec<T> {
    let mut new = HashSet::new();
    let mut found: Vec<T> = found
        .into_iter()
        .filter(|one| new.insert(one.clone()))
        .collect();
    let mut settled: Vec<T> = before
        .iter()
        .filter(|one| new.remove(one))
        .cloned()
        .collect();
    found.retain(|one| new.contains(one));
    settled.append(&mut found);
    settled
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::dns::order::settled;

    #[test]
    fn the_first_answer_is_told_as_it_is_without_what_it_says_twice() {
        assert_eq!(settled(&[], vec![3, 1, 3, 2, 1]), [3, 1, 2]);
    }

    #[test]
    fn what_was_there_is_where_it_was_and_what_is_new_comes_after_it() {
        assert_eq!(settled(&[3, 1, 2], vec![1, 2, 3]), [3, 1, 2]);
        assert_eq!(settled(&[3, 1, 2], vec![5, 2, 4, 3]), [3, 2, 5, 4]);
        assert_eq!(settled(&[3, 1, 2], vec![4]), [4]);
    }
}
