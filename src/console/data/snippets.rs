//! How programs reach one key: code that works when pasted. Address and key are percent-encoded, so that no quoting of
//! any language meets a byte of them; the token comes from the environment, never into a file. So does an address that
//! is too long to be read: it stands on the page once, not in every program.

use crate::console::data;

/// What the files under `templates/snippets` ask, so that each of them is a program as it stands.
const PLACEHOLDER: &str = "http://127.0.0.1:7480/v1/kv/bucket/key";
/// The host and port in it.
const PLACEHOLDER_HOST: &str = "127.0.0.1:7480";
/// The path in it.
const PLACEHOLDER_PATH: &str = "/v1/kv/bucket/key";

/// Letters of an address that a program is shown with: a screen's line or two.
const ADDRESS_LETTERS_MAX: usize = 512;

/// Code for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippets {
    /// Where the address is long: what is said to the shell first.
    pub export: Option<String>,
    /// In every language.
    pub programs: Vec<Snippet>,
}

/// One language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// For an element's id.
    pub id: &'static str,
    /// Its name.
    pub language: &'static str,
    /// What it needs besides itself.
    pub needs: &'static str,
    /// Reads the key.
    pub read: String,
    /// Writes the key.
    pub write: String,
}

/// Where a key is, for a program to ask.
struct Address {
    origin: String,
    path: String,
    /// As a socket wants it.
    host: String,
}

impl Address {
    fn of(origin: &str, bucket: &str, key: &[u8]) -> Self {
        let path = format!("/v1/kv/{}/{}", data::escape(bucket.as_bytes()), data::escape(key));
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        // A socket wants the port that an address may leave out.
        let port = if host.ends_with(']') || !host.contains(':') { ":80" } else { "" };
        Self { origin: origin.to_owned(), path, host: format!("{host}{port}") }
    }

    fn is_short(&self) -> bool {
        self.origin.len() + self.path.len() <= ADDRESS_LETTERS_MAX
    }

    /// What is said to the shell first, where the address is long.
    fn export(&self) -> Option<String> {
        (!self.is_short()).then(|| format!("export KEY_URL='{}{}'", self.origin, self.path))
    }

    /// Puts the address into a program; a long one is found in the environment, as `environment` says it.
    fn fill(&self, program: &str, environment: &str) -> String {
        let Self { origin, path, host } = self;
        let program = if self.is_short() {
            program.replace(PLACEHOLDER, &format!("{origin}{path}")).replace(PLACEHOLDER_PATH, path)
        } else {
            let path = format!("{environment}.replacen(\"{origin}\", \"\", 1)");
            program
                .replace(&format!("\"{PLACEHOLDER}\""), environment)
                .replace(&format!("'{PLACEHOLDER}'"), environment)
                .replace(&format!("\"{PLACEHOLDER_PATH}\""), &path)
        };
        program.replace(PLACEHOLDER_HOST, host)
    }
}

/// Code for one key in every language.
#[must_use]
pub fn of(origin: &str, bucket: &str, key: &[u8]) -> Snippets {
    let address = Address::of(origin, bucket, key);
    let fill = |program: &str, environment: &str| address.fill(program, environment);
    let tls = origin.starts_with("https:");
    // Clients take a path's dots for a way up, however they are written; what can be told not to is told.
    let dots = key == b"." || key == b"..";
    let curl = |program: &str| {
        fill(program, "\"$KEY_URL\"").replace("curl -sS", if dots { "curl -sS --path-as-is" } else { "curl -sS" })
    };
    let script = |program| if dots { DOTS.to_owned() } else { fill(program, "process.env.KEY_URL") };
    let snippet = |id, language, needs, read, write| Snippet { id, language, needs, read, write };
    let programs = vec![
        snippet(
            "curl",
            "curl",
            "curl 7.84 or newer",
            curl(include_str!("../../../templates/snippets/read.sh")),
            curl(include_str!("../../../templates/snippets/write.sh")),
        ),
        snippet(
            "python",
            "Python",
            "Python 3.9 or newer, nothing else",
            fill(include_str!("../../../templates/snippets/read.py"), "os.environ[\"KEY_URL\"]"),
            fill(include_str!("../../../templates/snippets/write.py"), "os.environ[\"KEY_URL\"]"),
        ),
        snippet(
            "javascript",
            "JavaScript",
            "Node 20 or newer, as a module (such as read.mjs)",
            script(include_str!("../../../templates/snippets/read.mjs")),
            script(include_str!("../../../templates/snippets/write.mjs")),
        ),
        snippet(
            "go",
            "Go",
            "Go 1.20 or newer, nothing else",
            fill(include_str!("../../../templates/snippets/read.go"), "os.Getenv(\"KEY_URL\")"),
            fill(include_str!("../../../templates/snippets/write.go"), "os.Getenv(\"KEY_URL\")"),
        ),
        if tls {
            snippet(
                "rust",
                "Rust",
                "Rust 1.85 or newer, and `cargo add ureq@3 --features platform-verifier`",
                fill(include_str!("../../../templates/snippets/read_tls.rs"), "&std::env::var(\"KEY_URL\")?"),
                fill(include_str!("../../../templates/snippets/write_tls.rs"), "&std::env::var(\"KEY_URL\")?"),
            )
        } else {
            snippet(
                "rust",
                "Rust",
                "Rust 1.85 or newer, nothing else",
                fill(include_str!("../../../templates/snippets/read.rs"), "std::env::var(\"KEY_URL\")?"),
                fill(include_str!("../../../templates/snippets/write.rs"), "std::env::var(\"KEY_URL\")?"),
            )
        },
    ];
    Snippets { export: address.export(), programs }
}

/// Said instead of code that cannot work.
const DOTS: &str =
    "// fetch takes a key that is only dots for a way up in the path. Ask for it through POST /v1/batch.\n";

/// Lines that import a file into a bucket.
#[must_use]
pub fn import(origin: &str, bucket: &str) -> String {
    let name = data::escape(bucket.as_bytes());
    format!(
        "ringfort import {bucket} FILE.csv --key FIELD\n\n\
         curl -sS -X POST -T FILE.csv -H \"Authorization: Bearer $RINGFORT_TOKEN\" \\\n  \
         -H 'Content-Type: text/csv' '{origin}/v1/buckets/{name}/import?key=FIELD'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn no_byte_of_a_key_reaches_a_program_unencoded() {
        let key: Vec<u8> = (0..128).map(|number| number * 2 + 1).collect();
        for origin in ["http://127.0.0.1:7480", "https://store.example"] {
            let (hostile, plain) = (of(origin, "b", &key), of(origin, "b", b"k"));
            assert_eq!((&hostile.export, &plain.export), (&None, &None));
            for (with, without) in hostile.programs.iter().zip(plain.programs) {
                let path = crate::console::data::escape(&key);
                for (hostile, plain) in [(&with.read, without.read), (&with.write, without.write)] {
                    assert!(plain.contains("/v1/kv/b/k"), "{plain}");
                    assert_eq!(hostile.replace(&path, "k"), plain);
                    assert!(hostile.is_ascii() && !hostile.contains("bucket/key"), "{hostile}");
                }
            }
        }
    }

    #[test]
    fn a_long_address_stands_outside_of_the_programs() {
        for origin in ["http://127.0.0.1:7480", "https://store.example"] {
            let snippets = of(origin, "b", &[0xff; 1024]);
            assert_eq!(snippets.export, Some(format!("export KEY_URL='{origin}/v1/kv/b/{}'", "%FF".repeat(1024))));
            for snippet in snippets.programs {
                for program in [snippet.read, snippet.write] {
                    assert!(program.contains("KEY_URL") && !program.contains("/kv/"), "{program}");
                }
            }
        }
    }
}
