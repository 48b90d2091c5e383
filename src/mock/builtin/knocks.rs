//! What is agreed upon by knocking, where all connections go through one.

use crate::address::Address;
use crate::net::Opener;
use crate::proto::plugin::{ConnInfo, conn_info::Knock};
use std::collections::{HashMap, VecDeque};

/// The state of a multiplexed broker.
#[derive(Debug, Default)]
pub(super) struct Knocks {
    /// Who serves under which number.
    pub(super) offered: HashMap<u32, Address>,
    /// Which numbers are refused, and in which words.
    pub(super) refused: HashMap<u32, String>,
    /// Whose streams come next.
    expected: VecDeque<Address>,
    /// The connection that came last.
    pub(super) session: Option<Opener>,
}

impl Knocks {
    /// What a host hears that knocks. After a yes its next stream is expected.
    pub(super) fn answer(&mut self, number: u32) -> ConnInfo {
        let error = match (self.refused.get(&number), self.offered.get(&number)) {
            (Some(error), _) => error.clone(),
            (None, None) => format!("no listener for id {number}"),
            (None, Some(offered)) => {
                self.expected.push_back(offered.clone());
                String::new()
            }
        };
        knock(number, true, error)
    }

    /// Where the stream goes that has come, if it was announced.
    pub(super) fn next(&mut self) -> Option<Address> {
        self.expected.pop_front()
    }
}

/// A knock, or the answer to one.
pub(super) fn knock(number: u32, answers: bool, error: String) -> ConnInfo {
    ConnInfo {
        service_id: number,
        network: String::new(),
        address: String::new(),
        knock: Some(Knock {
            knock: true,
            ack: answers && error.is_empty(),
            error,
        }),
    }
}
