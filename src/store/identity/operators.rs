//! Who may sign in where the control state cannot be had: names, scopes and password hashes of operators, in
//! `identity/operators`, written by the worker whenever they change and read by the rescue console. A copy for an emergency,
//! never the truth: what was changed while this node did not run is not in it. No session, no token, no device.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::base::file;
use crate::base::file::Privacy;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::limits::OPERATORS_BYTES_MAX;
use crate::base::limits::PASSWORD_HASH_BYTES_MAX;
use crate::base::limits::USERS_MAX;
use crate::proto::scope::Scope;
use crate::store::data_dir;
use crate::store::identity::IdentityError;

const FILE: &str = "operators";
/// Of this layout.
const VERSION: u8 = 1;

/// An operator with a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// What they may do.
    pub scopes: Vec<Scope>,
    /// The hash of their password.
    pub password_hash: String,
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator").field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// All of them by name.
pub type Operators = BTreeMap<String, Operator>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorsFile {
    version: u8,
    operators: Operators,
}

/// Writes them whole, for the owner's eyes only.
///
/// # Errors
/// [`IdentityError`]; what was there before is still there.
pub fn write(dir: &Path, operators: &Operators) -> Result<(), IdentityError> {
    let path = dir.join(FILE);
    let file = OperatorsFile { version: VERSION, operators: operators.clone() };
    let text = serde_json::to_vec_pretty(&file).map_err(io::Error::other);
    let written = text.and_then(|text| data_dir::write_whole(&path, &text));
    written.map_err(|source| IdentityError::Io { path, source })
}

/// Reads and checks them; `None` where nobody wrote any yet.
///
/// # Errors
/// [`IdentityError`]; also where others could read the file or have written it.
pub fn read(dir: &Path) -> Result<Option<Operators>, IdentityError> {
    let path = dir.join(FILE);
    if let Err(error) = fs::symlink_metadata(&path)
        && error.kind() == io::ErrorKind::NotFound
    {
        return Ok(None);
    }
    let bytes = file::read(&path, OPERATORS_BYTES_MAX, Privacy::Secret)?;
    let damaged = |reason: String| IdentityError::Damaged { path: path.clone(), reason };
    let file: OperatorsFile = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if file.version != VERSION {
        return Err(damaged(format!("version {} is not known to this release", file.version)));
    }
    let fits = |(name, operator): (&String, &Operator)| {
        (1..=NAME_BYTES_MAX).contains(&name.len())
            && operator.password_hash.len() <= PASSWORD_HASH_BYTES_MAX
            && operator.scopes.len() <= Scope::ALL.len()
    };
    if file.operators.len() > USERS_MAX || !file.operators.iter().all(fits) {
        return Err(damaged("it has more or longer entries than there may be".to_owned()));
    }
    Ok(Some(file.operators))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::FILE;
    use super::Operator;
    use super::Operators;
    use super::read;
    use super::write;
    use crate::base::limits::OPERATORS_BYTES_MAX;
    use crate::base::limits::PASSWORD_HASH_BYTES_MAX;
    use crate::base::limits::USERS_MAX;
    use crate::proto::scope::Scope;

    fn ann() -> Operators {
        let operator = Operator { scopes: vec![Scope::Operate], password_hash: "$argon2id$x".to_owned() };
        [("ann".to_owned(), operator)].into()
    }

    #[test]
    fn what_was_written_is_read_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        write(dir.path(), &ann()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(ann()));
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{:?}", ann()).contains("argon2"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(dir.path()).is_err(), "others could have read it");
    }

    #[test]
    fn a_file_of_version_one_is_read_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let golden = include_str!("golden_operators_v1.json");
        write(dir.path(), &ann()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), golden.trim_end());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &ann()).unwrap();
        let path = dir.path().join(FILE);
        let good = fs::read_to_string(&path).unwrap();
        let bad = [
            good.replace("\"version\": 1", "\"version\": 2"),
            good.replace("\"ann\"", "\"\""),
            good.replace("\"operate\"", "\"everything\""),
            good.replace("\"version\"", "\"extra\": 1, \"version\""),
            good.replace("$argon2id$x", &"x".repeat(PASSWORD_HASH_BYTES_MAX + 1)),
            good.get(..good.len() / 2).unwrap().to_owned(),
            format!("{good}{}", " ".repeat(OPERATORS_BYTES_MAX)),
        ];
        for text in bad {
            fs::write(&path, &text).unwrap();
            assert!(read(dir.path()).is_err(), "{}", text.get(..text.len().min(200)).unwrap());
        }
    }

    #[test]
    fn as_many_users_as_there_may_be_fit() {
        let dir = tempfile::tempdir().unwrap();
        let one = Operator { scopes: Scope::ALL.to_vec(), password_hash: "h".repeat(PASSWORD_HASH_BYTES_MAX) };
        let all: Operators = (0..USERS_MAX).map(|n| (format!("{n:064}"), one.clone())).collect();
        write(dir.path(), &all).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(all));
    }
}
