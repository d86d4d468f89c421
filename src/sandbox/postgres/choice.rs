//! Which PostgreSQL a world gets: one of the machine, the one inside the program, or none and why.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::embedded::Embedded;

/// Where distributions keep each major version in a folder of its own.
const VERSIONS: &str = "/usr/lib/postgresql";

/// What is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// None: worlds in tests need none.
    #[default]
    None,
    /// One of the machine, else the embedded one.
    Auto,
    /// The one inside the program.
    Embedded,
    /// The one whose `postgres` and `initdb` lie in this folder.
    Folder(PathBuf),
}

impl FromStr for Choice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "none" => Self::None,
            "auto" => Self::Auto,
            "embedded" => Self::Embedded,
            folder => Self::Folder(PathBuf::from(folder)),
        })
    }
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Programs in this folder.
    Installed(PathBuf),
    /// The one inside the program.
    Embedded,
    /// None, with a sentence for people.
    Missing(String),
}

impl Choice {
    /// Looks for what is wanted.
    pub(super) fn find(&self) -> Found {
        let embedded = Embedded::CARRIED;
        match self {
            Self::None => Found::Missing(
                "the sandbox was started without PostgreSQL, so steps that need it are skipped".into(),
            ),
            Self::Embedded if embedded => Found::Embedded,
            Self::Embedded => Found::Missing(
                "this program carries no PostgreSQL, so steps that need it are skipped; build it with \
                 `--features embedded-postgres`, then type `rollback sandbox down` and try again"
                    .into(),
            ),
            Self::Folder(folder) if is_complete(folder) => Found::Installed(folder.clone()),
            Self::Folder(folder) => Found::Missing(format!(
                "there are no `postgres` and `initdb` in {}, so steps that need PostgreSQL are skipped",
                folder.display()
            )),
            Self::Auto => match on_this_machine() {
                Some(folder) => Found::Installed(folder),
                None if embedded => Found::Embedded,
                None => Found::Missing(
                    "there is no PostgreSQL on this machine, so steps that need it are skipped; install it \
                     (`apt-get install postgresql`) or build this program with `--features embedded-postgres`, \
                     then type `rollback sandbox down` and try again"
                        .into(),
                ),
            },
        }
    }
}

fn on_this_machine() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|folder| is_complete(folder));
    on_path.or_else(|| newest(Path::new(VERSIONS)))
}

/// The newest version below a folder that has one folder for each.
fn newest(versions: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(versions).ok()?.filter_map(Result::ok);
    let numbered = folders.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    let complete = numbered.filter(|(_, folder)| is_complete(folder));
    complete.max_by_key(|(version, _)| *version).map(|(_, folder)| folder)
}

fn is_complete(folder: &Path) -> bool {
    folder.is_absolute() && ["postgres", "initdb"].iter().all(|name| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_complete_version_is_found() {
        let versions = tempfile::tempdir().unwrap();
        for (version, programs) in [
            ("9", &["postgres", "initdb"][..]),
            ("15", &["postgres", "initdb"]),
            ("17", &["initdb"]),
        ] {
            let bin = versions.path().join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            for program in programs {
                fs::write(bin.join(program), "").unwrap();
            }
        }
        assert_eq!(newest(versions.path()), Some(versions.path().join("15/bin")));
        let folder = Choice::Folder(versions.path().join("17/bin"));
        let Found::Missing(why) = folder.find() else { panic!("it is not complete") };
        assert!(why.contains("17/bin"), "{why}");
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        assert_eq!("none".parse(), Ok(Choice::None));
        assert_eq!("/opt/pg/bin".parse(), Ok(Choice::Folder("/opt/pg/bin".into())));
        let Found::Missing(why) = Choice::None.find() else { panic!("none was wanted") };
        assert!(why.contains("without PostgreSQL"), "{why}");
        match Choice::Embedded.find() {
            Found::Embedded => assert_eq!(Embedded::CARRIED, cfg!(feature = "embedded-postgres")),
            Found::Missing(why) => assert!(why.contains("--features embedded-postgres"), "{why}"),
            Found::Installed(folder) => panic!("not asked for: {}", folder.display()),
        }
    }
}
