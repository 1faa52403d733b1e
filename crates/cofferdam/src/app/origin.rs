//! The name of the log: chosen at first start, kept beside the journal, never changed by accident.

use std::io::Write as _;
use std::path::Path;

/// The name when nobody chose one.
pub const DEFAULT_ORIGIN: &str = "cofferdam.local/default";
/// Longest name, in bytes.
const ORIGIN_BYTES_MAX: usize = 200;
/// The file below the data directory that holds the name.
const FILE: &str = "origin";

/// Why there is no name.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// Another one was chosen before: checkpoints of both could not be told to be of one log.
    #[error(
        "the journal's origin is `{stored}`, not `{asked}`; leave --origin out or use another data directory"
    )]
    Another {
        /// In the data directory.
        stored: String,
        /// Asked for now.
        asked: String,
    },
    /// Not a name that a signed note can carry.
    #[error(
        "`{0}` is not an origin: use 1 to 200 of A-Z, a-z, 0-9, `.`, `-`, `_` and `/`, like `example.org/team`"
    )]
    Unfit(String),
    /// The file cannot be read or written.
    #[error("origin file `{path}`")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// The origin of the journal in `data_dir`; the default when none was ever stored.
///
/// # Errors
/// The file cannot be read or holds no origin.
pub fn stored_origin(data_dir: &Path) -> Result<String, OriginError> {
    Ok(read(data_dir)?.unwrap_or_else(|| DEFAULT_ORIGIN.to_owned()))
}

/// Whether a journal was ever begun in `data_dir`.
pub(super) fn has_origin(data_dir: &Path) -> bool {
    data_dir.join(FILE).is_file()
}

/// The origin to open with; stores it at first start.
pub(super) fn settle(data_dir: &Path, asked: Option<&str>) -> Result<String, OriginError> {
    match (read(data_dir)?, asked) {
        (Some(stored), Some(asked)) if stored != asked => Err(OriginError::Another {
            stored,
            asked: asked.to_owned(),
        }),
        (Some(stored), _) => Ok(stored),
        (None, asked) => {
            let origin = checked(asked.unwrap_or(DEFAULT_ORIGIN))?;
            write(data_dir, &origin)?;
            Ok(origin)
        }
    }
}

fn read(data_dir: &Path) -> Result<Option<String>, OriginError> {
    let path = data_dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => checked(text.trim_end()).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OriginError::Io {
            path: path.display().to_string(),
            source,
        }),
    }
}

fn write(data_dir: &Path, origin: &str) -> Result<(), OriginError> {
    let path = data_dir.join(FILE);
    let written = private_directory(data_dir).and_then(|()| {
        let draft = data_dir.join("origin.new");
        let mut file = std::fs::File::create(&draft)?;
        writeln!(file, "{origin}")?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)
    });
    written.map_err(|source| OriginError::Io {
        path: path.display().to_string(),
        source,
    })
}

/// Makes a directory that only its owner can enter.
fn private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn checked(text: &str) -> Result<String, OriginError> {
    let fits = (1..=ORIGIN_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_/".contains(&b))
        && !text.starts_with('/')
        && !text.contains("..");
    if fits {
        Ok(text.to_owned())
    } else {
        Err(OriginError::Unfit(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_chooses_and_later_ones_cannot_choose_again() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        assert_eq!(stored_origin(&data).unwrap(), DEFAULT_ORIGIN);
        assert!(matches!(settle(&data, Some("a b")), Err(OriginError::Unfit(_))));
        assert_eq!(
            settle(&data, Some("example.org/team")).unwrap(),
            "example.org/team"
        );
        assert_eq!(settle(&data, None).unwrap(), "example.org/team");
        assert_eq!(stored_origin(&data).unwrap(), "example.org/team");
        assert!(matches!(
            settle(&data, Some("other")),
            Err(OriginError::Another { .. })
        ));
    }
}
