//! What is new in a file, by one look at it.

use crate::client::discovery::file::{format, stamp::Stamp};
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::PathBuf,
    time::SystemTime,
};

/// Reads a file again and again, and remembers what it has told of it.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    /// What cannot have changed as long as the file has this stamp.
    settled: Option<Stamp>,
    told: Told,
}

/// What was told last.
#[derive(Debug)]
enum Told {
    Nothing,
    /// The endpoints that these bytes are.
    Contents(Vec<u8>),
    /// A mistake, in words.
    Mistake(String),
}

impl Reader {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            settled: None,
            told: Told::Nothing,
        }
    }

    /// What there is now, if it is not what was told last.
    pub(super) fn look(&mut self, now: SystemTime) -> Option<Result<Vec<Endpoint>, Error>> {
        if self.is_as_it_was() {
            return None;
        }
        self.settled = None;
        let found = self.read().and_then(|(stamp, contents)| {
            if matches!(&self.told, Told::Contents(told) if *told == contents) {
                return Ok((stamp, contents, None));
            }
            let endpoints = self.understand(&contents)?;
            Ok((stamp, contents, Some(endpoints)))
        });
        match found {
            Ok((stamp, contents, endpoints)) => {
                self.settled = Some(stamp).filter(|stamp| stamp.is_settled(now));
                self.told = Told::Contents(contents);
                endpoints.map(Ok)
            }
            Err(error) => {
                let text = error.chain();
                if matches!(&self.told, Told::Mistake(told) if *told == text) {
                    return None;
                }
                self.told = Told::Mistake(text);
                Some(Err(error))
            }
        }
    }

    fn is_as_it_was(&self) -> bool {
        let Some(settled) = &self.settled else {
            return false;
        };
        fs::metadata(&self.path).is_ok_and(|metadata| Stamp::of(&metadata) == *settled)
    }

    fn read(&self) -> Result<(Stamp, Vec<u8>), Error> {
        // Opening a pipe would wait for somebody who writes to it.
        let is_file = fs::metadata(&self.path).map(|metadata| metadata.is_file());
        if !is_file.map_err(|error| self.unreadable(error))? {
            return Err(self.mistake("is no regular file"));
        }
        let read = || {
            let mut file = File::open(&self.path)?;
            // Before it is read: what is written meanwhile has another one.
            let stamp = Stamp::of(&file.metadata()?);
            let mut contents = Vec::new();
            file.read_to_end(&mut contents)?;
            Ok((stamp, contents))
        };
        read().map_err(|error| self.unreadable(error))
    }

    fn understand(&self, contents: &[u8]) -> Result<Vec<Endpoint>, Error> {
        format::read(contents).map_err(|mistake| {
            let path = self.path.display();
            Error::new(
                Kind::Discovery,
                format!("the endpoint file `{path}`, {mistake}"),
            )
        })
    }

    fn unreadable(&self, error: io::Error) -> Error {
        let what = match error.kind() {
            io::ErrorKind::NotFound => "is not there",
            _ => "cannot be read",
        };
        self.mistake(what).caused_by(error)
    }

    fn mistake(&self, what: &str) -> Error {
        let path = self.path.display();
        Error::new(
            Kind::Discovery,
            format!("the endpoint file `{path}` {what}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::file::look::Reader;
    use std::{
        fs,
        path::Path,
        time::{Duration, SystemTime},
    };

    /// The addresses, or the mistake; the path is written `$`.
    fn look(reader: &mut Reader, later: u64) -> Option<String> {
        let path = format!("`{}`", reader.path.display());
        let now = SystemTime::now() + Duration::from_secs(later);
        Some(match reader.look(now)? {
            Ok(endpoints) => {
                let addresses = endpoints.iter().map(|one| one.address.to_string());
                addresses.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string().replace(&path, "$"),
        })
    }

    fn reader(directory: &Path) -> Reader {
        Reader::new(directory.join("endpoints.json"))
    }

    #[test]
    fn what_is_new_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = reader(directory.path());
        let path = reader.path.clone();
        let mut news = |later| look(&mut reader, later);
        assert_eq!(news(0).unwrap(), "the endpoint file $ is not there");
        assert_eq!(news(0), None);

        fs::write(&path, r#"["a:1"]"#).unwrap();
        assert_eq!(news(0).unwrap(), "a:1");
        assert_eq!(news(0), None);
        // The same length, and maybe the same time.
        fs::write(&path, r#"["b:2"]"#).unwrap();
        assert_eq!(news(0).unwrap(), "b:2");
        // Written anew, and nothing else.
        fs::write(&path, r#"["b:2"]"#).unwrap();
        assert_eq!(news(0), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(news(0).unwrap(), "the endpoint file $ is not there");
        // It comes back as it was: that the mistake is over has to be told.
        fs::write(&path, r#"["b:2"]"#).unwrap();
        assert_eq!(news(0).unwrap(), "b:2");
        fs::write(&path, "[]").unwrap();
        assert_eq!(news(0).unwrap(), "");
    }

    #[test]
    fn a_settled_file_is_read_again_when_its_stamp_changes() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = reader(directory.path());
        let (path, new) = (reader.path.clone(), directory.path().join("new"));
        fs::write(&path, r#"["a:1"]"#).unwrap();
        assert_eq!(look(&mut reader, 3600).unwrap(), "a:1");
        assert!(reader.settled.is_some() && reader.is_as_it_was());
        assert_eq!(look(&mut reader, 3600), None);
        for text in [r#"["a:2"]"#, r#"["longer:3"]"#] {
            fs::write(&new, text).unwrap();
            fs::rename(&new, &path).unwrap();
            let told = look(&mut reader, 3600).unwrap();
            assert_eq!(format!(r#"["{told}"]"#), text);
        }
        // By what was fresh when it was read nothing is proved later.
        fs::write(&path, r#"["fresh:1"]"#).unwrap();
        assert_eq!(look(&mut reader, 0).unwrap(), "fresh:1");
        assert!(reader.settled.is_none());
    }

    #[test]
    fn a_mistake_is_told_when_it_changes_and_read_until_it_is_mended() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = reader(directory.path());
        let path = reader.path.clone();
        let mut news = |text: &str| {
            fs::write(&path, text).expect("it can be written");
            look(&mut reader, 3600)
        };
        let half = "the endpoint file $, line 1 column 5: EOF while parsing a string";
        assert_eq!(news(r#"["a:1"#).unwrap(), half);
        assert_eq!(news(r#"["a:1"#), None);
        let next = "the endpoint file $, line 1 column 6: EOF while parsing a list";
        assert_eq!(news(r#"["a:1""#).unwrap(), next);
        assert_eq!(news(r#"["a:1"]"#).unwrap(), "a:1");
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = Reader::new(directory.path().to_owned());
        let told = look(&mut reader, 0).unwrap();
        assert_eq!(told, "the endpoint file $ is no regular file");
    }

    #[test]
    #[cfg(unix)]
    fn a_symbolic_link_that_is_turned_elsewhere_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = reader(directory.path());
        let path = reader.path.clone();
        for (name, text) in [("one", r#"["a:1"]"#), ("two", r#"["a:2"]"#)] {
            let (target, link) = (directory.path().join(name), directory.path().join("link"));
            fs::write(&target, text).unwrap();
            std::os::unix::fs::symlink(&target, &link).unwrap();
            fs::rename(&link, &path).unwrap();
            let told = look(&mut reader, 3600).unwrap();
            assert_eq!(format!(r#"["{told}"]"#), text);
        }
    }
}
