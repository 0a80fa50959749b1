//! Names in paths. The raw path is split first and percent-decoded once, into bytes: `%2F` in a key is a slash, `%FF`
//! a byte, `..` two dots.

use percent_encoding::percent_decode_str;

use crate::front::problem::Problem;
use crate::proto::key::Key;

/// `/v1/kv/` and what follows.
const KV: &str = "/v1/kv/";
/// `/v1/where/` and what follows.
const WHERE: &str = "/v1/where/";

/// Bucket and key of `/v1/kv/{bucket}/{key}`.
///
/// # Errors
/// A 400 or 414.
pub fn bucket_and_key(path: &str) -> Result<(String, Key), Problem> {
    split(path.strip_prefix(KV).unwrap_or_default())
}

/// Those of `/v1/where/{bucket}/{key}`.
///
/// # Errors
/// A 400 or 414.
pub fn bucket_and_key_of_where(path: &str) -> Result<(String, Key), Problem> {
    split(path.strip_prefix(WHERE).unwrap_or_default())
}

fn split(rest: &str) -> Result<(String, Key), Problem> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let key = Key::new(decode(key)?).map_err(crate::node::error::DoorError::from)?;
    Ok((decode_text(bucket)?, key))
}

/// The bucket of `/v1/kv/{bucket}`.
///
/// # Errors
/// A 400.
pub fn bucket(path: &str) -> Result<String, Problem> {
    decode_text(path.strip_prefix(KV).unwrap_or_default())
}

/// The `index`-th segment of a path, from 0: `buckets` is segment 1 of `/v1/buckets/a`.
///
/// # Errors
/// A 400.
pub fn segment(path: &str, index: usize) -> Result<String, Problem> {
    decode_text(path.trim_start_matches('/').split('/').nth(index).unwrap_or_default())
}

/// Percent-decodes once; a `%` without two hexadecimal digits is refused rather than taken literally.
///
/// # Errors
/// A 400.
pub fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        let escape = after.as_bytes().first_chunk::<2>().is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        if !escape {
            return Err(Problem::bad_request(
                "bad_escape",
                "a `%` must be followed by two hexadecimal digits; `%` itself is `%25`",
            ));
        }
        rest = after;
    }
    Ok(percent_decode_str(text).collect())
}

fn decode_text(text: &str) -> Result<String, Problem> {
    String::from_utf8(decode(text)?).map_err(|_invalid| Problem::bad_request("bad_name", "this name is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::bucket_and_key;
    use super::bucket_and_key_of_where;
    use super::segment;

    #[test]
    fn a_key_is_everything_behind_the_bucket_decoded_once() {
        let key = |path: &str| bucket_and_key(path).map(|(_, key)| key.as_bytes().to_vec());
        assert_eq!(key("/v1/kv/b/a/b"), Ok(b"a/b".to_vec()));
        assert_eq!(key("/v1/kv/b/a%2Fb"), Ok(b"a/b".to_vec()));
        assert_eq!(key("/v1/kv/b/../x"), Ok(b"../x".to_vec()));
        assert_eq!(key("/v1/kv/b/%252e"), Ok(b"%2e".to_vec()));
        assert_eq!(key("/v1/kv/b/%ff%00"), Ok(vec![255, 0]));
        assert_eq!(key("/v1/kv/b//"), Ok(b"/".to_vec()));
        assert_eq!(key("/v1/kv/b/").unwrap_err().status.as_u16(), 400);
        assert_eq!(key("/v1/kv/b/%2").unwrap_err().code, "bad_escape");
        assert_eq!(key(&format!("/v1/kv/b/{}", "k".repeat(1025))).unwrap_err().status.as_u16(), 414);
        assert_eq!(bucket_and_key("/v1/kv/b%C3%A4/k").unwrap().0, "bä");
        let (bucket, key) = bucket_and_key_of_where("/v1/where/b/a%2Fb/c").unwrap();
        assert_eq!((bucket.as_str(), key.as_bytes()), ("b", &b"a/b/c"[..]));
        assert_eq!(segment("/v1/buckets/air%20ports/export", 2), Ok("air ports".to_owned()));
    }
}
