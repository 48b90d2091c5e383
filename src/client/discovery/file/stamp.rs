//! Whether a file may have changed.

use std::{
    fs::Metadata,
    time::{Duration, SystemTime},
};

/// What changes when a file does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// The device, the inode, and when the inode was changed in seconds and nanoseconds, which nobody can set: a copy that keeps
    /// the time of its original has its own.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

/// The granularity of the coarsest clock of a file system (FAT's).
const GRANULE: Duration = Duration::from_secs(2);

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: (
                metadata.dev(),
                metadata.ino(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ),
        }
    }

    /// Whether any later change would be one of the stamp: one that was made within the granule of the clock has the same time.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let is_old = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age > GRANULE);
        let modified = self.modified.is_some_and(is_old);
        modified && self.changed().is_none_or(is_old)
    }

    #[cfg(unix)]
    fn changed(&self) -> Option<SystemTime> {
        let (_, _, seconds, nanoseconds) = self.inode;
        let since = Duration::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "elsewhere it is looked at")]
    fn changed(&self) -> Option<SystemTime> {
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::file::stamp::{GRANULE, Stamp};
    use std::{
        fs::{self, File},
        path::Path,
        time::{Duration, SystemTime},
    };

    fn stamp(path: &Path) -> Stamp {
        Stamp::of(&fs::metadata(path).expect("it is there"))
    }

    #[test]
    fn it_proves_nothing_within_the_granule_of_the_clock_and_in_the_future() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "a").unwrap();
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        assert!(!stamp(&path).is_settled(now));
        assert!(stamp(&path).is_settled(now + hour));

        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(now + hour).unwrap();
        assert!(!stamp(&path).is_settled(now + hour));
        assert!(!stamp(&path).is_settled(now + hour + GRANULE));
        assert!(stamp(&path).is_settled(now + hour + 2 * GRANULE));
    }

    #[test]
    #[cfg(unix)]
    fn a_time_that_was_set_back_hides_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "a").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let now = SystemTime::now();
        file.set_modified(now - Duration::from_secs(3600)).unwrap();
        assert!(!stamp(&path).is_settled(now));
    }

    #[test]
    fn another_file_in_its_place_has_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("file"), directory.path().join("new"));
        let time = SystemTime::now() - Duration::from_secs(3600);
        for (path, text) in [(&path, "a"), (&other, "b")] {
            fs::write(path, text).unwrap();
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(time).unwrap();
        }
        let before = stamp(&path);
        assert_eq!(before, stamp(&path));
        fs::rename(&other, &path).unwrap();
        if cfg!(unix) {
            assert_ne!(before, stamp(&path));
        }
        fs::write(&path, "longer").unwrap();
        assert_ne!(before, stamp(&path));
    }
}
