//! How programs reach one key: code that works when pasted. Address and key are percent-encoded, so that no quoting of
//! any language meets a byte of them; the token comes from the environment, never into a file.

use crate::console::data;

/// What the files under `templates/snippets` ask, so that each of them is a program as it stands.
const PLACEHOLDER: &str = "http://127.0.0.1:7480/v1/kv/bucket/key";
/// The host and port in it.
const PLACEHOLDER_HOST: &str = "127.0.0.1:7480";
/// The path in it.
const PLACEHOLDER_PATH: &str = "/v1/kv/bucket/key";

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

/// Code for one key in every language.
#[must_use]
pub fn of(origin: &str, bucket: &str, key: &[u8]) -> Vec<Snippet> {
    let fill = |program: &str| {
        let path = format!("/v1/kv/{}/{}", data::escape(bucket.as_bytes()), data::escape(key));
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        // A socket wants the port that an address may leave out.
        let port = if host.ends_with(']') || !host.contains(':') { ":80" } else { "" };
        let program = program.replace(PLACEHOLDER, &format!("{origin}{path}"));
        program.replace(PLACEHOLDER_PATH, &path).replace(PLACEHOLDER_HOST, &format!("{host}{port}"))
    };
    let tls = origin.starts_with("https:");
    // Clients take a path's dots for a way up, however they are written; what can be told not to is told.
    let dots = key == b"." || key == b"..";
    let curl =
        |program: &str| fill(program).replace("curl -sS", if dots { "curl -sS --path-as-is" } else { "curl -sS" });
    let script = |program| if dots { DOTS.to_owned() } else { fill(program) };
    let snippet = |id, language, needs, read, write| Snippet { id, language, needs, read, write };
    vec![
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
            fill(include_str!("../../../templates/snippets/read.py")),
            fill(include_str!("../../../templates/snippets/write.py")),
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
            fill(include_str!("../../../templates/snippets/read.go")),
            fill(include_str!("../../../templates/snippets/write.go")),
        ),
        if tls {
            snippet(
                "rust",
                "Rust",
                "Rust 1.85 or newer, and `cargo add ureq@3 --features platform-verifier`",
                fill(include_str!("../../../templates/snippets/read_tls.rs")),
                fill(include_str!("../../../templates/snippets/write_tls.rs")),
            )
        } else {
            snippet(
                "rust",
                "Rust",
                "Rust 1.85 or newer, nothing else",
                fill(include_str!("../../../templates/snippets/read.rs")),
                fill(include_str!("../../../templates/snippets/write.rs")),
            )
        },
    ]
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
        let key: Vec<u8> = (0..=u8::MAX).collect();
        for origin in ["http://127.0.0.1:7480", "https://store.example"] {
            for (with, without) in of(origin, "b", &key).iter().zip(of(origin, "b", b"k")) {
                let path = crate::console::data::escape(&key);
                for (hostile, plain) in [(&with.read, without.read), (&with.write, without.write)] {
                    assert!(plain.contains("/v1/kv/b/k"), "{plain}");
                    assert_eq!(hostile.replace(&path, "k"), plain);
                    assert!(hostile.is_ascii() && !hostile.contains("bucket/key"), "{hostile}");
                }
            }
        }
    }
}
