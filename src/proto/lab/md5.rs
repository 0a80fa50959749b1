//! MD5, for the ring of the Chord example alone: as a hash that spreads it is fine, as one that protects it is broken.
//!
//! Source: RFC 1321.

/// How far each step turns, by round.
const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The hash of these bytes.
#[must_use]
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - bytes.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let bits = (bytes.len() as u64).wrapping_mul(8).to_le_bytes();
    padded.truncate(padded.len() - bits.len());
    padded.extend(bits);
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let (blocks, _rest) = padded.as_chunks::<64>();
    blocks.iter().for_each(|block| mix(&mut state, block));
    let mut hash = [0; 16];
    let (words, _rest) = hash.as_chunks_mut::<4>();
    words.iter_mut().zip(state).for_each(|(to, word)| *to = word.to_le_bytes());
    hash
}

fn mix(state: &mut [u32; 4], block: &[u8; 64]) {
    let (words, _rest) = block.as_chunks::<4>();
    let word = |at: usize| words.get(at).map_or(0, |word| u32::from_le_bytes(*word));
    let [mut a, mut b, mut c, mut d] = *state;
    for (round, turns) in TURNS.iter().enumerate() {
        for step in 0..16 {
            let (f, at) = match round {
                0 => ((b & c) | (!b & d), step),
                1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
                2 => (b ^ c ^ d, (3 * step + 5) % 16),
                _ => (c ^ (b | !d), (7 * step) % 16),
            };
            let turned = a.wrapping_add(f).wrapping_add(sine(16 * round + step)).wrapping_add(word(at));
            let turn = turns.iter().cycle().nth(step).copied().unwrap_or_default();
            (a, d, c, b) = (d, c, b, b.wrapping_add(turned.rotate_left(turn)));
        }
    }
    let [e, f, g, h] = *state;
    *state = [e.wrapping_add(a), f.wrapping_add(b), g.wrapping_add(c), h.wrapping_add(d)];
}

/// The integer part of 2^32 times the sine of a step, as the paper defines its constants.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 2^32 - 1 and never negative")]
fn sine(step: usize) -> u32 {
    ((step as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32
}
