//! Endpoints of SRV records.

use crate::address::Address;
use crate::endpoint::Endpoint;
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// A [record](https://www.rfc-editor.org/rfc/rfc2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    /// A name; `.` says that there is no such service.
    pub(super) target: String,
}

/// Those that are of a service, in an order that does not depend on that of an answer.
pub(super) fn sorted(records: impl IntoIterator<Item = Record>) -> Vec<Record> {
    let of_service = |record: &Record| record.target != ".";
    let mut records: Vec<_> = records.into_iter().filter(of_service).collect();
    records.sort_by(|one, next| {
        let key = |record: &Record| (record.priority, record.port);
        (one.target.cmp(&next.target)).then(key(one).cmp(&key(next)))
    });
    records.sort_by_key(|record| record.priority);
    records
}

/// An endpoint for each address of each target. A target has its weight at each of its addresses.
pub(super) fn endpoints(
    records: &[Record],
    addresses: &HashMap<String, Vec<IpAddr>>,
    tls: bool,
    tls_name: &str,
) -> Vec<Endpoint> {
    let weighted: HashSet<u16> = records
        .iter()
        .filter(|record| record.weight > 0)
        .map(|record| record.priority)
        .collect();
    let of = |record: &Record| {
        // Where nobody has a weight all are alike; where somebody has, 0 is for those that are called when no other can be.
        let weight = match weighted.contains(&record.priority) {
            true => record.weight.into(),
            false => 1,
        };
        let (priority, port) = (record.priority.into(), record.port);
        let found = addresses.get(&record.target).into_iter().flatten();
        let endpoint = move |ip: &IpAddr| {
            Endpoint::from(Address::from(SocketAddr::new(*ip, port)).with_tls(tls))
                .weight(weight)
                .priority(priority)
                .tls_name(tls_name)
        };
        found.map(endpoint).collect::<Vec<_>>()
    };
    records.iter().flat_map(of).collect()
}

/// How long the records are gone by, when so much of the shortest of their times is left: a zone without caching is not asked all
/// the time, and one whose records are for days is asked again.
pub(super) fn good_for(left: Duration) -> Duration {
    left.clamp(Duration::from_secs(5), Duration::from_secs(5 * 60))
}

/// The domain that a service is of: what comes after `_service._proto.`, which no certificate has.
pub(super) fn domain(name: &str) -> &str {
    let mut domain = name.trim_end_matches('.');
    while let Some((label, rest)) = domain.split_once('.') {
        if !label.starts_with('_') {
            break;
        }
        domain = rest;
    }
    domain
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::dns::records::{Record, domain, endpoints, good_for, sorted};
    use crate::endpoint::Endpoint;
    use pretty_assertions::assert_eq;
    use std::{collections::HashMap, net::IpAddr, time::Duration};

    fn record(priority: u16, weight: u16, port: u16, target: &str) -> Record {
        Record {
            priority,
            weight,
            port,
            target: target.to_owned(),
        }
    }

    fn addresses(of: &[(&str, &[&str])]) -> HashMap<String, Vec<IpAddr>> {
        let parsed = |all: &[&str]| all.iter().map(|one| one.parse().expect("an IP")).collect();
        of.iter()
            .map(|(target, all)| ((*target).to_owned(), parsed(all)))
            .collect()
    }

    fn endpoint(address: &str, priority: u32, weight: u32) -> Endpoint {
        let endpoint = Endpoint::new(address).expect("an address");
        endpoint
            .priority(priority)
            .weight(weight)
            .tls_name("kv.internal")
    }

    #[test]
    fn a_record_is_an_endpoint_for_each_address_of_its_target() {
        let records = sorted([
            record(20, 5, 2, "c."),
            record(10, 0, 1, "b."),
            record(10, 60, 1, "a."),
        ]);
        let addresses = addresses(&[
            ("a.", &["10.0.0.1", "::1"]),
            ("b.", &["10.0.0.2"]),
            ("c.", &["10.0.0.3"]),
        ]);
        let expected = [
            endpoint("10.0.0.1:1", 10, 60),
            endpoint("[::1]:1", 10, 60),
            endpoint("10.0.0.2:1", 10, 0),
            endpoint("10.0.0.3:2", 20, 5),
        ];
        assert_eq!(
            endpoints(&records, &addresses, false, "kv.internal"),
            expected
        );
        let secure = endpoints(&records[2..], &addresses, true, "kv.internal");
        assert_eq!(secure, [endpoint("https://10.0.0.3:2", 20, 5)]);
    }

    #[test]
    fn where_nobody_has_a_weight_all_have_the_same() {
        let records = sorted([
            record(1, 0, 1, "a."),
            record(1, 0, 2, "a."),
            record(2, 0, 3, "a."),
            record(2, 7, 4, "a."),
        ]);
        let found = endpoints(&records, &addresses(&[("a.", &["10.0.0.1"])]), false, "");
        let weights: Vec<_> = found.iter().map(|one| one.weight).collect();
        assert_eq!(weights, [1, 1, 0, 7]);
    }

    #[test]
    fn the_order_is_that_of_the_records_and_not_of_the_answer() {
        let (one, two, three) = (
            record(0, 1, 1, "a."),
            record(0, 9, 2, "a."),
            record(1, 1, 1, "A."),
        );
        let expected = [one.clone(), two.clone(), three.clone()];
        assert_eq!(sorted([three.clone(), two.clone(), one.clone()]), expected);
        assert_eq!(sorted([two, three, one]), expected);
    }

    #[test]
    fn a_lone_dot_is_no_service() {
        assert_eq!(sorted([record(0, 0, 0, ".")]), []);
    }

    #[test]
    fn records_are_gone_by_from_five_seconds_to_five_minutes() {
        let table = [(0, 5), (4, 5), (6, 6), (299, 299), (86_400, 300)];
        for (left, expected) in table {
            let left = Duration::from_secs(left);
            assert_eq!(good_for(left), Duration::from_secs(expected));
        }
    }

    #[test]
    fn the_domain_is_without_service_and_protocol() {
        let table = [
            ("_grpc._tcp.kv.internal", "kv.internal"),
            ("_grpc._tcp.kv.internal.", "kv.internal"),
            ("kv.service.consul", "kv.service.consul"),
            ("_grpc", "_grpc"),
        ];
        for (name, expected) in table {
            assert_eq!(domain(name), expected);
        }
    }
}
