//! Which calls are calls to which method.

use crate::mock::journal::call::Call;
use crate::schema::MethodName;
use std::collections::{BTreeMap, VecDeque};

/// The numbers of the calls to each method, in order. A method is found by any form of its name, and its calls without a
/// look at others, however many there are.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the last part of the name, which all its forms have.
    by_bare_name: BTreeMap<String, Vec<Method>>,
}

#[derive(Debug)]
struct Method {
    full_name: String,
    numbers: VecDeque<usize>,
}

impl Index {
    /// Adds a call, later than all others.
    pub(super) fn push(&mut self, call: &Call, number: usize) {
        let bare = call.bare_name();
        let methods = match self.by_bare_name.get_mut(bare) {
            Some(methods) => methods,
            None => self.by_bare_name.entry(bare.to_owned()).or_default(),
        };
        let full_name = call.full_name();
        let known = methods.iter_mut().find(|one| one.full_name == full_name);
        match known {
            Some(method) => method.numbers.push_back(number),
            None => methods.push(Method {
                full_name: full_name.to_owned(),
                numbers: VecDeque::from([number]),
            }),
        }
    }

    /// Takes away this call, the oldest of all.
    pub(super) fn pop_oldest(&mut self, call: &Call) {
        let bare = call.bare_name();
        let Some(methods) = self.by_bare_name.get_mut(bare) else {
            return;
        };
        let full_name = call.full_name();
        if let Some(place) = methods.iter().position(|one| one.full_name == full_name) {
            methods[place].numbers.pop_front();
            if methods[place].numbers.is_empty() {
                methods.swap_remove(place);
            }
        }
        if methods.is_empty() {
            self.by_bare_name.remove(bare);
        }
    }

    /// How many calls there are to the methods of this name.
    pub(super) fn count(&self, name: &MethodName) -> usize {
        self.named(name).map(|method| method.numbers.len()).sum()
    }

    /// The calls to the methods of this name, in order.
    pub(super) fn numbers(&self, name: &MethodName) -> Vec<usize> {
        let methods: Vec<&Method> = self.named(name).collect();
        let numbers = methods.iter().flat_map(|method| &method.numbers);
        let mut numbers: Vec<usize> = numbers.copied().collect();
        if methods.len() > 1 {
            numbers.sort_unstable();
        }
        numbers
    }

    fn named<'a>(&'a self, name: &'a MethodName) -> impl Iterator<Item = &'a Method> {
        let methods = self.by_bare_name.get(name.bare()).into_iter().flatten();
        methods.filter(|method| name.names(&method.full_name))
    }
}
