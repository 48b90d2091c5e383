//! Which version of the application's protocol is spoken.

/// The versions in `PLUGIN_PROTOCOL_VERSIONS`, and what there is no number. (A server of go-plugin skips those and says so.)
pub(crate) fn versions_of(listed: &str) -> (Vec<u32>, Vec<&str>) {
    let mut versions = Vec::new();
    let mut others = Vec::new();
    for field in listed.split(',').filter(|field| !field.is_empty()) {
        match field.parse() {
            Ok(version) => versions.push(version),
            Err(_) => others.push(field),
        }
    }
    (versions, others)
}

/// The newest version that both have. If there is none, the plugin's oldest: the host then tells what does not fit, and a
/// host that lists none is an old one.
pub(crate) fn negotiate(plugin: &[u32], host: &[u32]) -> u32 {
    let both = plugin.iter().filter(|version| host.contains(version)).max();
    *both.or_else(|| plugin.iter().min()).unwrap_or(&1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_both_have_is_spoken() {
        for (plugin, host, spoken) in [
            (&[1][..], &[1][..], 1),
            (&[1, 2, 3], &[2, 1], 2),
            (&[3, 1, 2], &[9, 3, 2], 3),
            (&[5, 6], &[1, 2], 5),
            (&[5, 6], &[], 5),
            (&[], &[4], 1),
        ] {
            assert_eq!(negotiate(plugin, host), spoken, "{plugin:?} {host:?}");
        }
    }

    #[test]
    fn what_is_no_version_is_left_out() {
        assert_eq!(versions_of("5,6"), (vec![5, 6], vec![]));
        assert_eq!(versions_of("5,six,-1,,7"), (vec![5, 7], vec!["six", "-1"]));
        assert_eq!(versions_of(""), (vec![], vec![]));
    }
}
