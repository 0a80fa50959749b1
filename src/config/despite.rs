//! Where the data is, as far as that can be read from a configuration that is refused: whoever refuses it tells others why.

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use toml_edit::Document;

use crate::config::INSTALLED_DATA;
use crate::config::file_of;
use crate::config::text_of;
use crate::config::text_of_file;

/// The data directory by the first of these that says it: flags, environment, a line of the file; else where it is installed.
#[must_use]
pub fn data(
    file: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    flags: &[(&'static str, String)],
) -> PathBuf {
    let environment: Vec<_> = environment.collect();
    let flag = flags.iter().find(|(name, _)| *name == "data").map(|(_, value)| PathBuf::from(value));
    let variable = || environment.iter().find(|(name, _)| name == "RINGFORT_DATA").map(|(_, value)| value.into());
    let written = || {
        let file = file.map(Path::to_owned).or_else(|| file_of(&environment, flags))?;
        in_text(&text_of_file(&file).ok()?)
    };
    flag.or_else(variable).or_else(written).unwrap_or_else(|| INSTALLED_DATA.into())
}

/// Line by line: any other one may be what is wrong.
fn in_text(text: &str) -> Option<PathBuf> {
    let value = |line: &str| text_of(Document::parse(line).ok()?.as_table().get("data")?);
    text.lines().find_map(value).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::path::PathBuf;

    #[test]
    fn the_data_directory_is_found_beside_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bad.toml");
        std::fs::write(&file, "disk_reserv = \"1GiB\"\nname = [\ndata = \"/srv/d\" # here\n").unwrap();
        let variable = |name: &str| [(name.into(), "/srv/e".into())].into_iter();
        let found = |name, flags: &[(&'static str, String)]| super::data(Some(&file), variable(name), flags);
        assert_eq!(found("OTHER", &[]), Path::new("/srv/d"));
        assert_eq!(found("RINGFORT_DATA", &[]), Path::new("/srv/e"));
        assert_eq!(found("RINGFORT_DATA", &[("data", "/srv/f".to_owned())]), Path::new("/srv/f"));
        let nowhere = super::data(Some(&dir.path().join("none")), std::iter::empty(), &[]);
        assert_eq!(nowhere, PathBuf::from(crate::config::INSTALLED_DATA));
    }
}
