//! The `Ringfort-Context` that clients carry from a read to a write. It is opaque to them and authenticated: a made-up
//! context could claim writes that never happened, and every later write it "covers" would be dropped unseen.
//!
//! ```text
//! base64url( [version = 1][postcard context][hmac: 16 bytes over place and the bytes before] )
//! ```

use crate::base::checksum::HmacKey;
use crate::base::codec;
use crate::base::redact::Redacted;
use crate::proto::causal::Context;
use crate::proto::key::IndexKey;

const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;
/// Bytes of a token as text. One actor takes about 30; an object with hundreds of actors is folded long before.
const TOKEN_BYTES_MAX: usize = 12 * 1024;

/// Why a context is refused; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a context that a read of this key returned")]
pub struct BadContext;

/// The text of a context for the key at `place`.
#[must_use]
pub fn encode(secret: &Redacted<HmacKey>, place: &IndexKey, context: &Context) -> String {
    let mut bytes = postcard::to_extend(context, vec![VERSION]).unwrap_or_default();
    let mac = secret.reveal().mac_16(&[place.as_bytes(), &bytes]);
    bytes.extend_from_slice(&mac);
    codec::base64url(&bytes)
}

/// Reverses [`encode`].
///
/// # Errors
/// [`BadContext`] for anything this cluster did not issue for this key.
pub fn decode(secret: &Redacted<HmacKey>, place: &IndexKey, text: &str) -> Result<Context, BadContext> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(BadContext);
    }
    let bytes = codec::from_base64url(text).ok_or(BadContext)?;
    let (signed, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(BadContext)?;
    let expected = secret.reveal().mac_16(&[place.as_bytes(), signed]);
    // Compared without an early exit, so that a forger learns nothing from the time it takes.
    let differs = expected.iter().zip(mac).fold(0, |differs, (a, b)| differs | (a ^ b));
    let (version, body) = signed.split_first().ok_or(BadContext)?;
    if differs != 0 || *version != VERSION {
        return Err(BadContext);
    }
    match postcard::take_from_bytes::<Context>(body) {
        Ok((context, [])) if context.is_canonical() => Ok(context),
        Ok(_) | Err(_) => Err(BadContext),
    }
}

#[cfg(test)]
mod tests {
    use super::BadContext;
    use super::decode;
    use super::encode;
    use crate::base::checksum::HmacKey;
    use crate::base::id::BucketId;
    use crate::base::id::Incarnation;
    use crate::base::id::NodeId;
    use crate::base::redact::Redacted;
    use crate::proto::causal::Actor;
    use crate::proto::causal::Context;
    use crate::proto::causal::Dot;
    use crate::proto::key::IndexKey;
    use crate::proto::key::Key;

    #[test]
    fn a_context_is_good_for_its_key_and_its_cluster_only() {
        let place = IndexKey::new(BucketId(1), &Key::new(b"a".to_vec()).unwrap());
        let other = IndexKey::new(BucketId(1), &Key::new(b"b".to_vec()).unwrap());
        let secret = Redacted::new(HmacKey::new(&[7; 32]));
        let mut context = Context::new();
        context.add_run(Dot { actor: Actor { node: NodeId(1), incarnation: Incarnation(9) }, counter: 3 });
        let text = encode(&secret, &place, &context);
        assert_eq!(decode(&secret, &place, &text), Ok(context));
        assert_eq!(decode(&secret, &other, &text), Err(BadContext));
        assert_eq!(decode(&Redacted::new(HmacKey::new(&[8; 32])), &place, &text), Err(BadContext));
        for bad in ["", "x", "AAAA", &text[1..], &format!("{text}AA"), &"A".repeat(20_000)] {
            assert_eq!(decode(&secret, &place, bad), Err(BadContext));
        }
    }
}
